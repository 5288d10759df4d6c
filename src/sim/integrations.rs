//! One-way account linking as Ring keeps it: added, awaiting, completed, and the nonce that ties a browser to an account.
//!
//! The user adds the app (a code is made) → added → POST with a good nonce → awaiting → PATCH → completed; PATCH can pause it
//! back to awaiting, and the user's removal ends it. Each POST mails the user. A link that is completed has used up its nonces.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::call::Reply;
use crate::domain::time::Millis;

/// How long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_mins(10);
/// Nonces of an account that are good at a time.
const NONCES: usize = 8;

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Added,
    Awaiting,
    Completed,
}

impl LinkState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Awaiting => "awaiting",
            Self::Completed => "completed",
        }
    }
}

/// What a browser brings to the Account Link URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    pub nonce: String,
    /// Epoch milliseconds, as the nonce has it.
    pub time: String,
}

#[derive(Debug)]
struct Link {
    state: LinkState,
    identifier: Option<String>,
    nonces: VecDeque<(String, Millis)>,
}

#[derive(Debug)]
pub(super) struct Integrations {
    key: Vec<u8>,
    links: HashMap<Arc<str>, Link>,
    /// Sent to each account's user.
    mails: HashMap<Arc<str>, u64>,
    /// Completed since somebody asked.
    completed: Vec<Arc<str>>,
}

impl Integrations {
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: key.to_owned(), links: HashMap::new(), mails: HashMap::new(), completed: Vec::new() }
    }

    /// Puts an account's link into a state, nonces and all forgotten.
    pub(super) fn set(&mut self, account: &str, state: LinkState) {
        let link = Link { state, identifier: None, nonces: VecDeque::new() };
        self.links.insert(account.into(), link);
    }

    pub(super) fn remove(&mut self, account: &str) {
        self.links.remove(account);
    }

    pub(super) fn state(&self, account: &str) -> Option<LinkState> {
        self.links.get(account).map(|link| link.state)
    }

    /// The confirmation mails that the account's user has had.
    pub(super) fn mails(&self, account: &str) -> u64 {
        self.mails.get(account).copied().unwrap_or(0)
    }

    /// The accounts whose links were completed since this was last asked.
    pub(super) fn take_completed(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.completed)
    }

    /// The user taps *Sign In*; nothing where the app is not added.
    pub(super) fn visit(&mut self, account: &str, now: Millis) -> Option<Visit> {
        let link = self.links.get_mut(account)?;
        let time = now.0.to_string();
        let nonce = nonce(&self.key, &time, account);
        link.nonces.push_back((nonce.clone(), now));
        if link.nonces.len() > NONCES {
            link.nonces.pop_front();
        }
        Some(Visit { nonce, time })
    }

    pub(super) fn post(&mut self, account: &str, body: &Value, now: Millis) -> Reply {
        let Some(link) = self.links.get_mut(account) else { return none() };
        let Some(nonce) = body["nonce"].as_str() else {
            return Reply::problem(400, "Missing Required Fields", "there is no nonce");
        };
        let good = |(known, made): &(String, Millis)| known == nonce && now.since(*made) <= NONCE_LIFE;
        if !link.nonces.iter().any(good) {
            return Reply::problem(400, "Invalid Nonce", "not this account's, or older than ten minutes");
        }
        link.identifier = body["account_identifier"].as_str().map(Into::into);
        link.state = LinkState::Awaiting;
        *self.mails.entry(account.into()).or_default() += 1;
        Reply::json(200, &json!({ "status": "awaiting" }))
    }

    pub(super) fn patch(&mut self, account: &str, body: &Value, now: Millis) -> Reply {
        let Some(link) = self.links.get_mut(account) else { return none() };
        link.state = match (link.state, body["status"].as_str()) {
            (LinkState::Awaiting, Some("completed")) => LinkState::Completed,
            (LinkState::Completed, Some("awaiting")) => LinkState::Awaiting,
            (_, None) => return Reply::problem(400, "Missing Required Fields", "there is no status"),
            (state, Some(status)) => {
                let detail = format!("from {} to {status}", state.name());
                return Reply::problem(400, "Invalid Status Transition", &detail);
            }
        };
        if link.state == LinkState::Completed {
            link.nonces.clear();
            self.completed.push(account.into());
        }
        let updated_at = now.rfc3339();
        let (identifier, status) = (&link.identifier, link.state.name());
        Reply::json(
            200,
            &json!({ "account_identifier": identifier, "status": status, "updated_at": updated_at }),
        )
    }
}

fn none() -> Reply {
    Reply::problem(404, "Not Found", "the user has not added the app")
}

/// `base64url(HMAC-SHA256(key, "<time>:<account>"))` without padding.
fn nonce(key: &[u8], time: &str, account: &str) -> String {
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
    let keyed = keyed.unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
    BASE64URL_NOPAD.encode(&keyed.chain_update(format!("{time}:{account}")).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Millis = Millis(1_700_000_000_000);

    #[test]
    fn a_link_goes_from_added_to_completed() {
        let mut links = Integrations::new(b"key");
        assert!(links.visit("a", T0).is_none());
        links.set("a", LinkState::Added);
        links.set("b", LinkState::Added);
        let (of_a, of_b) = (links.visit("a", T0).unwrap(), links.visit("b", T0).unwrap());
        assert_eq!((of_a.nonce.len(), of_a.time.as_str()), (43, "1700000000000"));
        let mut post = |nonce: &str, now| links.post("a", &json!({ "nonce": nonce }), now).body;
        assert!(post(&of_b.nonce, T0).contains("Invalid Nonce"));
        assert!(post(&of_a.nonce, T0.plus(NONCE_LIFE * 2)).contains("Invalid Nonce"));
        assert_eq!(post(&of_a.nonce, T0.plus(NONCE_LIFE)), r#"{"status":"awaiting"}"#);
        let mut patch = |status: &str| links.patch("a", &json!({ "status": status }), T0).status;
        assert_eq!((patch("awaiting"), patch("completed"), patch("completed")), (400, 200, 400));
        assert_eq!(patch("awaiting"), 200, "a pause");
        assert!(
            links.post("a", &json!({ "nonce": of_a.nonce }), T0).body.contains("Invalid Nonce"),
            "used up"
        );
        assert_eq!((links.mails("a"), links.mails("b")), (1, 0));
        assert_eq!(links.patch("b", &json!({ "status": "completed" }), T0).status, 400);
        assert_eq!(links.patch("c", &json!({ "status": "completed" }), T0).status, 404);
    }
}
