//! MQTT 5 on the wire, as far as it takes to publish with `QoS` 1 and to be told what became of it.
//!
//! Out go CONNECT, PUBLISH, PINGREQ and DISCONNECT; in come CONNACK, PUBACK, PINGRESP and DISCONNECT.

use thiserror::Error;

use super::reason::Reason;

/// The longest text and the longest packet that MQTT can express.
const LONGEST_TEXT: usize = 65_535;
const LONGEST_PACKET: usize = 268_435_455;
/// The largest packet that the broker may send to us; it only has acknowledgements and reasons to send.
pub(super) const MOST_INCOMING: usize = 64 << 10;

pub(super) const PINGREQ: [u8; 2] = [0xC0, 0];
/// With the reason "disconnect with will message", so that the broker tells that we are gone, as at any other end.
pub(super) const DISCONNECT: [u8; 3] = [0xE0, 1, 0x04];

/// Why something can't go by MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum TooLong {
    #[error("{0} is longer than MQTT can express")]
    Text(&'static str),
    #[error("it is larger than MQTT can express")]
    Packet,
}

/// How a session begins: without anything of an earlier one.
#[derive(Debug)]
pub(super) struct Connect<'a> {
    pub(super) client_id: &'a str,
    /// Seconds.
    pub(super) keep_alive: u16,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) will: Option<Will<'a>>,
}

/// A message that the broker publishes, retained and with `QoS` 1, when the connection ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Will<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
}

impl Connect<'_> {
    pub(super) fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let (has_user, has_password) = (self.username.is_some(), self.password.is_some());
        let mut flags = 0x02 | u8::from(has_user) << 7 | u8::from(has_password) << 6;
        if self.will.is_some() {
            flags |= 0x04 | 1 << 3 | 1 << 5;
        }
        let mut body = Vec::new();
        put_text(&mut body, "the protocol", b"MQTT")?;
        body.extend([5, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        let mut properties = vec![0x27];
        properties.extend(u32::try_from(MOST_INCOMING).unwrap_or(u32::MAX).to_be_bytes());
        put_block(&mut body, &properties)?;
        put_text(&mut body, "client_id", self.client_id.as_bytes())?;
        if let Some(Will { topic, payload }) = self.will {
            put_block(&mut body, &[])?;
            put_text(&mut body, "the topic of availability", topic.as_bytes())?;
            put_text(&mut body, "availability", payload)?;
        }
        if let Some(username) = self.username {
            put_text(&mut body, "username", username.as_bytes())?;
        }
        if let Some(password) = self.password {
            put_text(&mut body, "the password", password.as_bytes())?;
        }
        let mut packet = vec![0x10];
        put_block(&mut packet, &body)?;
        Ok(packet)
    }
}

/// A message on its way, published with `QoS` 1.
#[derive(Debug)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) retain: bool,
    pub(super) content_type: Option<&'a str>,
    /// The user properties.
    pub(super) properties: &'a [(String, String)],
    pub(super) payload: &'a [u8],
}

/// A PUBLISH that still lacks its packet id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unnumbered {
    bytes: Vec<u8>,
    /// Where the id stands.
    at: usize,
}

impl Publish<'_> {
    pub(super) fn encode(&self) -> Result<Unnumbered, TooLong> {
        let mut properties = Vec::new();
        if str::from_utf8(self.payload).is_ok() {
            properties.extend([0x01, 1]);
        }
        if let Some(content_type) = self.content_type {
            properties.push(0x03);
            put_text(&mut properties, "its content type", content_type.as_bytes())?;
        }
        for (name, value) in self.properties {
            properties.push(0x26);
            put_text(&mut properties, "the name of a property", name.as_bytes())?;
            put_text(&mut properties, "one of its attributes", value.as_bytes())?;
        }
        let mut head = Vec::new();
        put_text(&mut head, "its topic", self.topic.as_bytes())?;
        let after_topic = head.len();
        head.extend([0, 0]);
        put_block(&mut head, &properties)?;
        let mut bytes = vec![0x32 | u8::from(self.retain)];
        put_length(&mut bytes, head.len() + self.payload.len())?;
        let at = bytes.len() + after_topic;
        bytes.extend(head);
        bytes.extend(self.payload);
        Ok(Unnumbered { bytes, at })
    }
}

impl Unnumbered {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn numbered(mut self, id: u16) -> Vec<u8> {
        self.bytes[self.at..self.at + 2].copy_from_slice(&id.to_be_bytes());
        self.bytes
    }
}

fn put_text(to: &mut Vec<u8>, what: &'static str, text: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(text.len()).map_err(|_| TooLong::Text(what))?;
    debug_assert!(text.len() <= LONGEST_TEXT);
    to.extend(length.to_be_bytes());
    to.extend(text);
    Ok(())
}

fn put_block(to: &mut Vec<u8>, block: &[u8]) -> Result<(), TooLong> {
    put_length(to, block.len())?;
    to.extend(block);
    Ok(())
}

/// In seven bits a byte, the lowest first.
fn put_length(to: &mut Vec<u8>, mut length: usize) -> Result<(), TooLong> {
    if length > LONGEST_PACKET {
        return Err(TooLong::Packet);
    }
    loop {
        let low = u8::try_from(length & 0x7F).unwrap_or(0x7F);
        length >>= 7;
        to.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return Ok(());
        }
    }
}

/// A packet from the broker to a client that subscribes to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    ConnAck(ConnAck),
    PubAck { id: u16, reason: Reason },
    PingResp,
    Disconnect(Reason),
}

/// The broker's answer to a CONNECT: its limits, or why it refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnAck {
    pub(super) reason: Reason,
    /// Messages that may be on their way at once.
    pub(super) receive_maximum: u16,
    pub(super) maximum_packet: Option<u32>,
    pub(super) takes_qos_1: bool,
    /// Seconds; the broker's own, which then counts.
    pub(super) keep_alive: Option<u16>,
}

/// Whether a broker may send a packet that begins so.
pub(super) fn is_known(head: u8) -> bool {
    matches!(head, 0x20 | 0x40 | 0xD0 | 0xE0)
}

/// Reads a packet after its length; `head` is its first byte. Nothing where it is not what a broker may send.
pub(super) fn decode(head: u8, body: &[u8]) -> Option<Incoming> {
    let mut from = Cursor(body);
    Some(match head {
        0x20 => Incoming::ConnAck(conn_ack(&mut from)?),
        0x40 => {
            let id = from.u16().filter(|id| *id != 0)?;
            Incoming::PubAck { id, reason: from.reason()? }
        }
        0xD0 if body.is_empty() => Incoming::PingResp,
        0xE0 => Incoming::Disconnect(from.reason()?),
        _ => return None,
    })
}

fn conn_ack(from: &mut Cursor<'_>) -> Option<ConnAck> {
    let (_session, code) = (from.u8()?, from.u8()?);
    // One of an older version has no more than that.
    let properties = if from.0.is_empty() { Properties::default() } else { from.properties()? };
    Some(ConnAck {
        reason: Reason { code, said: properties.reason },
        receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
        maximum_packet: properties.maximum_packet,
        takes_qos_1: properties.maximum_qos != Some(0),
        keep_alive: properties.keep_alive,
    })
}

/// The properties that matter here.
#[derive(Debug, Default)]
struct Properties {
    reason: Option<String>,
    receive_maximum: Option<u16>,
    maximum_packet: Option<u32>,
    maximum_qos: Option<u8>,
    keep_alive: Option<u16>,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = Length::default();
        loop {
            if let Some(length) = length.push(self.u8()?).ok()? {
                return Some(length);
            }
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A reason code and its properties, both of which may be left out where all is well.
    fn reason(&mut self) -> Option<Reason> {
        let code = if self.0.is_empty() { 0 } else { self.u8()? };
        let said = if self.0.is_empty() { None } else { self.properties()?.reason };
        Some(Reason { code, said })
    }

    fn properties(&mut self) -> Option<Properties> {
        let length = self.length()?;
        let mut from = Cursor(self.take(length)?);
        let mut found = Properties::default();
        while !from.0.is_empty() {
            match from.u8()? {
                0x1F => found.reason = Some(String::from_utf8_lossy(from.text()?).into_owned()),
                0x21 => found.receive_maximum = Some(from.u16().filter(|most| *most != 0)?),
                0x27 => found.maximum_packet = Some(from.u32().filter(|most| *most != 0)?),
                0x24 => found.maximum_qos = Some(from.u8()?),
                0x13 => found.keep_alive = Some(from.u16()?),
                0x01 | 0x17 | 0x19 | 0x25 | 0x28..=0x2A => _ = from.u8()?,
                0x22 | 0x23 => _ = from.u16()?,
                0x02 | 0x11 | 0x18 => _ = from.u32()?,
                0x0B => _ = from.length()?,
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C => _ = from.text()?,
                0x26 => _ = (from.text()?, from.text()?),
                _ => return None,
            }
        }
        Some(found)
    }
}

/// It has more bytes than a length may have.
#[derive(Debug)]
pub(super) struct NoLength;

/// A length that comes byte by byte.
#[derive(Debug, Default)]
pub(super) struct Length {
    so_far: usize,
    bytes: u32,
}

impl Length {
    /// The length once it is whole.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<usize>, NoLength> {
        if self.bytes == 4 {
            return Err(NoLength);
        }
        self.so_far |= usize::from(byte & 0x7F) << (7 * self.bytes);
        self.bytes += 1;
        Ok((byte & 0x80 == 0).then_some(self.so_far))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_session_begins_as_the_specification_says() {
        let will = Will { topic: "t", payload: b"off" };
        let connect = Connect {
            client_id: "me",
            keep_alive: 20,
            username: Some("u"),
            password: Some("p"),
            will: Some(will),
        };
        let expected = [
            &[0x10, 35, 0, 4][..],
            b"MQTT",
            // Clean start, a retained will of QoS 1, a user and a password.
            &[5, 0b1110_1110, 0, 20],
            &[5, 0x27, 0, 1, 0, 0],
            &[0, 2],
            b"me",
            &[0, 0, 1],
            b"t",
            &[0, 3],
            b"off",
            &[0, 1],
            b"u",
            &[0, 1],
            b"p",
        ];
        assert_eq!(connect.encode().unwrap(), expected.concat());
        let plain = Connect { username: None, password: None, will: None, ..connect };
        assert_eq!(plain.encode().unwrap()[9], 0b0000_0010);
    }

    #[test]
    fn a_message_is_published_as_the_specification_says() {
        let properties = properties(&[("id", "k")]);
        let publish = Publish {
            topic: "a/b",
            retain: false,
            content_type: Some("x"),
            properties: &properties,
            payload: b"hi",
        };
        let expected = [
            &[0x32, 24, 0, 3][..],
            b"a/b",
            &[0x12, 0x34],
            &[14, 0x01, 1, 0x03, 0, 1],
            b"x",
            &[0x26, 0, 2],
            b"id",
            &[0, 1],
            b"k",
            b"hi",
        ];
        assert_eq!(publish.encode().unwrap().numbered(0x1234), expected.concat());
        let binary = Publish { payload: b"\xff", retain: true, content_type: None, ..publish };
        let binary = binary.encode().unwrap().numbered(1);
        assert_eq!((binary[0], binary[9]), (0x33, 8), "retained, and no word of a text");
    }

    #[test]
    fn what_mqtt_cannot_express_is_told() {
        let long = "x".repeat(LONGEST_TEXT + 1);
        let publish =
            Publish { topic: &long, retain: false, content_type: None, properties: &[], payload: b"" };
        assert_eq!(publish.encode(), Err(TooLong::Text("its topic")));
        let properties = properties(&[("id", &long)]);
        let publish = Publish { topic: "t", properties: &properties, ..publish };
        assert_eq!(publish.encode(), Err(TooLong::Text("one of its attributes")));
        assert_eq!(put_length(&mut Vec::new(), LONGEST_PACKET + 1), Err(TooLong::Packet));
    }

    #[test]
    fn answers_are_read() {
        let reason = |code, said: Option<&str>| Reason { code, said: said.map(str::to_owned) };
        let ack = |code, said| Some(Incoming::PubAck { id: 258, reason: reason(code, said) });
        assert_eq!(decode(0x40, &[1, 2]), ack(0, None));
        assert_eq!(decode(0x40, &[1, 2, 0x10]), ack(0x10, None));
        let said = [&[1, 2, 0x87, 12, 0x1F, 0, 2][..], b"no", &[0x26, 0, 1], b"a", &[0, 1], b"b"].concat();
        let body = [&said[..3], &[15], &said[4..]].concat();
        assert_eq!(decode(0x40, &body[..body.len()]), None, "a length that is not theirs");
        let body = [&said[..3], &[12], &said[4..]].concat();
        assert_eq!(decode(0x40, &body), ack(0x87, Some("no")));
        assert_eq!(decode(0xD0, &[]), Some(Incoming::PingResp));
        assert_eq!(decode(0xE0, &[0x8E, 0]), Some(Incoming::Disconnect(reason(0x8E, None))));
        assert_eq!(decode(0x40, &[0, 0]), None, "no packet has the id 0");
        assert_eq!(decode(0x30, &[0, 1, b't', 0]), None, "a message, and we subscribe to nothing");
        let properties = [0x21, 0, 20, 0x27, 0, 0, 4, 0, 0x24, 0, 0x13, 0, 60, 0x12, 0, 1, b'x'];
        let body = [&[0, 0x86, 17][..], &properties].concat();
        let expected = ConnAck {
            reason: reason(0x86, None),
            receive_maximum: 20,
            maximum_packet: Some(1024),
            takes_qos_1: false,
            keep_alive: Some(60),
        };
        assert_eq!(decode(0x20, &body), Some(Incoming::ConnAck(expected)));
        assert!(
            matches!(decode(0x20, &[0, 1]), Some(Incoming::ConnAck(ConnAck { reason, .. })) if reason.code == 1)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_broker_make_the_reader_panic(head: u8, body in prop::collection::vec(any::<u8>(), 0..64)) {
            for head in [head, 0x20, 0x40, 0xD0, 0xE0] {
                let _ = decode(head, &body);
            }
        }

        #[test]
        fn lengths_are_read_as_they_are_written(length in 0..=LONGEST_PACKET) {
            let mut bytes = Vec::new();
            put_length(&mut bytes, length).unwrap();
            prop_assert_eq!(Cursor(&bytes).length(), Some(length));
        }
    }
}
