//! The client protocol of NATS, as far as a publisher needs it: what the server says, taken off the bytes as they come.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

/// Longest line of the server. That of a large cluster names all its servers.
const MAX_LINE: usize = 256 << 10;
/// Largest message that is taken: only confirmations come, which are short.
const MAX_MESSAGE: usize = 256 << 10;

/// One unit of what the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Info(Info),
    Message(Message),
    Ping,
    Pong,
    Good,
    /// Without its quotes.
    Error(String),
}

/// The server's description of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Info {
    /// Bytes of a message with its headers.
    #[serde(default)]
    pub(super) max_payload: usize,
    #[serde(default)]
    pub(super) headers: bool,
    #[serde(default)]
    pub(super) tls_required: bool,
    #[serde(default)]
    pub(super) tls_available: bool,
}

/// A message to our inbox.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: String,
    /// Such as 503, where the server itself answers.
    pub(super) status: Option<u16>,
    pub(super) payload: Bytes,
}

/// Takes the first unit off `input`; nothing while it is not whole. The error says that it is no NATS.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Said>, String> {
    let Some(end) = input.windows(2).take(MAX_LINE).position(|two| two == b"\r\n") else {
        return if input.len() > MAX_LINE { Err(strange("a line without an end")) } else { Ok(None) };
    };
    let line = str::from_utf8(&input[..end]).map_err(|_| strange("a line that is no text"))?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let said = match word.to_ascii_uppercase().as_str() {
        "INFO" => Said::Info(serde_json::from_str(rest).map_err(|_| strange("an INFO that is no JSON"))?),
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "+OK" => Said::Good,
        "-ERR" => Said::Error(rest.trim().trim_matches('\'').to_owned()),
        "MSG" | "HMSG" => {
            let head =
                Head::parse(rest, word.len() == 4).ok_or_else(|| strange("a broken head of a message"))?;
            if input.len() < end + 2 + head.total + 2 {
                return Ok(None);
            }
            input.advance(end + 2);
            let mut content = input.split_to(head.total).freeze();
            input.advance(2);
            let status = status(&content.split_to(head.headers));
            return Ok(Some(Said::Message(Message { subject: head.subject, status, payload: content })));
        }
        _ => return Err(strange("an unknown word")),
    };
    input.advance(end + 2);
    Ok(Some(said))
}

fn strange(what: &str) -> String {
    format!("this is no NATS server, or it is broken: it sent {what}")
}

/// The head of a message.
struct Head {
    subject: String,
    headers: usize,
    /// Of headers and payload.
    total: usize,
}

impl Head {
    /// `subject sid [reply] [header bytes] bytes`.
    fn parse(text: &str, has_headers: bool) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let subject = words.next()?.to_owned();
        let mut last = words.rev();
        let total = last.next()?.parse().ok().filter(|&total: &usize| total <= MAX_MESSAGE)?;
        let headers = if has_headers { last.next()?.parse().ok()? } else { 0 };
        let _sid = last.next()?;
        (headers <= total).then_some(Self { subject, headers, total })
    }
}

/// `NATS/1.0 503 …` is the first line of headers with a status.
fn status(headers: &[u8]) -> Option<u16> {
    let line = str::from_utf8(headers).ok()?.lines().next()?;
    line.strip_prefix("NATS/1.0")?.trim().get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Said>, String> {
        let mut input = BytesMut::from(bytes);
        let mut units = Vec::new();
        while let Some(said) = take(&mut input)? {
            units.push(said);
        }
        assert!(input.is_empty(), "{input:?}");
        Ok(units)
    }

    fn message(status: Option<u16>, payload: &'static str) -> Said {
        Said::Message(Message { subject: "_INBOX.a.1".into(), status, payload: payload.into() })
    }

    const SAID: &[u8] = b"INFO {\"max_payload\":1048576,\"headers\":true,\"x\":[]} \r\nPING\r\npong\r\n+OK\r\n-ERR 'No'\r\n\
        MSG _INBOX.a.1 1 2\r\n{}\r\nMSG _INBOX.a.1 1 reply 0\r\n\r\nHMSG _INBOX.a.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n\
        HMSG _INBOX.a.1 1 17 18\r\nNATS/1.0\r\nA:b\r\n\r\nx\r\n";

    fn said() -> Vec<Said> {
        vec![
            Said::Info(Info { max_payload: 1 << 20, headers: true, ..Info::default() }),
            Said::Ping,
            Said::Pong,
            Said::Good,
            Said::Error("No".into()),
            message(None, "{}"),
            message(None, ""),
            message(Some(503), ""),
            message(None, "x"),
        ]
    }

    #[test]
    fn every_unit_is_taken_however_the_bytes_come() {
        let units = all(SAID).unwrap();
        assert_eq!(units, said());
        let mut input = BytesMut::new();
        let mut one_by_one = Vec::new();
        for byte in SAID {
            input.extend_from_slice(&[*byte]);
            one_by_one.extend(take(&mut input).unwrap());
        }
        assert_eq!(one_by_one, units);
    }

    #[test]
    fn what_is_no_nats_is_told() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"INFO {\r\n",
            b"MSG a 1\r\n",
            b"MSG a 1 99999999999\r\n",
            b"HMSG a 1 5 4\r\n1234\r\n",
            b"\xff\xfe\r\n",
        ] {
            let why = all(bytes).unwrap_err();
            assert!(why.starts_with("this is no NATS server"), "{why}");
        }
        assert!(take(&mut BytesMut::from(&vec![b'a'; MAX_LINE + 1][..])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), word in "(H?MSG a 1 [0-9]{1,3} [0-9]{1,3}\r\n|)") {
            let mut input = BytesMut::from(word.as_bytes());
            input.extend_from_slice(&bytes);
            while let Ok(Some(_)) = take(&mut input) {}
        }
    }
}
