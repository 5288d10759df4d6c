//! What goes into the store and what comes back: the interface's types.

use crate::domain::backlog::Scope;
use crate::domain::confirm::Step;
use crate::domain::dedup::Identity;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, DeviceId, QueueName, UserId};
use crate::domain::link::LinkState;
use crate::domain::receipt::Origin;
use crate::domain::refresh::{Notice, Proof};
use crate::domain::released::Released;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};

/// Letters, keys or events that one step of a long command goes over.
pub(crate) const STEP: usize = 500;

/// A verified webhook, ready to be kept.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Without its user; where it does not name its account, the device tells. Marks may be added.
    pub event: Event,
    pub identity: Identity,
    /// Other devices that it relates to.
    pub related: Vec<DeviceId>,
    /// Why the content was not understood, when it was not: it is quarantined then.
    pub anomaly: Option<&'static str>,
    pub origin: Origin,
}

/// What became of a webhook, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is in the log for so many queues.
    Queued { seq: u64, account: Option<AccountId>, queues: usize },
    /// It waits for its account to be claimed; `queues` have it already.
    Held { seq: u64, queues: usize },
    /// No queue wants it; kept for its retention.
    Unrouted { seq: u64 },
    /// Signed but not understood; kept.
    Quarantined { seq: u64 },
    /// It is of an account that was forgotten since it happened, and dropped.
    OfForgotten,
    /// It was accepted before.
    Duplicate,
}

impl Accepted {
    /// Its name in log lines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Held { .. } => "held",
            Self::Unrouted { .. } => "unrouted",
            Self::Quarantined { .. } => "quarantined",
            Self::OfForgotten => "of a forgotten account",
            Self::Duplicate => "duplicate",
        }
    }

    /// Its place in the order of acceptance; none for what was dropped.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::Queued { seq, .. }
            | Self::Held { seq, .. }
            | Self::Unrouted { seq }
            | Self::Quarantined { seq } => Some(*seq),
            Self::OfForgotten | Self::Duplicate => None,
        }
    }
}

/// What a consumer asks of an embedded queue, or a sink of its own.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    pub max_events: usize,
    /// Sum of the kept sizes; one event is always given.
    pub max_bytes: u64,
    pub until: Millis,
    /// Only these events, see [`super::Queues::scope`].
    pub scope: Scope,
}

/// A leased event.
#[derive(Debug, Clone)]
pub struct Leased {
    pub seq: u64,
    /// 1 for the first time.
    pub attempt: u32,
    pub event: Event,
}

/// Leased events, to be settled under the lease's id before it runs out.
#[derive(Debug, Clone)]
pub struct Lease {
    pub id: u64,
    pub events: Vec<Leased>,
}

/// What became of a leased event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered; it leaves the queue.
    Done,
    /// Not delivered: again at `due`, or to the dead letters after the queue's last attempt.
    Failed { due: Millis, why: String },
    /// Never deliverable: to the dead letters now.
    Dead { why: String },
    /// Given back untouched; no attempt is counted.
    Returned,
    /// Given back for later: its account waits until `due`, or until the next start of the daemon. No attempt is counted.
    Postponed { due: Millis },
}

/// Tokens for an account.
#[derive(Debug)]
pub struct NewTokens {
    pub pair: Pair,
    pub span: Span,
}

/// An account put into the store by hand.
#[derive(Debug)]
pub struct Import {
    pub account: AccountId,
    pub user: Option<UserId>,
    pub tokens: Option<NewTokens>,
    /// Also when another user has the account.
    pub replace: bool,
}

/// What an import or a change of user did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub created: bool,
    pub released: Released,
}

/// Why an account can't be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    #[error("there is no such account here: `ringhookd accounts list` shows those that there are")]
    Unknown,
    #[error("the account belongs to user {0}; say --replace to move it")]
    OtherUser(UserId),
    #[error("Ring says that the token is of another account")]
    AnotherAccount,
}

/// An account as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountView {
    /// By which the schedule knows it.
    pub number: u32,
    pub account: AccountId,
    pub user: Option<UserId>,
    /// Who had it before the app was removed, while nobody has it.
    pub former_user: Option<UserId>,
    pub state: LinkState,
    /// How far Ring has been told of a claim, while that is not done.
    pub claim: Option<Step>,
    pub created_at: Millis,
    pub linked_at: Option<Millis>,
    /// When Ring was asked to pause the app, so that the account can be disconnected: it is half done.
    pub disconnecting_since: Option<Millis>,
    pub tokens: Option<TokensView>,
}

/// An account's tokens as people see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokensView {
    /// Grows with every pair.
    pub generation: u64,
    pub span: Span,
    /// As it was told last.
    pub state: Notice,
    /// What OAuth last said of the refresh token.
    pub proof: Proof,
}

/// What a look at the accounts that may be claimed found.
#[derive(Debug, Default)]
pub struct Claimable {
    /// The number and id of the account that was looked for.
    pub found: Option<(u32, String)>,
    /// Some that need not be looked at again, for [`super::Links::forget_claims`].
    pub stale: Vec<u32>,
}

/// A queue as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    pub name: QueueName,
    /// Whether the configuration names it.
    pub configured: bool,
    pub waiting: u64,
    pub waiting_bytes: u64,
    pub leased: u64,
    /// Accounts that wait after a failure.
    pub delayed_accounts: u64,
    pub oldest: Option<Millis>,
    /// Since when an operator has nothing of it delivered.
    pub paused_since: Option<Millis>,
    pub totals: QueueTotals,
    pub lately: QueueLately,
}

/// What became of a queue's events within [`crate::domain::recent::WINDOW`], or since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueLately {
    pub delivered: u64,
    /// Attempts.
    pub failed: u64,
    /// The last since the start, however long ago.
    pub failure: Option<LastFailure>,
}

/// A failed attempt, after which the event is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    pub at: Millis,
    pub why: String,
}

/// What a pause, or its end, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseChange {
    /// Since when the queue is paused; none when it is not.
    pub since: Option<Millis>,
    /// Whether it was otherwise before.
    pub changed: bool,
}

/// What went through a queue since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueTotals {
    pub accepted: u64,
    pub delivered: u64,
    pub failed: u64,
    pub dead: u64,
}

/// Where a kept record lies outside the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Left a queue without being delivered.
    Dead = 2,
    /// No queue wanted it.
    Unrouted = 3,
    /// Signed but not understood.
    Quarantined = 4,
}

impl Class {
    /// All of them, in the order of their storage.
    pub const ALL: [Self; 3] = [Self::Dead, Self::Unrouted, Self::Quarantined];

    /// The name that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Unrouted => "unrouted",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Names a dead letter: class, time of burial, sequence and queue. Shown as `dead-1700000000000-17-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    pub class: Class,
    pub buried_at: Millis,
    pub seq: u64,
    pub queue: u16,
}

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}-{}", self.class.name(), self.buried_at.0, self.seq, self.queue)
    }
}

impl std::str::FromStr for LetterId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let name = parts.next().ok_or(())?;
        let class = Class::ALL.into_iter().find(|c| c.name() == name).ok_or(())?;
        let mut number = || parts.next().and_then(|p| p.parse::<u64>().ok()).ok_or(());
        let (at, seq, queue) = (number()?, number()?, number()?);
        let queue = u16::try_from(queue).map_err(drop)?;
        if parts.next().is_some() { Err(()) } else { Ok(Self { class, buried_at: Millis(at), seq, queue }) }
    }
}

/// A kept record outside the queues.
#[derive(Debug, Clone)]
pub struct Letter {
    pub id: LetterId,
    /// The queue it left, unless that was removed.
    pub queue: Option<QueueName>,
    pub accepted_at: Millis,
    pub failures: u32,
    pub why: String,
    pub bytes: u64,
    /// Nothing when its account was forgotten, or the record is damaged.
    pub event: Option<Event>,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Exactly these; all that match the rest when empty.
    pub ids: Vec<LetterId>,
    pub class: Option<Class>,
    pub queue: Option<QueueName>,
}

impl LetterFilter {
    pub(crate) fn covers(&self, class: Class, queue: Option<&QueueName>) -> bool {
        self.class.is_none_or(|c| c == class) && self.queue.as_ref().is_none_or(|q| Some(q) == queue)
    }
}

/// What a step over dead letters did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LettersDone {
    pub done: u64,
    /// Could not be replayed: not understood, its queue removed, or unreadable.
    pub refused: u64,
    /// Where to go on; nothing at the end.
    pub next: Option<LetterId>,
}

/// How the re-wrapping of keys goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrapped {
    pub changed: u64,
    /// Where to go on; nothing at the end.
    pub next: Option<(u32, u8)>,
}

/// An event that has just become durable, for followers of its queues.
#[derive(Debug, Clone)]
pub struct Published {
    pub seq: u64,
    /// Names of the queues it went to.
    pub queues: Vec<QueueName>,
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_ids_come_back() {
        let id = LetterId { class: Class::Unrouted, buried_at: Millis(5), seq: 6, queue: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "dead", "dead-1-2", "dead-1-2-3-4", "alive-1-2-3", "dead-1-2-70000", "dead-x-2-3"] {
            assert_eq!(bad.parse::<LetterId>(), Err(()), "{bad}");
        }
    }
}
