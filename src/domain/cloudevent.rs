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

use super::event::Event;
use super::ids::{AccountId, DeviceId, UserId};
use super::json_line::one_line;
use super::marks::Mark;
use super::time::Millis;
use readable::is_readable;

/// The `source` of every event of Ring's. One is enough: `id` is unique over all accounts, and `ringaccount` says whose it is.
pub const SOURCE: &str = "/ring";
/// The `source` of our own.
pub const OWN_SOURCE: &str = "/ringhookd";
/// The attribute that many a protocol has a place of its own for.
pub const CONTENT_TYPE: &str = "datacontenttype";

/// What need not be encoded in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One delivery of an event to a queue.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    /// Grows with every event of an account.
    sequence: u64,
    /// Which delivery to this queue it is, from 1.
    attempt: u32,
}

impl Event {
    /// The event as one line of CloudEvents JSON; `sequence` and `attempt` are those of its delivery.
    pub fn cloudevent(&self, sequence: u64, attempt: u32) -> String {
        render(self, Delivery { sequence, attempt })
    }

    /// The headers of HTTP's binary mode (HTTP Protocol Binding 1.0.2, §3.1), beside which the body goes as it is: its `content-type`,
    /// and `ce-` with the name of every other attribute.
    pub fn cloudevent_headers(&self, sequence: u64, attempt: u32) -> Vec<(String, String)> {
        let header = |(name, value): (String, String)| match name.as_str() {
            CONTENT_TYPE => ("content-type".into(), value),
            _ => (format!("ce-{name}"), header_text(&value)),
        };
        self.cloudevent_attributes(sequence, attempt).into_iter().map(header).collect()
    }

    /// Each attribute of the event by its name, as text, for messages with fields or headers of their own; those that it has not are
    /// left out.
    pub fn cloudevent_attributes(&self, sequence: u64, attempt: u32) -> Vec<(String, String)> {
        let attributes = |attributes: &Attributes<'_>| serde_json::to_value(attributes);
        let delivery = Delivery { sequence, attempt };
        // Texts and numbers into memory: neither can fail.
        let Ok(Value::Object(members)) = with_attributes(self, delivery, &Data::of(&self.body), attributes)
        else {
            unreachable!("a struct is an object")
        };
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        members.into_iter().map(|(name, value)| (name, text(value))).collect()
    }
}

/// The event as one line without its end. `data` is the body to the byte where a line of JSON can hold it, but that U+0085,
/// U+2028 and U+2029 are escaped; else `data_base64` is. Texts are never empty: what would be is left out.
fn render(event: &Event, delivery: Delivery) -> String {
    let data = Data::of(&event.body);
    let attributes = |attributes: &Attributes<'_>| serde_json::to_string(attributes);
    // Texts and numbers into memory: neither can fail.
    let mut line = with_attributes(event, delivery, &data, attributes).unwrap_or_default();
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

/// `text` as it may stand in a header: percent-encoded but for what is printable ASCII and neither space, `"` nor `%` (§3.1.3.2).
pub fn header_text(text: &str) -> String {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
    utf8_percent_encode(text, ENCODED).to_string()
}

fn with_attributes<T>(
    event: &Event,
    delivery: Delivery,
    data: &Data<'_>,
    make: impl FnOnce(&Attributes<'_>) -> T,
) -> T {
    let account = event.account.as_ref().map(AccountId::as_str);
    let kind = attribute(&event.kind).unwrap_or("unknown".into());
    let own = event.marks.contains(Mark::Own);
    let (source, vendor) = if own { (OWN_SOURCE, "ringhookd") } else { (SOURCE, "ring") };
    make(&Attributes {
        specversion: "1.0",
        id: &attribute(&event.key).unwrap_or_default(),
        source,
        kind: &format!("com.{vendor}.{kind}"),
        subject: event.device.as_ref().map(DeviceId::as_str).and_then(attribute),
        time: event.time.map(Millis::rfc3339),
        datacontenttype: data.content_type(),
        ringaccount: account.and_then(attribute),
        ringtoken: account.map(token_call),
        ringuser: event.user.as_ref().map(UserId::as_str).and_then(attribute),
        ringsubtype: event.sub_kind.as_deref().and_then(attribute),
        // A text, since integers have 32 bits here; of fixed width, so that it sorts.
        ringsequence: &format!("{:020}", delivery.sequence),
        ringreceived: &event.received_at.rfc3339(),
        ringattempt: i32::try_from(delivery.attempt).unwrap_or(i32::MAX),
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
