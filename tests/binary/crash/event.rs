//! The events that are sent: each is a function of its account and its number there, so that nothing need be remembered.

use serde_json::Value;

use crate::support::configuration;

/// Every so many of an account's events is a button press, the others are motion.
pub(crate) const BUTTON_EVERY: u32 = 3;
const USERS: u32 = 5;

/// The `n`th event of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) account: u32,
    pub(crate) n: u32,
}

impl Event {
    pub(crate) fn key(self) -> String {
        format!("event-{}-{}", self.account, self.n)
    }

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (account, n) = key.strip_prefix("event-")?.split_once('-')?;
        let event = Self { account: account.parse().ok()?, n: n.parse().ok()? };
        (event.key() == key).then_some(event)
    }

    pub(crate) fn body(self) -> String {
        let kind = if self.n.is_multiple_of(BUTTON_EVERY) { "button_press" } else { "motion_detected" };
        let (key, account) = (self.key(), account_name(self.account));
        format!(
            r#"{{"meta":{{"version":"1.1","request_id":"{key}","account_id":"{account}"}},"data":{{"id":"{key}","type":"{kind}","attributes":{{"source":"device-of-{account}"}}}}}}"#
        )
    }

    /// The header line.
    pub(crate) fn signature(self) -> String {
        configuration::signature(self.body().as_bytes())
    }
}

pub(crate) fn account_name(account: u32) -> String {
    format!("account-{account}")
}

pub(crate) fn user_of(account: u32) -> String {
    format!("user-{}", account % USERS)
}

/// An event as it came out of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) account: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) body: Value,
}

impl Seen {
    /// From a `CloudEvent`.
    pub(crate) fn read(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let body = event.get("data")?.clone();
        Some(Self { key: text("id")?, account: text("ringaccount"), user: text("ringuser"), body })
    }
}
