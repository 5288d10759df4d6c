//! The message for an event: its body by the queue's format, attributes beside it, and what a FIFO queue tells messages apart by.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::domain::event::Event;
use crate::domain::format::Format;
use crate::domain::ids::AccountId;
use crate::store::Leased;

/// Bytes of the largest message, with its attributes, and of all messages of a request together.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Characters of the longest id of a group, and of the longest that tells duplicates.
const MAX_ID: usize = 128;
/// At the front of an id that is a hash of another.
const HASHED: &str = "sha256-";
const TEXT: &str = "String";
/// With [`ENCODING`] ten, and SQS takes no more.
const ATTRIBUTES: [&str; 9] =
    ["id", "source", "type", "subject", "time", "ringaccount", "ringuser", "ringsubtype", "ringsequence"];
/// The attribute that says how the body is encoded, where it is.
const ENCODING: &str = "encoding";

/// Makes the messages of one queue.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) format: Format,
    /// Whether the queue keeps the order of each group and drops what comes again.
    pub(super) fifo: bool,
}

/// A message as `SendMessageBatch` takes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    /// Its place among those of its request.
    pub(super) id: String,
    message_body: String,
    message_attributes: BTreeMap<String, Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_deduplication_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    data_type: &'static str,
    string_value: String,
}

impl Messages {
    pub(super) fn of(&self, id: usize, leased: &Leased) -> Entry {
        let Leased { seq, attempt, event } = leased;
        let (message_body, encoding) = self.body(leased);
        let attributes = event.cloudevent_attributes(*seq, *attempt).into_iter();
        let attributes = attributes.filter(|(name, _)| ATTRIBUTES.contains(&name.as_str()));
        let encoding = encoding.map(|encoding| (ENCODING.to_owned(), encoding.to_owned()));
        let attribute = |value| Attribute { data_type: TEXT, string_value: value };
        Entry {
            id: id.to_string(),
            message_body,
            message_attributes: attributes
                .chain(encoding)
                .map(|(name, value)| (name, attribute(value)))
                .collect(),
            message_group_id: self.fifo.then(|| group(event)),
            message_deduplication_id: self.fifo.then(|| accepted(&event.key)),
        }
    }

    /// The body, and how it is encoded. SQS would replace what it can't hold.
    fn body(&self, Leased { seq, attempt, event }: &Leased) -> (String, Option<&'static str>) {
        match self.format {
            // In a line of JSON only a text can hold one of them, and there an escape means the same.
            Format::CloudEvents | Format::CloudEventsBinary => {
                let line = event.cloudevent(*seq, *attempt);
                (line.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"), None)
            }
            Format::Raw => match str::from_utf8(&event.body) {
                Ok(text) if text.chars().all(is_held) => (text.to_owned(), None),
                _ => (BASE64.encode(&event.body), Some("base64")),
            },
        }
    }
}

impl Entry {
    /// As SQS counts it: the body, and of each attribute its name, type and value.
    pub(super) fn bytes(&self) -> usize {
        let attribute =
            |(name, value): (&String, &Attribute)| name.len() + TEXT.len() + value.string_value.len();
        self.message_body.len() + self.message_attributes.iter().map(attribute).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.message_body.is_empty()
    }
}

/// Whether a message can hold `c`: the characters of XML 1.0.
fn is_held(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Of the account, whose order the queue keeps; what has no account has one group.
fn group(event: &Event) -> String {
    event.account.as_ref().map(AccountId::as_str).map_or_else(|| "-".to_owned(), accepted)
}

/// `id` where SQS takes it and it is none that stands for something else, or a hash of it.
fn accepted(id: &str) -> String {
    let fits = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if fits && id != "-" && !id.starts_with(HASHED) {
        id.to_owned()
    } else {
        format!("{HASHED}{}", HEXLOWER.encode(&Sha256::digest(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::marks::Marks;
    use crate::domain::time::Millis;

    fn leased(account: &str, key: &str, body: &[u8]) -> Leased {
        let event = Event {
            key: key.into(),
            kind: "button_press".into(),
            sub_kind: Some("human".into()),
            device: crate::domain::ids::DeviceId::new("door").ok(),
            account: AccountId::new(account).ok(),
            user: crate::domain::ids::UserId::new("ann").ok(),
            received_at: Millis(0),
            time: Some(Millis(0)),
            marks: Marks::default(),
            body: bytes::Bytes::copy_from_slice(body),
        };
        Leased { seq: 7, attempt: 1, event }
    }

    fn raw(body: &[u8]) -> Entry {
        Messages { format: Format::Raw, fifo: true }.of(0, &leased("a", "k", body))
    }

    #[test]
    fn there_are_never_more_attributes_than_sqs_takes() {
        let entry = raw(b"\xff");
        assert_eq!(entry.message_attributes.len(), 10, "{entry:?}");
        assert!(entry.message_attributes.values().all(|attribute| !attribute.string_value.is_empty()));
    }

    #[test]
    fn what_sqs_would_replace_goes_in_base64_and_says_so() {
        for (body, sent, encoding) in [
            ("{\"a\":\"\u{e9}\u{1f514}\t\r\n\"}".as_bytes(), "{\"a\":\"\u{e9}\u{1f514}\t\r\n\"}", None),
            (b"\xff\xfe", "//4=", Some("base64")),
            (b"a\x00", "YQA=", Some("base64")),
            ("\u{fffe}".as_bytes(), "77++", Some("base64")),
            ("\u{ffff}".as_bytes(), "77+/", Some("base64")),
            (b"\x1f", "Hw==", Some("base64")),
        ] {
            let entry = raw(body);
            let said = entry.message_attributes.get(ENCODING).map(|said| said.string_value.as_str());
            assert_eq!((entry.message_body.as_str(), said), (sent, encoding), "{body:?}");
        }
        assert!(raw(b"").is_empty());
    }

    #[test]
    fn a_cloudevent_says_the_same_without_characters_that_sqs_replaces() {
        let leased = leased("a", "k", "{\"a\":\"\u{fffe}\u{ffff}\u{fffd}\"}".as_bytes());
        let entry = Messages { format: Format::CloudEvents, fifo: false }.of(3, &leased);
        assert!(entry.message_body.chars().all(is_held), "{}", entry.message_body);
        let event: serde_json::Value = serde_json::from_str(&entry.message_body).unwrap();
        assert_eq!(event["data"]["a"], "\u{fffe}\u{ffff}\u{fffd}");
        assert_eq!((entry.id.as_str(), entry.message_group_id.as_ref()), ("3", None));
    }

    #[test]
    fn ids_are_accepted_by_sqs_and_no_two_are_one() {
        let long = "x".repeat(129);
        let hashed = accepted(" ");
        let ids =
            ["ava1.ring.account.X", "a b", " ", "-", "", "\u{e9}", long.as_str(), hashed.as_str(), "!~"];
        let sent: std::collections::BTreeSet<String> = ids.iter().map(|id| accepted(id)).collect();
        assert_eq!(sent.len(), ids.len(), "{sent:?}");
        assert!(
            sent.iter().all(|id| id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic())),
            "{sent:?}"
        );
        assert_eq!([accepted("ava1.ring.account.X"), accepted("!~")], ["ava1.ring.account.X", "!~"]);
        let entry = Messages { format: Format::Raw, fifo: true }.of(0, &leased("a b", "k\n", b"{}"));
        assert_eq!(entry.message_group_id, Some(accepted("a b")));
        assert_eq!(entry.message_deduplication_id, Some(accepted("k\n")));
    }

    #[test]
    fn a_message_is_counted_with_its_attributes() {
        let entry = raw(b"{}");
        let shown = serde_json::to_value(&entry).unwrap();
        let attributes = shown["MessageAttributes"].as_object().unwrap();
        let of = |value: &serde_json::Value| value.as_str().unwrap().len();
        let count = |(name, value): (&String, &serde_json::Value)| {
            name.len() + of(&value["DataType"]) + of(&value["StringValue"])
        };
        assert_eq!(entry.bytes(), 2 + attributes.iter().map(count).sum::<usize>());
    }
}
