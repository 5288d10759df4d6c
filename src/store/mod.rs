//! The durable part: accepts a batch, gives out due work under leases, records outcomes. Only its floor `kv` knows redb.
//!
//! ```text
//! ports ──commands──▶ committer ─▶ writer ─▶ transaction ─▶ redb   one transaction for a whole group
//!   │                                │
//!   │                                ▼ after the commit
//!   ├──lease, status──────────▶ queues in memory
//!   └──reads──▶ readers (threads of the store) ─▶ reader ─▶ redb (short reads)
//! ```
//!
//! An event lies once, in a chunk with the others of its commit, however many queues it goes to; what can't stay there
//! (held, dead, parked behind a stuck account) is an off-queue record. ARCHITECTURE.md tells why.

mod command;
mod kv;
mod memory;
mod ports;
mod read;
mod rows;
#[cfg(feature = "testing")]
mod testing;
mod txn;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;

use self::command::STEP;
use self::writer::handle::Handle;
use self::writer::{inspect, open, restore};
use crate::clock::{self, RingClock};
use crate::domain::actor::Actor;
use crate::domain::time::Millis;
use crate::store::txn::{keys, reconfigure};
use crate::telemetry::Metrics;
use crate::vault::Vault;

pub use crate::domain::backlog::Scope;
pub use crate::domain::link::LinkState;

pub use self::command::{
    Accepted, AccountRefusal, AccountView, Bound, Claimable, Class, Import, Incoming, LastFailure, Lease,
    LeaseRequest, Leased, Letter, LetterFilter, LetterId, LettersDone, NewTokens, Outcome, PauseChange,
    Published, QueueLately, QueueTotals, QueueView, Rewrapped, TokensView,
};
pub use self::kv::backup_head::BackupHead;
pub use self::kv::error::StoreError;
pub use self::kv::folder::{Folder, Identity, sync_folder, write_new};
pub use self::kv::frames::Snapshot;
pub use self::kv::schema::SCHEMA;
pub use self::memory::changes::{Changed, Subscription};
pub use self::memory::device_log::DEVICES_WAITING;
pub use self::memory::follow::{Followed, Follower};
pub use self::memory::options::{Bounds, HeldBounds, Options, QueueSpec, ReceiptBounds, Silence};
pub use self::memory::shared::{Health, Stats};
pub use self::ports::{Audit, Inbox, Links, Outbox, Queues, Receipts};
pub use self::read::acts::{ActFilter, ActView};
pub use self::read::export::{EXPORT_START, ExportFrom, KeptAt, KeptEvent, Whose};
pub use self::read::receipts::{Attempt, Cursor, Life, Place, PlaceState, Receipt, Wanted};
pub use self::rows::code::CodeId;
pub use self::rows::journal::Which;
#[cfg(feature = "testing")]
pub use self::testing::{Inline, LOG_BYTES, lower_schema, raise_schema};
pub use self::txn::claims::{Claim, Claimed};
pub use self::txn::codes::{Exchanged, KeptCode, WaitingCode};
pub use self::txn::disconnect::{Asking, NoAsking};
pub use self::txn::journal::{Access, NoRefresh, RefreshIntent, TokenRecord};
pub use self::txn::unidentified::{Arrived, Identified};
pub use self::writer::backup::Backup;
pub use self::writer::compact::Compaction;
pub use crate::domain::routing::Unclaimed;

/// Between two looks whether the writer stands still.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A running store. Clones share it; the writer ends when the last is gone, with its ports, or [`Store::close`] was called.
#[derive(Debug, Clone)]
pub struct Store {
    handle: Arc<Handle>,
    inbox: Inbox,
    queues: Queues,
    links: Links,
    outbox: Outbox,
    receipts: Receipts,
    audit: Audit,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Store {
    /// Makes an empty store in `folder`; never over an existing one. `vault` is called once it is sure that there is
    /// none, and may make the master key then; a creation that was interrupted is begun anew and calls it again.
    ///
    /// # Errors
    /// [`StoreError::Partial`] when any part of one is there, or what `vault` or the disk says.
    pub fn create(
        folder: &Path,
        identity: &Identity,
        vault: impl FnOnce() -> Result<Vault, StoreError>,
    ) -> Result<(), StoreError> {
        open::create(folder, identity, vault)
    }

    /// Opens the store in `folder` and starts its writer. Never makes anything.
    ///
    /// # Errors
    /// Each variant of [`StoreError`] says what is wrong and what helps.
    pub fn open(
        folder: &Path,
        environment: &str,
        vault: Vault,
        options: Options,
    ) -> Result<Self, StoreError> {
        Ok(Self::running(open::open(folder, environment, vault, options)?))
    }

    /// Checks the whole file, that it is this folder's, and that `vault` has its master key. The schema that the file has is returned; it
    /// stays, and a start would bring it to [`SCHEMA`].
    ///
    /// # Errors
    /// Each variant of [`StoreError`] says what is wrong and what helps. Blocks, for seconds where the file is large.
    pub fn inspect(folder: &Path, environment: &str, vault: &Vault) -> Result<u32, StoreError> {
        inspect::inspect(folder, environment, vault)
    }

    fn running((handle, thread): open::Running) -> Self {
        let store = Self::over(handle);
        *store.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        store
    }

    fn over(handle: Arc<Handle>) -> Self {
        Self {
            inbox: Inbox(Arc::clone(&handle)),
            queues: Queues(Arc::clone(&handle), Actor::Daemon),
            links: Links(Arc::clone(&handle), Actor::Daemon),
            outbox: Outbox(Arc::clone(&handle)),
            receipts: Receipts(Arc::clone(&handle)),
            audit: Audit(Arc::clone(&handle)),
            handle,
            writer: Arc::default(),
        }
    }

    /// For the intake.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// For consumers.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// For accounts, tokens and claims.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// For what is under way at Ring.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// For what became of events.
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// For what callers did.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Waits until everything sent before is durable, and closes the file. Blocks.
    pub fn close(&self) {
        self.handle.end_commands();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has said so, and there is nothing left to close.
            let _ = thread.join();
        }
        self.handle.end_reads();
        self.handle.shared.set_db(None);
        self.handle.shared.folder.unlock();
    }

    /// Takes over other bounds and queues, durably, as if it were opened with them. The sizes of cache and reserve stay. Events that are
    /// accepted later go by the new filters; a queue that is not named any more keeps what waits in it.
    ///
    /// # Errors
    /// When it could not be made durable: all stays as it was.
    pub async fn reconfigure(&self, options: Options) -> Result<(), StoreError> {
        let now = self.handle.shared.options.get();
        let Options { cache_bytes, reserve_bytes, .. } = *now;
        let options = Arc::new(Options { cache_bytes, reserve_bytes, ..options });
        if options == now {
            return Ok(());
        }
        self.handle.submit(move |txn| reconfigure::reconfigure(txn, &options)).await
    }

    /// Puts data keys under the current master key; one step from `after` on.
    ///
    /// # Errors
    /// When it could not be made durable; what was re-wrapped until then is.
    pub async fn rewrap_keys(&self, after: Option<(u32, u8)>) -> Result<Rewrapped, StoreError> {
        self.rewrap_keys_by(Actor::Daemon, after).await
    }

    /// The same at somebody's word.
    ///
    /// # Errors
    /// As [`Store::rewrap_keys`].
    pub async fn rewrap_keys_by(&self, by: Actor, after: Option<(u32, u8)>) -> Result<Rewrapped, StoreError> {
        self.handle.submit_by(by, move |txn| keys::rewrap(txn, after, STEP)).await
    }

    /// Number of data keys by the name of the master key they are under.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn keys_by_master(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.handle.read(read::reader::keys_by_master).await
    }

    /// Everything that was acknowledged until now, as a stream for [`Backup`], until `stopping` says that it has to end.
    ///
    /// # Errors
    /// When another is under way, or the store or its disk is not well.
    pub fn snapshot(
        &self,
        stopping: impl Fn() -> bool + Send + 'static,
    ) -> Result<Receiver<Bytes>, StoreError> {
        read::snapshot::begin(&self.handle.shared, stopping)
    }

    /// Makes the file small, which has grown by what has left it. Tells how far it is.
    ///
    /// # Errors
    /// When a backup or another compaction is under way, or the store or its disk is not well.
    pub fn compact(
        &self,
        stopping: impl Fn() -> bool + Send + 'static,
    ) -> Result<Receiver<Compaction>, StoreError> {
        self.handle.compact(stopping)
    }

    /// Makes the store of a backup in `folder`, where none may be. `name` is the file's, for errors.
    ///
    /// # Errors
    /// Each variant of [`StoreError`] says what is wrong and what helps. Blocks.
    pub fn restore(
        folder: &Path,
        backup: &File,
        name: &str,
        environment: &str,
        vault: &Vault,
    ) -> Result<BackupHead, StoreError> {
        restore::restore(folder, backup, name, environment, vault)
    }

    /// Times commits into these metrics from now on.
    pub fn report_to(&self, metrics: &Metrics) {
        // Once is enough.
        let _ = self.handle.shared.metrics.set(metrics.clone());
    }

    /// The clock by which links are compared; whoever hears Ring tell the time tells it.
    pub fn ring_clock(&self) -> RingClock {
        self.handle.shared.ring_clock.clone()
    }

    /// A writer that stands still is a store that fails, because its disk does not answer.
    pub fn health(&self) -> Health {
        let shared = &self.handle.shared;
        match (shared.health(), shared.pulse.stands_still()) {
            (Health::Ready | Health::LowDisk { .. }, Some(still)) => {
                Health::Failing { since: clock::now().minus(still), why: "its disk does not answer".into() }
            }
            (health, _) => health,
        }
    }

    /// Waits until the writer stands still, because its disk does not answer.
    pub async fn stands_still(&self) {
        while self.handle.shared.pulse.stands_still().is_none() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether the thread that writes has ended by a fault of its own, which a disk is not.
    pub fn writer_is_gone(&self) -> bool {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// How long the memory of ids reaches back, when it is full and that is less than Ring's retries and replays need.
    pub fn short_memory(&self, now: Millis) -> Option<Duration> {
        self.handle.shared.short_memory(now)
    }

    pub fn stats(&self) -> &Stats {
        &self.handle.shared.stats
    }

    pub fn identity(&self) -> &Identity {
        &self.handle.shared.identity
    }

    /// The folder of the store.
    pub fn folder(&self) -> &Path {
        self.handle.shared.folder.path()
    }

    /// Bytes that are kept at most, of all kinds together.
    pub fn max_bytes(&self) -> u64 {
        self.handle.shared.options.get().max_bytes
    }

    /// Bounds, retention and queues, as they hold now.
    pub fn options(&self) -> Arc<Options> {
        self.handle.shared.options.get()
    }

    /// Which master key seals now.
    pub fn master(&self) -> String {
        self.handle.shared.vault.current().to_string()
    }
}
