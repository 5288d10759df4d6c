//! An accepted event, as it waits in the store and goes to queues.

use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::ids::{AccountId, DeviceId, UserId};
use super::json_line::one_line;
use super::marks::{Mark, Marks};
use super::routing::{OWN_KINDS, Subject};
use super::time::Millis;

/// The type of the event that tells queues of a forgotten account. It goes to each that may have got the account's events, whatever
/// types it asks for, because what lies behind the queue has to be deleted too.
pub const FORGOTTEN: &str = "account.forgotten";

/// What was accepted. The raw body is kept to the byte; the other fields were read from it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The idempotency key: `meta.request_id`, with `~<hash>` when the id came with other `data` before, or a hash of
    /// the body when there is no id.
    pub key: String,
    /// `data.type`.
    pub kind: String,
    pub sub_kind: Option<String>,
    pub device: Option<DeviceId>,
    pub account: Option<AccountId>,
    /// The user it was accepted for, who alone may read it.
    pub user: Option<UserId>,
    pub received_at: Millis,
    /// When it happened, else when Ring sent it; when it came, where that can't have been yet.
    pub time: Option<Millis>,
    pub marks: Marks,
    pub body: Bytes,
}

impl Event {
    /// One of which no more is known than its key and its body.
    pub fn unread(key: String, body: Bytes, received_at: Millis) -> Self {
        Self {
            key,
            kind: String::new(),
            sub_kind: None,
            device: None,
            account: None,
            user: None,
            received_at,
            time: None,
            marks: Marks::default(),
            body,
        }
    }

    /// One of our own: the link of `account` is in `state` since `now`, and would lapse at `lapses_at`.
    pub fn of_link(
        key: String,
        state: &str,
        account: AccountId,
        user: Option<UserId>,
        lapses_at: Option<Millis>,
        now: Millis,
    ) -> Self {
        let body = json!({
            "account_id": account.as_str(),
            "user": user.as_ref().map(UserId::as_str),
            "state": state,
            "lapses_at": lapses_at.map(Millis::rfc3339),
        });
        Self { account: Some(account), user, ..Self::own(key, format!("{OWN_KINDS}{state}"), &body, now) }
    }

    /// One of our own: everything that was kept of `account` was destroyed. `user` has or had it.
    pub fn of_forgotten(key: String, account: AccountId, user: Option<UserId>, now: Millis) -> Self {
        let body = json!({
            "account_id": account.as_str(),
            "user": user.as_ref().map(UserId::as_str),
            "forgotten_at": now.rfc3339(),
        });
        Self { account: Some(account), user, ..Self::own(key, FORGOTTEN.to_owned(), &body, now) }
    }

    fn own(key: String, kind: String, body: &Value, now: Millis) -> Self {
        let marks = Marks::from_iter([Mark::Own]);
        Self { kind, time: Some(now), marks, ..Self::unread(key, body.to_string().into(), now) }
    }

    /// The parts that filters look at.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            sub_kind: self.sub_kind.as_deref(),
            device: self.device.as_ref().map(DeviceId::as_str),
            account: self.account.as_ref().map(AccountId::as_str),
            user: self.user.as_ref().map(UserId::as_str),
            ..Subject::new(&self.kind, &self.body)
        }
    }

    /// The event's idempotency key and its body to the byte, as one line of JSON: `body` where it is UTF-8, else
    /// `body_base64`.
    pub fn raw(&self) -> String {
        let line = match str::from_utf8(&self.body) {
            Ok(text) => json!({"id": self.key, "body": text}),
            Err(_) => json!({"id": self.key, "body_base64": BASE64.encode(&self.body)}),
        };
        one_line(line.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_body_keeps_every_byte() {
        let raw = |body: &'static [u8]| {
            let event = Event::unread("r-1".into(), body.into(), Millis(0));
            serde_json::from_str::<Value>(&event.raw()).unwrap()
        };
        assert_eq!(raw(b"{ }\n")["body"], "{ }\n");
        assert_eq!(raw("a\u{2028}\u{b}\u{85}".as_bytes())["body"], "a\u{2028}\u{b}\u{85}");
        assert_eq!(raw(b"\xff")["body_base64"], "/w==");
    }
}
