//! Takes events out of queues to where they shall go: one dispatcher a queue, one sink a kind of queue.
//!
//! ```text
//! Store ──lease──▶ dispatcher ──events──▶ sink        several leases in flight, one holder per account
//!   ▲                  │  ◀──verdicts───────┘
//!   └─────settle───────┘                              done · failed, again later · dead letter · given back
//! ```
//!
//! The store keeps the order per account (an account's events are with one lease at a time) and counts attempts; the
//! dispatcher decides nothing but when to try; the sink says what became of each event. docs/SINKS.md is for the author of
//! the next sink.

mod dispatcher;
mod pace;
pub mod sinks;
mod verdicts;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::backoff::Backoff;
use crate::domain::status::DeliveryState;
use crate::domain::time::Millis;
use crate::randomness;
use crate::store::Leased;

pub use self::dispatcher::Dispatcher;

/// What became of one event at a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It lies durably with the receiver.
    Done,
    /// Not delivered, by what may be this event's own fault: an attempt is counted, its account waits.
    Failed { why: String },
    /// Never deliverable, however often it is tried: to the dead letters, and the account goes on.
    Refused { why: String },
    /// Not delivered, and the event is not to blame: no attempt is counted, and the whole queue pauses. Without
    /// `retry_after`, of which at most an hour is believed, the pause grows as long as this goes on.
    Busy { retry_after: Option<Duration>, why: String },
    /// The sink did not come to it: given back at once, no attempt is counted and nothing pauses.
    Untried,
}

/// Code that delivers to one kind of queue.
pub trait Sink: Send + Sync + 'static {
    /// Delivers `events`, which are ascending in sequence and of several accounts, and returns a verdict for each, in
    /// the same order. Events of one account are delivered in their order, and none behind one that is not
    /// [`Verdict::Done`] or [`Verdict::Refused`]; what is said of those behind it then counts no attempt.
    ///
    /// Several calls run at once, never two with the same account. The future may be dropped at any await, when it takes
    /// too long or the daemon stops: its events come again.
    fn deliver(&self, events: Arc<[Leased]>) -> impl Future<Output = Vec<Verdict>> + Send;

    /// Runs beside the deliveries, until the queue is delivered no more. Most kinds have nothing to do there.
    fn attend(&self) -> impl Future<Output = Infallible> + Send {
        std::future::pending()
    }
}

/// How a queue is dispatched.
#[derive(Debug, Clone)]
pub struct Options {
    /// Leases in flight at once.
    pub in_flight: usize,
    /// Events in one lease.
    pub max_events: usize,
    /// Bytes in one lease; one event is always taken.
    pub max_bytes: u64,
    /// Events that are handed to the sink a second; any number without it.
    pub events_per_second: Option<u32>,
    /// How long a lease lasts; extended while its delivery runs, it only ends one whose dispatcher is gone.
    pub lease: Duration,
    /// A delivery longer than this is given up, and the sink taken as busy.
    pub overdue: Duration,
    /// Waits of an account after a failed event.
    pub retry: Backoff,
    /// Pauses of the whole queue, for a busy sink or a failing store.
    pub pause: Backoff,
    /// Spreads the waits.
    pub random: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_flight: 4,
            max_events: 256,
            max_bytes: 4 << 20,
            events_per_second: None,
            lease: Duration::from_mins(1),
            overdue: Duration::from_mins(2),
            retry: Backoff { least: Duration::from_secs(1), most: Duration::from_mins(15) },
            pause: Backoff { least: Duration::from_millis(500), most: Duration::from_secs(30) },
            random: randomness::random,
        }
    }
}

/// How the delivery of a queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It delivers what comes.
    Delivering,
    /// It delivers as much as its limit allows, and more waits.
    Limited { since: Millis, why: String },
    /// The sink can't take anything.
    SinkBusy { since: Millis, why: String },
    /// The store can't be read or written.
    StoreFailing { since: Millis, why: String },
    /// It has ended.
    Stopped,
}

impl State {
    /// What people see of it, without the reason.
    pub fn name(&self) -> DeliveryState {
        match self {
            Self::Delivering => DeliveryState::Delivering,
            Self::Limited { .. } => DeliveryState::Limited,
            Self::SinkBusy { .. } => DeliveryState::SinkBusy,
            Self::StoreFailing { .. } => DeliveryState::StoreFailing,
            Self::Stopped => DeliveryState::Stopped,
        }
    }
}
