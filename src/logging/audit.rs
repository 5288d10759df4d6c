//! What happened to links, events, queues and keys, and who caused it: every such line is written here.
//!
//! A flood can't fill the log: of each kind a line passes so many times a minute; the next one tells how many were left out.

use std::sync::{LazyLock, Mutex, PoisonError};

use tracing::{error, info};

use super::text;
use crate::clock;
use crate::domain::actor::Actor;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::limiter::Limiter;

/// Lines of one kind in a minute.
pub const PER_MINUTE: u32 = 60;

static LIMITER: LazyLock<Mutex<Limiter<What>>> = LazyLock::new(|| Mutex::new(Limiter::new(PER_MINUTE)));

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    LinkMade,
    LinkClaimed,
    LinkRefused,
    LinkMoved,
    LinkRemoved,
    LinkLapsed,
    LinkRevoked,
    AccountForgotten,
    AccountExported,
    DeviceMoved,
    LateEventDropped,
    EventDead,
    AccountsImported,
    LettersReplayed,
    LettersDropped,
    QueuePaused,
    QueueResumed,
    QueueRemoved,
    KeysRotated,
    RestoreAccepted,
    BackedUp,
    Compacted,
    TokenGiven,
    CallRefused,
}

impl What {
    fn words(self) -> &'static str {
        match self {
            Self::LinkMade => "a link is made",
            Self::LinkClaimed => "an account is claimed",
            Self::LinkRefused => "Ring has refused to confirm a link",
            Self::LinkMoved => "a link has moved to another user",
            Self::LinkRemoved => "a link is removed",
            Self::LinkLapsed => {
                "the link has lapsed: its user has to remove the app in Ring and add it again"
            }
            Self::LinkRevoked => "the link was revoked: its user has to add the app in Ring again",
            Self::AccountForgotten => "an account is forgotten",
            Self::AccountExported => "what is kept of an account is exported",
            Self::DeviceMoved => "a device has moved to another account",
            Self::LateEventDropped => "a late event of an account that was forgotten is dropped",
            Self::EventDead => "an event is a dead letter",
            Self::AccountsImported => "accounts are imported",
            Self::LettersReplayed => "dead letters are replayed",
            Self::LettersDropped => "dead letters are dropped",
            Self::QueuePaused => "a queue is paused",
            Self::QueueResumed => "a queue goes on after its pause",
            Self::QueueRemoved => "a queue is removed",
            Self::KeysRotated => "data keys are under the current master key",
            Self::RestoreAccepted => "an older copy of the store is accepted",
            Self::BackedUp => "the store is read for a backup",
            Self::Compacted => "the store's file is compacted",
            Self::TokenGiven => "an access token is handed out",
            Self::CallRefused => "a call is refused: its socket does not allow it",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    pub what: What,
    pub by: Actor,
    pub account: Option<AccountId>,
    /// Who has the account now, or had it until now.
    pub user: Option<UserId>,
    /// Who had it before.
    pub former: Option<UserId>,
    /// Such as how many, or why.
    pub detail: Option<String>,
}

impl Entry {
    pub fn new(what: What, by: Actor) -> Self {
        Self { what, by, account: None, user: None, former: None, detail: None }
    }

    #[must_use]
    pub fn of(self, account: &AccountId) -> Self {
        Self { account: Some(account.clone()), ..self }
    }

    #[must_use]
    pub fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

/// Writes the entry's line, unless there were very many of its kind just now. Call this once the change is durable.
pub fn note(entry: &Entry) {
    let passed = LIMITER.lock().unwrap_or_else(PoisonError::into_inner).pass(entry.what, clock::now());
    let Some(left_out_before) = passed else { return };
    let Entry { what, by, account, user, former, detail } = entry;
    let shown = |content: Option<&str>| content.map(|content| text(content).to_string());
    let account = shown(account.as_ref().map(AccountId::as_str));
    let (user, former) =
        (shown(user.as_ref().map(UserId::as_str)), shown(former.as_ref().map(UserId::as_str)));
    let (detail, by) = (shown(detail.as_deref()), text(&by.to_string()).to_string());
    let left_out_before = Some(left_out_before).filter(|count| *count > 0);
    let words = what.words();
    match what {
        What::LinkLapsed | What::LinkRevoked => {
            error!(account, user, former, detail, by, left_out_before, "{words}");
        }
        _ => info!(account, user, former, detail, by, left_out_before, "{words}"),
    }
}
