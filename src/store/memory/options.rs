//! What the store is told when it opens, and later when the configuration changes: bounds, retention and queues.

use std::time::Duration;

use crate::domain::freshness::{self, Expected};
use crate::domain::ids::QueueName;
use crate::domain::routing::{Filter, Unclaimed};

/// Bounds of a kind of records: what passes them leaves, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub max_age: Duration,
    pub max_events: u64,
    pub max_bytes: u64,
}

/// Bounds of what waits for its account to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBounds {
    pub max_age: Duration,
    /// For one account.
    pub max_events: u64,
    /// For one account.
    pub max_bytes: u64,
    /// For all accounts.
    pub total_bytes: u64,
}

/// After how long without a webhook an operator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    pub intake: freshness::Bounds,
    pub account: freshness::Bounds,
}

impl Silence {
    pub fn new(intake: Expected, account: Expected) -> Self {
        Self { intake: freshness::Bounds::intake(intake), account: freshness::Bounds::account(account) }
    }
}

/// Bounds of what is noted of events, or of acts; with no bytes nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptBounds {
    pub max_age: Duration,
    pub max_bytes: u64,
}

/// A configured queue, as far as the store needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    pub name: QueueName,
    pub filter: Filter,
    pub unclaimed: Unclaimed,
    pub max_age: Duration,
    pub max_bytes: u64,
    /// Attempts after which an event goes to the dead letters.
    pub max_attempts: u32,
}

/// Bounds, retention and queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// All kept events together, sealed, in bytes; at this bound accepts are refused.
    pub max_bytes: u64,
    /// redb's page cache in bytes.
    pub cache_bytes: usize,
    /// Size of the file whose room is given to a store on a full disk.
    pub reserve_bytes: u64,
    /// Below this much free disk accepts are refused.
    pub min_free_bytes: u64,
    /// How long request ids are remembered.
    pub seen_for: Duration,
    /// How many request ids are remembered at most.
    pub max_ids: u64,
    pub held: HeldBounds,
    pub dead: Bounds,
    pub unrouted: Bounds,
    pub quarantined: Bounds,
    pub silence: Silence,
    pub receipts: ReceiptBounds,
    /// Of what callers did; each kind of acts has a share.
    pub audit: ReceiptBounds,
    /// How long after its app was removed an account is forgotten; never without it.
    pub forget_removed_after: Option<Duration>,
    /// Rows of devices that may wait in memory before they are merged into their table.
    pub devices_waiting: usize,
    pub queues: Vec<QueueSpec>,
}
