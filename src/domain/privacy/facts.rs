//! Plain data that the privacy sheet is made of: bounds, queues, and the ways in and out, as they hold now.

use std::time::Duration;

use crate::domain::ids::QueueName;
use crate::domain::rights::Rights;
use crate::domain::time::Millis;

/// Everything that the sheet depends on.
#[derive(Debug, Clone)]
pub struct Facts {
    pub at: Millis,
    pub version: String,
    pub store: StoreFacts,
    pub bounds: Bounds,
    pub queues: Vec<Queue>,
    pub fixed: Fixed,
}

/// The store that the daemon runs on.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    pub name: String,
    pub environment: String,
    pub folder: String,
}

/// How long and how much is kept.
#[derive(Debug, Clone)]
pub struct Bounds {
    pub held: Bound,
    /// Over all accounts, in bytes.
    pub held_total: u64,
    pub dead: Bound,
    pub unrouted: Bound,
    pub quarantined: Bound,
    pub receipts: Bound,
    pub audit: Bound,
    /// How long after its app was removed an account is forgotten; never without it.
    pub forget_removed_after: Option<Duration>,
    pub seen_for: Duration,
    pub max_ids: u64,
    /// Of all kinds together.
    pub max_bytes: u64,
}

/// The bound of one kind of records.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    pub max_age: Duration,
    pub max_bytes: u64,
    /// Any number without it.
    pub max_events: Option<u64>,
}

/// A queue, and where its events go.
#[derive(Debug, Clone)]
pub struct Queue {
    pub name: QueueName,
    pub kind: &'static str,
    pub way: Way,
    pub max_age: Duration,
    pub max_bytes: u64,
    pub max_attempts: u32,
    /// The types of events that it asks for; every type without any.
    pub types: Vec<String>,
    /// It takes events of accounts that no user has.
    pub takes_unclaimed: bool,
    /// It asks for some users, accounts, devices or bodies alone.
    pub is_narrowed: bool,
}

/// How events leave a queue.
#[derive(Debug, Clone)]
pub enum Way {
    /// Readers take them through admin sockets.
    Read,
    Files {
        folder: String,
    },
    /// Without path, query and login, which may be secrets.
    Address {
        address: String,
        is_encrypted: bool,
        is_local: bool,
    },
}

/// Set at the start of the daemon.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// Where the master key lies; never the key.
    pub master_key: String,
    pub guard_folder: String,
    pub readers: Vec<ReaderFacts>,
    /// The address for metrics and probes.
    pub metrics: Option<String>,
    /// The hosts of Ring's OAuth and API.
    pub ring: Option<(String, String)>,
    /// The host of the page on which users sign in.
    pub sign_in: Option<String>,
}

/// A way into the admin API.
#[derive(Debug, Clone)]
pub struct ReaderFacts {
    pub place: Place,
    pub rights: Rights,
}

#[derive(Debug, Clone)]
pub enum Place {
    Socket {
        path: String,
        mode: u32,
        group: Option<String>,
    },
    /// Each call brings a token.
    Address(String),
}
