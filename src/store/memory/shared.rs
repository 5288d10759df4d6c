//! What the writer and the readers of a store share: the file, the queues in memory, and how it stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::changes::Changes;
use super::follow::Feed;
use super::index::Users;
use super::options::{Options, QueueSpec};
use super::pulse::Pulse;
use crate::clock::RingClock;
use crate::domain::backlog::Backlog;
use crate::domain::ids::QueueName;
use crate::domain::link::LinkState;
use crate::domain::recent::Recent;
use crate::domain::time::Millis;
use crate::live::Live;
use crate::store::command::{LastFailure, QueueTotals};
use crate::store::kv::db::Db;
use crate::store::kv::disk::LOG_BYTES;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::file::{OpenFn, Opened};
use crate::store::kv::folder::{Folder, Identity};
use crate::store::kv::tee::Tee;
use crate::store::kv::view::View;
use crate::store::rows::ids::IdRow;
use crate::telemetry::Metrics;
use crate::vault::Vault;

/// How long Ring may send an event again: its retries, and its replays of 72 h.
const REPLAYS: Duration = Duration::from_hours(76);

/// What a remembered id takes in the file, and what an account does with its tokens, keys and devices, about.
const ID_BYTES: u64 = 26;
const ACCOUNT_BYTES: u64 = 1500;

/// How the store stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// Free disk is below `min_free`: accepts are refused, deliveries go on.
    LowDisk {
        free: u64,
    },
    /// The file could not be read or written; it is tried again.
    Failing {
        since: Millis,
        why: String,
    },
    /// The file is damaged; only a person can help.
    Damaged {
        since: Millis,
        why: String,
    },
}

/// Numbers that people watch; everything since the start of the daemon, but for those of the store's content.
#[derive(Debug, Default)]
pub struct Stats {
    pub commits: AtomicU64,
    pub commit_failures: AtomicU64,
    pub accepted: AtomicU64,
    pub duplicates: AtomicU64,
    pub conflicts: AtomicU64,
    pub held: AtomicU64,
    pub released: AtomicU64,
    pub unrouted: AtomicU64,
    pub quarantined: AtomicU64,
    pub dead: AtomicU64,
    /// Kept records that their own bounds pushed out for good.
    pub dropped: AtomicU64,
    /// Records that failed their check.
    pub damaged: AtomicU64,
    pub ids: AtomicU64,
    pub ids_since: AtomicU64,
    pub log_bytes: AtomicU64,
    /// Size of the file.
    pub file_bytes: AtomicU64,
    pub aside_bytes: AtomicU64,
    pub receipt_bytes: AtomicU64,
    pub act_bytes: AtomicU64,
    pub held_events: AtomicU64,
    pub dead_events: AtomicU64,
    pub unrouted_events: AtomicU64,
    pub quarantined_events: AtomicU64,
    /// When the last webhook came, and since when there is a silence: epoch milliseconds, or 0.
    pub last_webhook: AtomicU64,
    pub silent_since: AtomicU64,
    /// The longest wait for a webhook in the last weeks, and the longest that is no silence: milliseconds, or 0.
    pub longest_wait: AtomicU64,
    pub silent_after: AtomicU64,
    /// Linked accounts of which nothing has come for longer than expected.
    pub silent_accounts: AtomicU64,
    /// In the order of [`LinkState::ALL`].
    pub accounts: [AtomicU64; LinkState::ALL.len()],
}

/// What a transaction adds to the [`Stats`], once it is committed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub accepted: u64,
    pub duplicates: u64,
    pub conflicts: u64,
    pub held: u64,
    pub released: u64,
    pub unrouted: u64,
    pub quarantined: u64,
    pub dead: u64,
    pub dropped: u64,
}

impl Stats {
    pub(crate) fn add(&self, counts: Counts) {
        let Counts { accepted, duplicates, conflicts, held, released, unrouted, quarantined, dead, dropped } =
            counts;
        let added = [
            (&self.accepted, accepted),
            (&self.duplicates, duplicates),
            (&self.conflicts, conflicts),
            (&self.held, held),
            (&self.released, released),
            (&self.unrouted, unrouted),
            (&self.quarantined, quarantined),
            (&self.dead, dead),
            (&self.dropped, dropped),
        ];
        for (counter, count) in added.into_iter().filter(|(_, count)| *count > 0) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Stats {
    /// How much of the file holds nothing, about: what is not counted is small, or bounded.
    pub fn free_bytes(&self) -> u64 {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let accounts: u64 = self.accounts.iter().map(get).sum();
        let used = [
            get(&self.log_bytes),
            get(&self.aside_bytes),
            get(&self.receipt_bytes),
            get(&self.act_bytes),
            get(&self.ids) * ID_BYTES,
            accounts * ACCOUNT_BYTES,
        ];
        get(&self.file_bytes).saturating_sub(LOG_BYTES as u64 + used.iter().sum::<u64>())
    }
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn set(counter: &AtomicU64, value: u64) {
    counter.store(value, Ordering::Relaxed);
}

/// What became of a queue's events in the last minutes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lately {
    pub delivered: Recent,
    /// Attempts.
    pub failed: Recent,
    pub failure: Option<LastFailure>,
}

/// One queue in memory.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub name: QueueName,
    /// Nothing when the configuration no longer names it.
    pub spec: Option<QueueSpec>,
    pub backlog: Backlog,
    pub totals: QueueTotals,
    pub lately: Lately,
    /// Nothing of it is leased while this is set.
    pub paused_since: Option<Millis>,
    /// Told when events arrive or come free.
    pub wake: Arc<Notify>,
}

pub(crate) type Queues = BTreeMap<u16, QueueState>;

pub(crate) struct Shared {
    /// Opens the file; tests put a failing disk here.
    pub open: OpenFn,
    pub folder: Folder,
    pub identity: Identity,
    pub vault: Vault,
    pub options: Live<Options>,
    pub stats: Stats,
    pub feed: Feed,
    /// What is committed while the file is compacted.
    pub tee: Tee,
    /// One at a time, because each keeps pages from being used again.
    pub snapshot_under_way: AtomicBool,
    /// Where commits are timed, once somebody wants to know.
    pub metrics: OnceLock<Metrics>,
    db: RwLock<Option<Db>>,
    queues: Mutex<Queues>,
    users: RwLock<Users>,
    health: Mutex<Health>,
    pub pulse: Pulse,
    /// What time it is at Ring: links are compared by it.
    pub ring_clock: RingClock,
    /// Whose tokens others changed.
    pub token_changes: Arc<Changes>,
    /// Who may claim an account, or how far its claim is.
    pub claim_changes: Arc<Changes>,
}

impl Shared {
    pub(crate) fn new(
        open: OpenFn,
        folder: Folder,
        identity: Identity,
        vault: Vault,
        options: Options,
    ) -> Self {
        Self {
            open,
            folder,
            identity,
            vault,
            options: Live::new(options),
            stats: Stats::default(),
            feed: Feed::new(),
            tee: Tee::default(),
            snapshot_under_way: AtomicBool::new(false),
            metrics: OnceLock::new(),
            db: RwLock::new(None),
            queues: Mutex::new(Queues::new()),
            users: RwLock::new(Users::default()),
            health: Mutex::new(Health::Ready),
            pulse: Pulse::default(),
            ring_clock: RingClock::default(),
            token_changes: Changes::new(),
            claim_changes: Changes::new(),
        }
    }

    /// Opens the file. What a crash left to be put into place needs room: on a full disk it gets the reserve's.
    pub(crate) fn opened(&self) -> Result<Opened, StoreError> {
        if !self.folder.has_its_file() && !self.folder.take_mounted()? {
            return Err(StoreError::Unavailable(moved(&self.folder)));
        }
        match (self.open)(&self.identity) {
            Err(StoreError::Unavailable(_)) if self.folder.release_reserve() => (self.open)(&self.identity),
            opened => opened,
        }
    }

    /// The tables as they stand now, for a short read: a long one makes the file grow.
    pub(crate) fn view(&self) -> Result<View, Fault> {
        self.with_db(Db::view)
    }

    /// Runs `read` on the open file.
    pub(crate) fn with_db<T>(&self, read: impl FnOnce(&Db) -> Result<T, Fault>) -> Result<T, Fault> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        read(db.as_ref().ok_or(Fault::Closed)?)
    }

    /// Puts another open file in place, and gives back the one before.
    pub(crate) fn swap_db(&self, db: Db) -> Option<Db> {
        self.db.write().unwrap_or_else(PoisonError::into_inner).replace(db)
    }

    /// Puts another open file in place, or none; the one before is closed when its readers are done.
    pub(crate) fn set_db(&self, db: Option<Db>) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = db;
    }

    pub(crate) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn users(&self) -> RwLockReadGuard<'_, Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn users_mut(&self) -> RwLockWriteGuard<'_, Users> {
        self.users.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// How long the memory of ids reaches back, when it is full and that is less than Ring's retries and replays need.
    pub(crate) fn short_memory(&self, now: Millis) -> Option<Duration> {
        let full = self.stats.ids.load(Ordering::Relaxed) + IdRow::MOST > self.options.get().max_ids;
        let covered = now.since(Millis(self.stats.ids_since.load(Ordering::Relaxed)));
        (full && covered < REPLAYS).then_some(covered)
    }

    /// The number of a queue.
    pub(crate) fn queue_number(&self, name: &QueueName) -> Option<u16> {
        self.queues().iter().find(|(_, q)| q.name == *name).map(|(&number, _)| number)
    }

    /// Why nothing can be written now; nothing when it can.
    pub(crate) fn unavailable(&self) -> Option<StoreError> {
        match self.health() {
            Health::Ready | Health::LowDisk { .. } => None,
            Health::Failing { why, .. } => Some(StoreError::Unavailable(why)),
            Health::Damaged { why, .. } => Some(StoreError::Damaged(why)),
        }
    }
}

/// What is said of a file that is not where it was opened.
pub(crate) fn moved(folder: &Folder) -> String {
    let data = folder.data();
    format!("{} was moved, replaced or deleted while the daemon runs: put it back", data.display())
}
