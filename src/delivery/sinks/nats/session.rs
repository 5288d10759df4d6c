//! A session with a server of NATS: the greeting, then messages out and the answers to each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use rustls::ClientConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::protocol::{Info, Message, Said, take};
use crate::delivery::sinks::dial::{Stream, encrypt, tcp};
use crate::delivery::sinks::wire::{Line, Protocol, broke};
use crate::domain::address::Receiver;
use crate::domain::secret::Secret;
use crate::randomness;

const PORT: u16 = 4222;

/// By which right we are there.
#[derive(Debug)]
pub(super) enum Login {
    None,
    User(String, Secret<String>),
    Token(Secret<String>),
}

/// Where a server is, and who we are there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) url: Receiver,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) login: Login,
}

/// What comes for one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// From the stream, or from the server: with a status.
    Message { status: Option<u16>, payload: Bytes },
    /// The server does not let us publish to its subject.
    Denied(String),
}

/// A message to publish.
pub(super) struct Publish {
    pub(super) subject: String,
    /// From `NATS/1.0` to the empty line.
    pub(super) headers: String,
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// The state of a line of NATS.
#[derive(Debug)]
pub(super) struct Session {
    /// With a dot at its end.
    inbox: String,
    max_payload: Arc<AtomicUsize>,
    next: u64,
    /// Publishers whose answer has not come, by the end of the inbox.
    waiting: HashMap<u64, (String, oneshot::Sender<Reply>)>,
}

impl Protocol for Session {
    type Command = Publish;

    fn received(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<(), String> {
        while let Some(said) = take(input)? {
            match said {
                Said::Ping => output.put_slice(b"PONG\r\n"),
                Said::Pong | Said::Good => {}
                // A server that changes its limits says so at any time.
                Said::Info(info) => self.max_payload.store(info.max_payload, Ordering::Relaxed),
                Said::Message(message) => self.answered(message),
                Said::Error(error) => self.refused(&error)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, publish: Publish, output: &mut BytesMut) {
        let Publish { subject, headers, payload, reply } = publish;
        // Given up while it waited.
        if reply.is_closed() {
            return;
        }
        self.next += 1;
        let (inbox, total) = (&self.inbox, headers.len() + payload.len());
        let head = format!("HPUB {subject} {inbox}{} {} {total}\r\n", self.next, headers.len());
        output.put_slice(head.as_bytes());
        output.put_slice(headers.as_bytes());
        output.put_slice(&payload);
        output.put_slice(b"\r\n");
        self.waiting.insert(self.next, (subject, reply));
    }

    fn beat(&mut self, output: &mut BytesMut) {
        self.waiting.retain(|_, (_, reply)| !reply.is_closed());
        output.put_slice(b"PING\r\n");
    }
}

impl Session {
    fn answered(&mut self, Message { subject, status, payload }: Message) {
        let number = subject.strip_prefix(&self.inbox).and_then(|number| number.parse().ok());
        if let Some((_, reply)) = number.and_then(|number: u64| self.waiting.remove(&number)) {
            let _ = reply.send(Reply::Message { status, payload });
        }
    }

    /// Only what concerns a single subject leaves the connection as it is.
    fn refused(&mut self, error: &str) -> Result<(), String> {
        let denied = error.strip_prefix("Permissions Violation for Publish to \"");
        let Some(subject) = denied.map(|rest| rest.trim_end_matches('"')) else {
            return Err(format!("the server ended the connection: {error}"));
        };
        let its = self.waiting.extract_if(|_, (of, _)| of == subject);
        for (_, (_, reply)) in its {
            let _ = reply.send(Reply::Denied(error.to_owned()));
        }
        Ok(())
    }
}

/// Connects, greets and says who we are.
pub(super) async fn begin(
    place: &Place,
    max_payload: &Arc<AtomicUsize>,
    waiting: usize,
    until: Instant,
) -> Result<Line<Session>, String> {
    let (host, encrypted) = (place.url.host(), place.url.is_encrypted());
    let mut plain = tcp(host, place.url.uri().port_u16().unwrap_or(PORT), until).await?;
    let mut input = BytesMut::new();
    let Said::Info(info) = heard(&mut plain, &mut input).await? else {
        return Err("this is no NATS server: it does not greet".to_owned());
    };
    let mut stream: Box<dyn Stream> = if encrypted {
        // What came beside the greeting came from anyone.
        if !(info.tls_required || info.tls_available) || !input.is_empty() {
            return Err(
                "the server speaks no TLS: write nats:// as its url's scheme, or set TLS up there".to_owned()
            );
        }
        Box::new(encrypt(host, plain, &place.tls, until).await?)
    } else if info.tls_required {
        return Err("the server speaks TLS only: write tls:// as its url's scheme".to_owned());
    } else {
        Box::new(plain)
    };
    if !info.headers {
        return Err("the server is too old: messages have headers from version 2.2 on".to_owned());
    }
    let inbox = format!("_INBOX.ringhookd-{:016x}{:016x}.", randomness::random(), randomness::random());
    let greeting =
        Zeroizing::new(format!("{}SUB {inbox}* 1\r\nPING\r\n", connect(&place.login, encrypted).as_str()));
    stream.write_all(greeting.as_bytes()).await.map_err(|error| broke(&error))?;
    stream.flush().await.map_err(|error| broke(&error))?;
    let info = welcomed(&mut stream, &mut input, info).await?;
    max_payload.store(info.max_payload, Ordering::Relaxed);
    let session = Session { inbox, max_payload: Arc::clone(max_payload), next: 0, waiting: HashMap::new() };
    Ok(Line::start(stream, input, session, waiting))
}

fn connect(login: &Login, tls: bool) -> Zeroizing<String> {
    let (user, pass, token) = match login {
        Login::None => (None, None, None),
        Login::User(user, password) => (Some(user), Some(password.expose()), None),
        Login::Token(token) => (None, None, Some(token.expose())),
    };
    let options = json!({
        "verbose": false, "pedantic": false, "echo": false, "headers": true, "no_responders": true, "protocol": 1,
        "lang": "rust", "name": "ringhookd", "version": env!("CARGO_PKG_VERSION"), "tls_required": tls,
        "user": user, "pass": pass, "auth_token": token,
    });
    Zeroizing::new(format!("CONNECT {options}\r\n"))
}

/// Waits for the answer to our sign of life, which comes after any refusal.
async fn welcomed(
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
    mut info: Info,
) -> Result<Info, String> {
    loop {
        match heard(stream, input).await? {
            Said::Pong => return Ok(info),
            Said::Info(newer) => info = newer,
            Said::Ping => stream.write_all(b"PONG\r\n").await.map_err(|error| broke(&error))?,
            Said::Good | Said::Message(_) => {}
            Said::Error(error) if error.starts_with("Permissions Violation") => {
                return Err(format!("the user may not read _INBOX.>, where confirmations come: {error}"));
            }
            Said::Error(error) => {
                return Err(format!("the server takes no such user, password or token: {error}"));
            }
        }
    }
}

/// The next unit that the server says.
async fn heard<S: AsyncReadExt + Unpin>(stream: &mut S, input: &mut BytesMut) -> Result<Said, String> {
    loop {
        if let Some(said) = take(input)? {
            return Ok(said);
        }
        if stream.read_buf(input).await.map_err(|error| broke(&error))? == 0 {
            return Err("the server closed the connection at the greeting".to_owned());
        }
    }
}
