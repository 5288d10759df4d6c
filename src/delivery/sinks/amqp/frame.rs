//! The frames of AMQP 0-9-1: what a publisher writes, and what the broker says, taken off the bytes as they come.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

/// Of any frame, with its head and its end. The broker may ask for less.
pub(super) const MOST_FRAME: usize = 128 << 10;
/// Every client and every broker takes frames of this size.
pub(super) const LEAST_FRAME: usize = 4096;
/// Type, channel and size before the payload, the end mark behind it.
const HEAD: usize = 7;
const AROUND: usize = HEAD + 1;
const END: u8 = 0xCE;
/// The one channel that we open.
pub(super) const CHANNEL: u16 = 1;
/// Bytes of a short string, which says its length in one byte.
pub(super) const SHORT: usize = 255;

/// Types of frames.
mod kind {
    pub(super) const METHOD: u8 = 1;
    pub(super) const HEADER: u8 = 2;
    pub(super) const BODY: u8 = 3;
    pub(super) const HEARTBEAT: u8 = 8;
}

/// Methods by class and number.
pub(super) mod id {
    pub(crate) type Id = (u16, u16);
    pub(crate) const START: Id = (10, 10);
    pub(crate) const START_OK: Id = (10, 11);
    pub(crate) const SECURE: Id = (10, 20);
    pub(crate) const TUNE: Id = (10, 30);
    pub(crate) const TUNE_OK: Id = (10, 31);
    pub(crate) const OPEN: Id = (10, 40);
    pub(crate) const OPEN_OK: Id = (10, 41);
    pub(crate) const CLOSE: Id = (10, 50);
    pub(crate) const CLOSE_OK: Id = (10, 51);
    pub(crate) const BLOCKED: Id = (10, 60);
    pub(crate) const UNBLOCKED: Id = (10, 61);
    pub(crate) const CHANNEL_OPEN: Id = (20, 10);
    pub(crate) const CHANNEL_OPEN_OK: Id = (20, 11);
    pub(crate) const FLOW: Id = (20, 20);
    pub(crate) const FLOW_OK: Id = (20, 21);
    pub(crate) const CHANNEL_CLOSE: Id = (20, 40);
    pub(crate) const CHANNEL_CLOSE_OK: Id = (20, 41);
    pub(crate) const PUBLISH: Id = (60, 40);
    pub(crate) const RETURN: Id = (60, 50);
    pub(crate) const ACK: Id = (60, 80);
    pub(crate) const NACK: Id = (60, 120);
    pub(crate) const SELECT: Id = (85, 10);
    pub(crate) const SELECT_OK: Id = (85, 11);
}

/// What the broker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Its mechanisms of login, divided by spaces.
    Start {
        mechanisms: String,
    },
    Tune {
        channel_max: u16,
        frame_max: u32,
        heartbeat: u16,
    },
    OpenOk,
    ChannelOpenOk,
    SelectOk,
    /// It ends the connection.
    Close(Reason),
    /// It ends our channel.
    ChannelClose(Reason),
    Blocked(String),
    Unblocked,
    Flow {
        active: bool,
    },
    /// A message that reached no queue; its header follows.
    Return(Reason),
    Ack {
        tag: u64,
        multiple: bool,
    },
    Nack {
        tag: u64,
        multiple: bool,
    },
    /// Of a message that comes back: its message id.
    Header {
        message_id: String,
    },
    /// Nothing that a publisher acts upon: a sign of life, or a piece of a message that comes back.
    Nothing,
}

/// Why, as a code and in the broker's words, such as `404 NOT_FOUND - no exchange 'x' in vhost '/'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) code: u16,
    pub(super) text: String,
}

/// Takes the first frame off `input`; nothing while it is not whole. The error says that it is no AMQP 0-9-1.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Said>, String> {
    // A broker answers so to the beginning of a version that it does not speak.
    if input.starts_with(b"AMQP") {
        return Err("the broker speaks another version of AMQP, and not 0-9-1".to_owned());
    }
    let Some(&kind) = input.first() else { return Ok(None) };
    if !matches!(kind, kind::METHOD | kind::HEADER | kind::BODY | kind::HEARTBEAT) {
        // The letters of that answer may come one by one.
        return if b"AMQP".starts_with(input) { Ok(None) } else { Err(strange("no frame")) };
    }
    if input.len() < HEAD {
        return Ok(None);
    }
    let size = u32::from_be_bytes([input[3], input[4], input[5], input[6]]) as usize;
    if size > MOST_FRAME - AROUND {
        return Err(strange("a frame that is too large"));
    }
    if input.len() < size + AROUND {
        return Ok(None);
    }
    if input[HEAD + size] != END {
        return Err(strange("a frame without its end"));
    }
    input.advance(HEAD);
    let payload = input.split_to(size).freeze();
    input.advance(1);
    let said = match kind {
        kind::METHOD => method(Cursor(&payload)).ok_or_else(|| strange("a method that is not known"))?,
        kind::HEADER => {
            let message_id = message_id(Cursor(&payload)).ok_or_else(|| strange("a broken header"))?;
            Said::Header { message_id }
        }
        _ => Said::Nothing,
    };
    Ok(Some(said))
}

fn strange(what: &str) -> String {
    format!("this is no broker of AMQP 0-9-1, or it is broken: it sent {what}")
}

fn method(mut from: Cursor<'_>) -> Option<Said> {
    Some(match (from.u16()?, from.u16()?) {
        id::START => {
            from.skip(2)?;
            from.long()?;
            Said::Start { mechanisms: text(from.long()?) }
        }
        id::TUNE => Said::Tune { channel_max: from.u16()?, frame_max: from.u32()?, heartbeat: from.u16()? },
        id::OPEN_OK => Said::OpenOk,
        id::CHANNEL_OPEN_OK => Said::ChannelOpenOk,
        id::SELECT_OK => Said::SelectOk,
        id::CLOSE => Said::Close(from.reason()?),
        id::CHANNEL_CLOSE => Said::ChannelClose(from.reason()?),
        id::BLOCKED => Said::Blocked(text(from.short()?)),
        id::UNBLOCKED => Said::Unblocked,
        id::FLOW => Said::Flow { active: from.u8()? & 1 == 1 },
        id::RETURN => Said::Return(from.reason()?),
        id::ACK => Said::Ack { tag: from.u64()?, multiple: from.u8()? & 1 == 1 },
        id::NACK => Said::Nack { tag: from.u64()?, multiple: from.u8()? & 1 == 1 },
        // To our last words, and to none of ours.
        id::CLOSE_OK | id::CHANNEL_CLOSE_OK | id::SECURE => Said::Nothing,
        _ => return None,
    })
}

/// The property of a content header; empty where it has none.
fn message_id(mut from: Cursor<'_>) -> Option<String> {
    // Class, weight and the size of the body.
    from.skip(12)?;
    let flags = from.u16()?;
    let has = |bit: u16| flags & bit != 0;
    for bit in [property::CONTENT_TYPE, property::CONTENT_ENCODING] {
        if has(bit) {
            from.short()?;
        }
    }
    if has(property::HEADERS) {
        from.long()?;
    }
    for bit in [property::DELIVERY_MODE, property::PRIORITY] {
        if has(bit) {
            from.skip(1)?;
        }
    }
    for bit in [property::CORRELATION_ID, property::REPLY_TO, property::EXPIRATION] {
        if has(bit) {
            from.short()?;
        }
    }
    if has(property::MESSAGE_ID) { from.short().map(text) } else { Some(String::new()) }
}

/// A payload that is read from its front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.skip(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.skip(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.skip(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.skip(8)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let size = self.u8()?;
        self.skip(size.into())
    }

    /// A long string or a table.
    fn long(&mut self) -> Option<&'a [u8]> {
        let size = self.u32()?;
        self.skip(size as usize)
    }

    fn reason(&mut self) -> Option<Reason> {
        Some(Reason { code: self.u16()?, text: text(self.short()?) })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Flags of the properties of a message.
mod property {
    pub(super) const CONTENT_TYPE: u16 = 1 << 15;
    pub(super) const CONTENT_ENCODING: u16 = 1 << 14;
    pub(super) const HEADERS: u16 = 1 << 13;
    pub(super) const DELIVERY_MODE: u16 = 1 << 12;
    pub(super) const PRIORITY: u16 = 1 << 11;
    pub(super) const CORRELATION_ID: u16 = 1 << 10;
    pub(super) const REPLY_TO: u16 = 1 << 9;
    pub(super) const EXPIRATION: u16 = 1 << 8;
    pub(super) const MESSAGE_ID: u16 = 1 << 7;
}

/// A message that outlives a restart of the broker, where its queue does.
const PERSISTENT: u8 = 2;
/// Of a message that reaches no queue the broker says so.
const MANDATORY: u8 = 1;

/// A field of a table.
pub(super) enum Value<'a> {
    Text(&'a str),
    Flag(bool),
    Table(&'a [(&'a str, Value<'a>)]),
}

/// The arguments of a method. They may hold a password, so they are wiped.
#[derive(Default)]
pub(super) struct Arguments(Zeroizing<Vec<u8>>);

impl Arguments {
    /// With room for so many bytes, so that no copy of them is left behind.
    pub(super) fn roomy(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.put_u8(value);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.put_u16(value);
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.put_u32(value);
        self
    }

    /// Of a longer text the first [`SHORT`] bytes.
    pub(super) fn short(mut self, text: &str) -> Self {
        put_short(&mut self.0, text);
        self
    }

    pub(super) fn long(mut self, bytes: &[u8]) -> Self {
        put_long(&mut self.0, bytes);
        self
    }

    pub(super) fn table(mut self, fields: &[(&str, Value<'_>)]) -> Self {
        put_table(&mut self.0, fields);
        self
    }

    /// The frame of the method.
    pub(super) fn write(self, channel: u16, (class, number): id::Id, output: &mut impl BufMut) {
        output.put_u8(kind::METHOD);
        output.put_u16(channel);
        output.put_u32(size(self.0.len() + 4));
        output.put_u16(class);
        output.put_u16(number);
        output.put_slice(&self.0);
        output.put_u8(END);
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn put_short(to: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(SHORT)];
    to.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.put_slice(text.as_bytes());
}

fn put_long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.put_u32(size(bytes.len()));
    to.put_slice(bytes);
}

fn put_table(to: &mut Vec<u8>, fields: &[(&str, Value<'_>)]) {
    let mut table = Vec::new();
    for (name, value) in fields {
        put_short(&mut table, name);
        match value {
            Value::Text(text) => {
                table.put_u8(b'S');
                put_long(&mut table, text.as_bytes());
            }
            Value::Flag(flag) => table.put_slice(&[b't', u8::from(*flag)]),
            Value::Table(fields) => {
                table.put_u8(b'F');
                put_table(&mut table, fields);
            }
        }
    }
    put_long(to, &table);
}

/// The properties of a message, as they stand in its header.
pub(super) fn properties(
    content_type: Option<&str>,
    headers: &[(&str, Value<'_>)],
    message_id: &str,
) -> Bytes {
    let mut flags = property::DELIVERY_MODE | property::MESSAGE_ID;
    let mut values = Vec::new();
    if let Some(content_type) = content_type {
        flags |= property::CONTENT_TYPE;
        put_short(&mut values, content_type);
    }
    if !headers.is_empty() {
        flags |= property::HEADERS;
        put_table(&mut values, headers);
    }
    values.put_u8(PERSISTENT);
    put_short(&mut values, message_id);
    [&flags.to_be_bytes()[..], &values].concat().into()
}

/// Bytes of the frame with these properties, which can't be divided.
pub(super) fn header_frame(properties: &[u8]) -> usize {
    AROUND + 12 + properties.len()
}

/// Writes a whole message, its body in frames of at most `frame_max` bytes.
pub(super) fn publish(
    (exchange, key): (&str, &str),
    properties: &[u8],
    body: &[u8],
    frame_max: usize,
    output: &mut BytesMut,
) {
    let arguments = Arguments::default().u16(0).short(exchange).short(key).u8(MANDATORY);
    arguments.write(CHANNEL, id::PUBLISH, output);
    output.put_u8(kind::HEADER);
    output.put_u16(CHANNEL);
    output.put_u32(size(12 + properties.len()));
    output.put_u16(id::PUBLISH.0);
    output.put_u16(0);
    output.put_u64(body.len() as u64);
    output.put_slice(properties);
    output.put_u8(END);
    for piece in body.chunks(frame_max - AROUND) {
        output.put_u8(kind::BODY);
        output.put_u16(CHANNEL);
        output.put_u32(size(piece.len()));
        output.put_slice(piece);
        output.put_u8(END);
    }
}

/// Writes a sign of life.
pub(super) fn heartbeat(output: &mut BytesMut) {
    output.put_slice(&[kind::HEARTBEAT, 0, 0, 0, 0, 0, 0, END]);
}

#[cfg(test)]
mod tests;
