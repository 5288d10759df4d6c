//! Renders an accepted event as CloudEvents 1.0: in the JSON format as one line, with the JSON value that Ring sent in it, or as the
//! headers of HTTP's binary mode.

mod readable;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use data_encoding::BASE64;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::flags::flags;
use super::json_line::one_line;
use super::time::Millis;
use readable::is_readable;

/// The `source` of every event of Ring's. One is enough: `id` is unique over all accounts, and `ringaccount` says whose it is.
pub const SOURCE: &str = "/ring";
/// The `source` of our own.
pub const OWN_SOURCE: &str = "/ringhookd";
/// The attribute that many a protocol has a place of its own for.
pub const CONTENT_TYPE: &str = "datacontenttype";

flags! {
    /// What intake or delivery found worth telling about an event.
    Mark,
    /// The marks of one event.
    Marks {
        /// Sent longer ago than Ring's retries take: a replay, or a clock is wrong.
        Late = "late",
        /// Sent after it was received, further than clocks may differ.
        Early = "early",
        /// Its request id came before with other `data`, or of another account.
        Conflict = "conflict",
        /// It had no usable request id; its id is a hash of the body.
        HashedId = "hashed-id",
        /// It names no account, and none was found.
        NoAccount = "no-account",
        /// Its account was found through the device.
        AccountByDevice = "account-by-device",
        /// It waited until its account was claimed.
        Held = "held",
        /// It comes back from dead letters.
        Replayed = "replayed",
        /// It is ringhookd's own, not Ring's.
        Own = "own",
    }
}

/// What need not be encoded in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An event on its way to a queue.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The idempotency key; never empty.
    pub id: &'a str,
    /// Ring's `data.type`; empty when there is none.
    pub kind: &'a str,
    pub sub_kind: Option<&'a str>,
    pub device: Option<&'a str>,
    pub account: Option<&'a str>,
    pub user: Option<&'a str>,
    /// Grows with every event of an account.
    pub sequence: u64,
    /// Which delivery to this queue it is, from 1.
    pub attempt: u32,
    pub received_at: Millis,
    /// When it happened, or else when Ring sent it.
    pub time: Option<Millis>,
    pub marks: Marks,
    /// As Ring sent it.
    pub body: &'a [u8],
}

/// The event as one line without its end. `data` is the body to the byte where a line of JSON can hold it, but that U+0085,
/// U+2028 and U+2029 are escaped; else `data_base64` is. Texts are never empty: what would be is left out.
pub fn render(event: &Outgoing<'_>) -> String {
    let data = Data::of(event.body);
    let attributes = |attributes: &Attributes<'_>| serde_json::to_string(attributes);
    // Texts and numbers into memory: neither can fail.
    let mut line = with_attributes(event, &data, attributes).unwrap_or_default();
    line.truncate(line.len().saturating_sub(1));
    match data {
        Data::Json(body) => line.extend([",\"data\":", body, "}"]),
        Data::HiddenJson(body) | Data::Bytes(body) => {
            line.push_str(",\"data_base64\":\"");
            BASE64.encode_append(body, &mut line);
            line.push_str("\"}");
        }
    }
    one_line(line)
}

/// The headers of the event in HTTP's binary mode (HTTP Protocol Binding 1.0.2, §3.1), beside which the body goes as it is: its
/// `content-type`, and `ce-` with the name of every other attribute.
pub fn headers(event: &Outgoing<'_>) -> Vec<(String, String)> {
    let header = |(name, value): (String, String)| match name.as_str() {
        CONTENT_TYPE => ("content-type".into(), value),
        _ => (format!("ce-{name}"), header_text(&value)),
    };
    attributes(event).into_iter().map(header).collect()
}

/// Every attribute of the event by its name, as text; those that it has not are left out.
pub fn attributes(event: &Outgoing<'_>) -> Vec<(String, String)> {
    let attributes = |attributes: &Attributes<'_>| serde_json::to_value(attributes);
    // Texts and numbers into memory: neither can fail.
    let Ok(Value::Object(members)) = with_attributes(event, &Data::of(event.body), attributes) else {
        unreachable!("a struct is an object")
    };
    let text = |value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    members.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// `text` as it may stand in a header: percent-encoded but for what is printable ASCII and neither space, `"` nor `%` (§3.1.3.2).
pub fn header_text(text: &str) -> String {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
    utf8_percent_encode(text, ENCODED).to_string()
}

fn with_attributes<T>(event: &Outgoing<'_>, data: &Data<'_>, make: impl FnOnce(&Attributes<'_>) -> T) -> T {
    let kind = attribute(event.kind).unwrap_or("unknown".into());
    let own = event.marks.contains(Mark::Own);
    let (source, vendor) = if own { (OWN_SOURCE, "ringhookd") } else { (SOURCE, "ring") };
    make(&Attributes {
        specversion: "1.0",
        id: &attribute(event.id).unwrap_or_default(),
        source,
        kind: &format!("com.{vendor}.{kind}"),
        subject: event.device.and_then(attribute),
        time: event.time.map(Millis::rfc3339),
        datacontenttype: data.content_type(),
        ringaccount: event.account.and_then(attribute),
        ringtoken: event.account.map(token_call),
        ringuser: event.user.and_then(attribute),
        ringsubtype: event.sub_kind.and_then(attribute),
        // A text, since integers have 32 bits here; of fixed width, so that it sorts.
        ringsequence: &format!("{:020}", event.sequence),
        ringreceived: &event.received_at.rfc3339(),
        ringattempt: i32::try_from(event.attempt).unwrap_or(i32::MAX),
        ringmarks: Some(event.marks.to_string()).filter(|names| !names.is_empty()),
    })
}

/// Where on an admin socket an access token of the account is to be had.
fn token_call(account: &str) -> String {
    format!("/v1/accounts/{}/token", utf8_percent_encode(account, SEGMENT))
}

/// Whether the specification allows `c` in an attribute: no control characters, no noncharacters.
pub fn is_attribute_char(c: char) -> bool {
    let noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    !c.is_control() && !noncharacter
}

#[derive(Serialize)]
struct Attributes<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ringaccount: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ringtoken: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ringuser: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ringsubtype: Option<Cow<'a, str>>,
    ringsequence: &'a str,
    ringreceived: &'a str,
    ringattempt: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ringmarks: Option<String>,
}

/// `text` with what an attribute may not hold replaced; nothing when it is empty.
fn attribute(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() {
        None
    } else if text.chars().all(is_attribute_char) {
        Some(text.into())
    } else {
        Some(text.replace(|c| !is_attribute_char(c), "\u{fffd}").into())
    }
}

/// How a body goes out.
enum Data<'a> {
    /// As it is.
    Json(&'a str),
    /// It is JSON, but a line with it in would be none, or one that common readers refuse.
    HiddenJson(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Data<'a> {
    fn of(body: &'a [u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<&RawValue>(body) else { return Self::Bytes(body) };
        let json = json.get();
        // Space around it is lost to whoever parses the line, and many take `null` for no data at all.
        let stays = json.len() == body.len() && json != "null";
        if stays && !json.contains(['\n', '\r']) && is_readable(json) {
            Self::Json(json)
        } else {
            Self::HiddenJson(body)
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::HiddenJson(_) => "application/json",
            Self::Bytes(_) => "application/octet-stream",
        }
    }
}
