//! Reads what Ring's events say about themselves, leniently: only what makes routing a guess is an anomaly.
//!
//! The shape is from "Webhooks" in Ring's documentation: `meta` (version, time, request and account id) and one `data`
//! (id, type, sub type, attributes, relationships). The body itself is what is kept and forwarded; this is only read.

mod json;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::cloudevent::is_attribute_char;
use super::content::{Content, ContentHash};
use super::event::Event;
use super::flags::flags;
use super::ids::{AccountId, DeviceId, MAX_ID_BYTES};
use super::time::Millis;
use json::{EMPTY, Object, Scalar, Shape, Without};

/// Longest event type or sub type, in bytes.
pub const MAX_KIND_BYTES: usize = 128;
/// How many devices of one event are read; a home has a few dozen at most.
pub const MAX_DEVICES: usize = 256;

/// The objects of an event that are read.
const EVENT: Shape = Shape(&[("meta", Shape(&[])), ("data", DATA)]);
const DATA: Shape =
    Shape(&[("attributes", Shape(&[])), ("relationships", Shape(&[("devices", Shape(&[]))]))]);

/// Why a signed body can't be read as an event. It is kept in quarantine, never refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Anomaly {
    NotJson,
    NotAnObject,
    /// Which of the two is meant can't be known, and one may be another account's.
    DuplicateKey,
    NoType,
    /// The event names an account that cannot be one; finding it through the device would be a guess.
    BadAccount,
}

impl Anomaly {
    /// The words that are kept with the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not JSON",
            Self::NotAnObject => "not a JSON object",
            Self::DuplicateKey => "a key is there twice",
            Self::NoType => "no usable data.type",
            Self::BadAccount => "an unusable meta.account_id",
        }
    }
}

flags! {
    /// A field that was there but unusable, and so was read as missing.
    Oddity,
    /// The oddities of one event.
    Oddities {
        Meta = "meta",
        SentAt = "time",
        RequestId = "request_id",
        Attributes = "attributes",
        SubKind = "sub_type",
        Source = "source",
        SourceType = "source_type",
        HappenedAt = "timestamp",
        Relationships = "relationships",
        /// More than [`MAX_DEVICES`], or one of them unreadable: the list is incomplete.
        Devices = "devices",
        /// `source` names another account than `meta.account_id`, which is the one that counts.
        OtherAccount = "other_account",
    }
}

/// What an event says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Ring's id of the delivery; retries carry the same.
    pub request_id: Option<String>,
    pub account: Option<AccountId>,
    /// `data.type`, known or not.
    pub kind: String,
    pub sub_kind: Option<String>,
    /// The device that the event is about.
    pub device: Option<DeviceId>,
    /// The devices in its relationships (subscription events), at most [`MAX_DEVICES`].
    pub devices: Vec<DeviceId>,
    /// `meta.time`, when Ring sent it.
    pub sent_at: Option<Millis>,
    /// `attributes.timestamp`, when it happened.
    pub happened_at: Option<Millis>,
    /// A hash of `meta.account_id` and of all of `data`, for events with a request id; nothing where a part of `data` is not
    /// of the shape that is read.
    pub content: Option<ContentHash>,
    /// They are counted.
    pub oddities: Oddities,
}

impl Envelope {
    /// The event of the body that it was read from, called `key`. Whose it is is not known yet.
    pub fn into_event(self, key: String, body: Bytes, received_at: Millis) -> Event {
        let Self { kind, sub_kind, device, account, happened_at, sent_at, .. } = self;
        let time = happened_at.or(sent_at);
        Event { kind, sub_kind, device, account, time, ..Event::unread(key, body, received_at) }
    }
}

/// Reads `body`, which must have been verified before.
///
/// # Errors
/// [`Anomaly`] when it is no event, or when which account it belongs to would be a guess.
pub fn parse(body: &[u8]) -> Result<Envelope, Anomaly> {
    let body = str::from_utf8(body).map_err(|_| Anomaly::NotJson)?;
    let root = Object::read(body, EVENT)?.ok_or(Anomaly::NotAnObject)?;
    let mut reader = Reader::default();
    let meta = reader.object(&root, "meta", Oddity::Meta)?;
    let data = root.object("data")?.map_err(|_| Anomaly::NoType)?;
    let kind = data.get("type").and_then(kind).ok_or(Anomaly::NoType)?;
    let attributes = reader.object(data, "attributes", Oddity::Attributes)?;
    let named = account(meta)?;
    let source = reader.source(attributes, &kind);
    let devices = reader.devices(data)?;
    let request_id = reader.text(meta, "request_id", Oddity::RequestId, MAX_ID_BYTES);
    Ok(Envelope {
        content: request_id.as_ref().and_then(|_| content(named.as_ref(), data)),
        request_id,
        account: reader.settle(named, source.account),
        sub_kind: reader
            .text(data, "subType", Oddity::SubKind, MAX_KIND_BYTES)
            .or_else(|| reader.text(attributes, "sub_type", Oddity::SubKind, MAX_KIND_BYTES)),
        device: source.device,
        devices,
        sent_at: reader.sent_at(meta),
        happened_at: reader.happened_at(attributes),
        kind,
        oddities: reader.oddities,
    })
}

/// What `attributes.source` turned out to name.
#[derive(Default)]
struct Source {
    device: Option<DeviceId>,
    account: Option<AccountId>,
}

impl Source {
    fn device(id: &str) -> Self {
        Self { device: DeviceId::new(id).ok(), account: None }
    }

    fn account(id: &str) -> Self {
        Self { device: None, account: AccountId::new(id).ok() }
    }
}

/// Reads optional fields and remembers which of them were unusable.
#[derive(Default)]
struct Reader {
    oddities: Oddities,
}

impl Reader {
    fn object<'o, 'a>(
        &mut self,
        of: &'o Object<'a>,
        key: &str,
        oddity: Oddity,
    ) -> Result<&'o Object<'a>, Anomaly> {
        of.object(key).map(|object| {
            object.unwrap_or_else(|without| {
                if without == Without::SomethingElse {
                    self.oddities.insert(oddity);
                }
                &EMPTY
            })
        })
    }

    /// A text of 1 to `max` bytes that can stand in an attribute; a number counts as its digits.
    fn text(&mut self, of: &Object, key: &str, oddity: Oddity, max: usize) -> Option<String> {
        let text = match Scalar::read(of.get(key)?) {
            Scalar::Text(text) | Scalar::Number(text) => text,
            Scalar::Other => return self.odd(oddity),
        };
        if is_plain(&text, max) { Some(text.into_owned()) } else { self.odd(oddity) }
    }

    fn odd<T>(&mut self, oddity: Oddity) -> Option<T> {
        self.oddities.insert(oddity);
        None
    }

    /// `source` is a device, or the account itself when the link is what the event is about, or neither ("subscriptions").
    fn source(&mut self, attributes: &Object, kind: &str) -> Source {
        let source = self.text(attributes, "source", Oddity::Source, MAX_ID_BYTES);
        let source_type = self.text(attributes, "source_type", Oddity::SourceType, MAX_KIND_BYTES);
        let Some(source) = source else { return Source::default() };
        let of_link = kind.starts_with("app_integration_");
        match source_type.as_deref() {
            Some("device" | "devices") => Source::device(&source),
            None if is_device_event(kind) => Source::device(&source),
            Some("user" | "users" | "account" | "accounts") | None if of_link => Source::account(&source),
            _ => Source::default(),
        }
    }

    fn settle(&mut self, named: Option<AccountId>, source: Option<AccountId>) -> Option<AccountId> {
        if named.is_some() && source.is_some() && named != source {
            self.oddities.insert(Oddity::OtherAccount);
        }
        named.or(source)
    }

    /// `relationships.devices.data[]`: entries of type `device`, with their id.
    fn devices(&mut self, data: &Object) -> Result<Vec<DeviceId>, Anomaly> {
        let relationships = self.object(data, "relationships", Oddity::Relationships)?;
        let devices = self.object(relationships, "devices", Oddity::Relationships)?;
        let Some(list) = devices.get("data") else { return Ok(Vec::new()) };
        let Some(list) = json::list(list, MAX_DEVICES) else {
            self.oddities.insert(Oddity::Relationships);
            return Ok(Vec::new());
        };
        if list.cut {
            self.oddities.insert(Oddity::Devices);
        }
        let mut found = Vec::with_capacity(list.items.len());
        for item in list.items {
            let id = Object::read(item.get(), Shape(&[]))?.and_then(|o| related_device(&o));
            found.extend(id.or_else(|| self.odd(Oddity::Devices)));
        }
        Ok(found)
    }

    fn sent_at(&mut self, meta: &Object) -> Option<Millis> {
        let text = self.text(meta, "time", Oddity::SentAt, MAX_KIND_BYTES)?;
        let at = text.parse::<jiff::Timestamp>().ok();
        at.and_then(|t| u64::try_from(t.as_millisecond()).ok().map(Millis))
            .or_else(|| self.odd(Oddity::SentAt))
    }

    fn happened_at(&mut self, attributes: &Object) -> Option<Millis> {
        let text = self.text(attributes, "timestamp", Oddity::HappenedAt, MAX_KIND_BYTES)?;
        text.parse().ok().map(Millis).or_else(|| self.odd(Oddity::HappenedAt))
    }
}

fn content(account: Option<&AccountId>, data: &Object) -> Option<ContentHash> {
    let mut content = Content::new();
    content.add(b'a', account.map_or("", AccountId::as_str).as_bytes());
    data.add_to(&mut content).then(|| content.hash())
}

fn kind(value: &RawValue) -> Option<String> {
    match Scalar::read(value) {
        Scalar::Text(text) if is_plain(&text, MAX_KIND_BYTES) => Some(text.into_owned()),
        _ => None,
    }
}

fn account(meta: &Object) -> Result<Option<AccountId>, Anomaly> {
    let Some(value) = meta.get("account_id") else { return Ok(None) };
    match Scalar::read(value) {
        Scalar::Text(text) => AccountId::new(&text).map(Some).map_err(|_| Anomaly::BadAccount),
        Scalar::Number(_) | Scalar::Other => Err(Anomaly::BadAccount),
    }
}

fn related_device(entry: &Object) -> Option<DeviceId> {
    let of_device = match entry.get("type").map(Scalar::read) {
        None => true,
        Some(Scalar::Text(text)) => text == "device" || text == "devices",
        Some(_) => false,
    };
    match entry.get("id").map(Scalar::read) {
        Some(Scalar::Text(id) | Scalar::Number(id)) if of_device => DeviceId::new(&id).ok(),
        _ => None,
    }
}

/// The documented families of events that a device causes, sensors included.
fn is_device_event(kind: &str) -> bool {
    let ends = ["_detected", "_cleared", "_faulted", "_exceeded"];
    kind == "button_press" || kind.starts_with("device_") || ends.iter().any(|end| kind.ends_with(end))
}

fn is_plain(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.chars().all(is_attribute_char)
}
