//! The durable part: accepts a batch, gives out due work under leases, records outcomes. The only room that knows redb.
//!
//! ```text
//! Store ──commands──▶ committer ─▶ writer ─▶ batch ─▶ redb   one transaction for a whole group
//!   │                                │
//!   │                                ▼ after the commit
//!   └──lease, status──────────▶ queues in memory ──▶ reader ─▶ redb (short reads)
//! ```
//!
//! An event lies once in the `log`, in a chunk with the others of its commit, however many queues it goes to; what
//! can't stay there (held, dead, parked behind a stuck account) lies `aside`. ARCHITECTURE.md tells why.

mod accept;
mod accounts;
mod arriving;
mod aside;
mod batch;
mod claim_row;
mod claims;
mod codec;
mod codes;
mod command;
mod committer;
mod core;
mod error;
mod file;
mod fill;
mod folder;
mod index;
mod inline;
mod inspect;
mod keys;
mod letters;
mod load;
mod numbers;
mod open;
mod options;
mod reader;
mod remember;
mod retention;
mod schema;
mod scope;
mod seen;
mod settle;
mod shared;
mod tables;
mod tokens;
mod turns;
mod wal;
mod writer;

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, oneshot};

use self::batch::Batch;
use self::error::Fault;
use self::letters::LetterAction;
use self::settle::Settlement;
use self::shared::Shared;
use self::writer::{Command, JobOf};
use crate::clock::RingClock;
use crate::domain::backlog::{Taken, Want};
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::time::Millis;
use crate::failpoint;
use crate::telemetry::Metrics;

pub use crate::domain::backlog::Scope;
pub use crate::domain::link::LinkState;

pub use self::arriving::{Arrived, Identified};
pub use self::claims::{Claim, Claimed};
pub use self::codes::{CodeId, Exchanged, KeptCode, WaitingCode};
pub use self::command::{
    Accepted, AccountRefusal, AccountView, Bound, Class, Import, Incoming, Lease, LeaseRequest, Leased,
    Letter, LetterFilter, LetterId, LettersDone, NewTokens, Outcome, Published, QueueTotals, QueueView,
    Rewrapped, TokensView,
};
pub use self::error::StoreError;
#[doc(hidden)]
pub use self::file::LOG_BYTES;
pub use self::folder::{Folder, Identity, sync_folder, write_new};
#[doc(hidden)]
pub use self::inline::Inline;
pub use self::options::{Bounds, HeldBounds, Options, QueueSpec, Unclaimed};
pub use self::shared::{Health, Stats};
pub use self::turns::{Access, NoTurn, Settled, TokenRecord, Turn, Which};

/// Letters, keys or events that one step of a long command goes over.
const STEP: usize = 500;

/// A running store. Clones share it; the writer ends when the last is gone or [`Store::close`] was called.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    commands: Arc<Mutex<Option<SyncSender<Command>>>>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.shared.folder.path()).finish_non_exhaustive()
    }
}

impl Store {
    /// Waits until everything sent before is durable, and closes the file. Blocks.
    pub fn close(&self) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has said so, and there is nothing left to close.
            let _ = thread.join();
        }
        self.shared.set_db(None);
        self.shared.folder.unlock();
    }

    // ── intake ──

    /// Keeps a verified webhook. The answer comes when it is durable: only then may Ring be told 2xx.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Full`], [`StoreError::LowDisk`] or [`StoreError::Unavailable`]: it may or
    /// may not be kept, and Ring shall send it again.
    pub async fn accept(&self, incoming: Incoming) -> Result<Accepted, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Accept(Box::new(incoming), reply))?;
        let answer = answer.await.map(|(answer, _)| answer);
        answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer is gone".into())))
    }

    // ── queues ──

    /// Leases the oldest free events of a queue; nothing when none is free.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a short read.
    pub fn lease(
        &self,
        queue: &QueueName,
        request: &LeaseRequest,
        now: Millis,
    ) -> Result<Option<Lease>, StoreError> {
        let Some(number) = self.shared.queue_number(queue) else { return Ok(None) };
        let LeaseRequest { max_events, max_bytes, until, scope } = request.clone();
        let want = Want { max_events, max_bytes, until, scope };
        let taken = self.shared.queues().get_mut(&number).and_then(|q| q.backlog.take(now, &want));
        let Some(taken) = taken else { return Ok(None) };
        match reader::fetch(&self.shared, number, &taken.events) {
            Ok(reads) => Ok(Some(self.leased(number, taken.id, &taken.events, reads))),
            Err(fault) => {
                self.give_back(number, taken.id, taken.events.iter().map(|t| t.account));
                Err(fault.into())
            }
        }
    }

    fn leased(&self, queue: u16, id: u64, taken: &[Taken], reads: Vec<reader::Read>) -> Lease {
        let (mut events, mut damaged, mut gone) = (Vec::with_capacity(taken.len()), Vec::new(), Vec::new());
        for (taken, read) in taken.iter().zip(reads) {
            let (account, seq) = (taken.account, taken.entry.seq);
            match read {
                reader::Read::Event(event) => events.push(Leased { seq, attempt: taken.attempt, event }),
                reader::Read::Gone => gone.push((account, seq)),
                reader::Read::Damaged => {
                    let outcome = Outcome::Dead { why: "the record is damaged".into() };
                    damaged.push(Settlement { account, seq, outcome });
                }
            }
        }
        if !damaged.is_empty() {
            tracing::error!(events = damaged.len(), "records could not be opened; they are not delivered");
        }
        if damaged.len() + gone.len() > 0 {
            // Nobody waits for this: when it fails, the lease runs out and they come again.
            let (reply, _) = oneshot::channel();
            let run = move |batch: &mut Batch<'_>| {
                batch.settle(queue, Some(id), &damaged)?;
                batch.drop_gone(queue, id, &gone)
            };
            let _ = self.send(Command::Job(Box::new(JobOf { run, value: None, reply })));
        }
        Lease { id, events }
    }

    fn give_back(&self, queue: u16, lease: u64, accounts: impl Iterator<Item = u32>) {
        let mut queues = self.shared.queues();
        let Some(state) = queues.get_mut(&queue) else { return };
        for account in accounts {
            state.backlog.give_back(lease, account);
        }
        state.wake.notify_waiters();
    }

    /// Records what became of leased events, durably. Returns how many the lease still held; the others may have gone
    /// to another holder.
    ///
    /// # Errors
    /// When it could not be made durable: the events come again.
    pub async fn settle(
        &self,
        queue: &QueueName,
        lease: u64,
        outcomes: Vec<(u64, Outcome)>,
    ) -> Result<usize, StoreError> {
        let Some(number) = self.shared.queue_number(queue) else { return Ok(0) };
        let (mut settlements, mut returned) = (Vec::with_capacity(outcomes.len()), Vec::new());
        {
            let queues = self.shared.queues();
            let Some(state) = queues.get(&number) else { return Ok(0) };
            for (seq, outcome) in outcomes {
                let Ok(account) = state.backlog.holder(lease, seq) else { continue };
                if outcome == Outcome::Returned {
                    returned.push(account);
                } else {
                    settlements.push(Settlement { account, seq, outcome });
                }
            }
        }
        let mut settled = returned.len();
        if !settlements.is_empty() {
            settled += self.submit(move |batch| batch.settle(number, Some(lease), &settlements)).await?;
            failpoint!("store.settled");
        }
        // Only now, since a lane given back earlier would hand out again what is settled here.
        if !returned.is_empty() {
            self.give_back(number, lease, returned.into_iter());
        }
        Ok(settled)
    }

    /// Gives a lease more time.
    pub fn extend(&self, queue: &QueueName, lease: u64, until: Millis) -> bool {
        let Some(number) = self.shared.queue_number(queue) else { return false };
        self.shared.queues().get_mut(&number).is_some_and(|q| q.backlog.extend(lease, until).is_ok())
    }

    /// Told whenever events of the queue arrive or come free.
    pub fn wake(&self, queue: &QueueName) -> Option<Arc<Notify>> {
        self.shared.queues().values().find(|q| q.name == *queue).map(|q| Arc::clone(&q.wake))
    }

    /// When the queue changes by itself: a lease runs out or a delay ends.
    pub fn next_change(&self, queue: &QueueName) -> Option<Millis> {
        self.shared.queues().values().find(|q| q.name == *queue).and_then(|q| q.backlog.next_change())
    }

    /// The newest waiting events of a queue, ascending, without taking them.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a short read.
    pub fn peek(&self, queue: &QueueName, max: usize, scope: &Scope) -> Result<Vec<Leased>, StoreError> {
        let Some(number) = self.shared.queue_number(queue) else { return Ok(Vec::new()) };
        let taken: Vec<Taken> = {
            let queues = self.shared.queues();
            let Some(state) = queues.get(&number) else { return Ok(Vec::new()) };
            let attempt = |seq| state.backlog.failures(seq);
            let newest = state.backlog.newest(max, scope).into_iter();
            newest.map(|(account, entry)| Taken { account, entry, attempt: attempt(entry.seq) }).collect()
        };
        let reads = reader::fetch(&self.shared, number, &taken)?;
        let events = taken.into_iter().zip(reads).filter_map(|(taken, read)| match read {
            reader::Read::Event(event) => {
                Some(Leased { seq: taken.entry.seq, attempt: taken.attempt, event })
            }
            reader::Read::Gone | reader::Read::Damaged => None,
        });
        Ok(events.collect())
    }

    /// Events as they become durable. A follower that lags more than a thousand behind misses some and is told.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Published>> {
        self.shared.published.subscribe()
    }

    /// All queues, also those that the configuration no longer names but which still hold events.
    pub fn queues(&self) -> Vec<QueueView> {
        let view = |q: &shared::QueueState| QueueView {
            name: q.name.clone(),
            configured: q.spec.is_some(),
            waiting: q.backlog.len(),
            waiting_bytes: q.backlog.bytes(),
            leased: q.backlog.leased() as u64,
            delayed_accounts: q.backlog.delayed() as u64,
            oldest: q.backlog.oldest(1).next().map(|(_, e)| Millis(u64::from(e.at) * 1000)),
            totals: q.totals,
        };
        self.shared.queues().values().map(view).collect()
    }

    /// Drops everything that waits in a queue that the configuration no longer names, and the queue. Returns how
    /// many events that were; nothing when there is no such queue, or it is configured.
    ///
    /// # Errors
    /// When it could not be made durable; what was dropped until then is.
    pub async fn remove_queue(&self, queue: &QueueName) -> Result<Option<u64>, StoreError> {
        let mut dropped = None;
        loop {
            let name = queue.clone();
            let before = self.queues().into_iter().find(|q| q.name == name).map_or(0, |q| q.waiting);
            let Some(left) = self.submit(move |batch| batch.remove_queue(&name, STEP)).await? else {
                return Ok(dropped);
            };
            dropped = Some(dropped.unwrap_or(0) + before.saturating_sub(left));
            if left == 0 {
                return Ok(dropped);
            }
        }
    }

    // ── accounts ──

    /// Puts an account with its user and tokens into the store.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn import(&self, import: Import) -> Result<Result<Bound, AccountRefusal>, StoreError> {
        self.submit(move |batch| batch.import(&import)).await
    }

    /// Gives an account another user; events held for it go to that user's queues.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn set_user(
        &self,
        account: AccountId,
        user: UserId,
        replace: bool,
    ) -> Result<Result<Bound, AccountRefusal>, StoreError> {
        self.submit(move |batch| batch.set_user(&account, &user, replace)).await
    }

    /// Destroys an account with its keys, tokens and events: in one commit nobody can read any of it any more, and then
    /// its events are taken out step by step.
    ///
    /// # Errors
    /// When it could not be made durable. If the account is unknown after that, the store takes out the rest by itself.
    pub async fn forget(&self, account: AccountId) -> Result<Result<(), AccountRefusal>, StoreError> {
        let number = match self.submit(move |batch| batch.forget(&account)).await? {
            Ok(number) => number,
            Err(refusal) => return Ok(Err(refusal)),
        };
        while self.submit(move |batch| batch.drop_events_of(number, STEP)).await? {}
        Ok(Ok(()))
    }

    /// One account.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn account(&self, account: AccountId) -> Result<Option<AccountView>, StoreError> {
        self.read_of(account, |shared, number, account| {
            Ok(reader::account(shared, number)?.filter(|view| view.account == *account))
        })
        .await
    }

    /// Up to `limit` accounts behind the number `after` (0 for the first), and where to go on.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a short read.
    pub fn accounts(&self, after: u32, limit: usize) -> Result<(Vec<AccountView>, Option<u32>), StoreError> {
        Ok(reader::accounts(&self.shared, after, limit)?)
    }

    // ── dead letters ──

    /// One step of the records behind `after`, and where to go on.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a short read.
    pub fn letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
    ) -> Result<(Vec<Letter>, Option<LetterId>), StoreError> {
        Ok(reader::letters(&self.shared, filter, after, STEP)?)
    }

    /// Puts letters back into the queues they left, behind what waits there; one step from `after` on.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn replay_letters(
        &self,
        filter: LetterFilter,
        after: Option<LetterId>,
    ) -> Result<LettersDone, StoreError> {
        self.submit(move |batch| batch.letters_step(LetterAction::Replay, &filter, after, STEP)).await
    }

    /// Drops letters for good; one step from `after` on.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn drop_letters(
        &self,
        filter: LetterFilter,
        after: Option<LetterId>,
    ) -> Result<LettersDone, StoreError> {
        self.submit(move |batch| batch.letters_step(LetterAction::Drop, &filter, after, STEP)).await
    }

    // ── keys and facts ──

    /// Puts data keys under the current master key; one step from `after` on.
    ///
    /// # Errors
    /// When it could not be made durable; what was re-wrapped until then is.
    pub async fn rewrap_keys(&self, after: Option<(u32, u8)>) -> Result<Rewrapped, StoreError> {
        self.submit(move |batch| batch.rewrap(after, STEP)).await
    }

    /// Number of data keys by the name of the master key they are under.
    ///
    /// # Errors
    /// When the file can't be read. Blocks.
    pub fn keys_by_master(&self) -> Result<Vec<(String, u64)>, StoreError> {
        Ok(reader::keys_by_master(&self.shared)?)
    }

    /// What is known of the webhook keys' proofs, as noted last.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn proofs(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(reader::fact(&self.shared, load::PROOFS)?)
    }

    /// Notes the webhook keys' proofs.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn note_proofs(&self, proofs: Vec<u8>) -> Result<(), StoreError> {
        self.submit(move |batch| batch.note_fact(load::PROOFS, &proofs)).await
    }

    // ── how it stands ──

    /// Times commits into these metrics from now on.
    pub fn report_to(&self, metrics: &Metrics) {
        // Once is enough.
        let _ = self.shared.metrics.set(metrics.clone());
    }

    /// The clock by which links are compared; whoever hears Ring tell the time tells it.
    pub fn ring_clock(&self) -> RingClock {
        self.shared.ring_clock.clone()
    }

    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// How long the memory of ids reaches back, when it is full and that is less than Ring's retries and replays need.
    pub fn short_memory(&self, now: Millis) -> Option<Duration> {
        self.shared.short_memory(now)
    }

    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Which master key seals now.
    pub fn master(&self) -> String {
        self.shared.vault.current().to_string()
    }

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.shared.folder.data_bytes()
    }

    /// Runs a command in the next group commit; waits a little when the writer is behind.
    async fn submit<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let mut command = Command::Job(Box::new(JobOf { run, value: None, reply }));
        for _ in 0..200 {
            match self.try_send(command) {
                Ok(()) => {
                    return answer
                        .await
                        .unwrap_or_else(|_| Err(StoreError::Unavailable("the writer is gone".into())));
                }
                Err(TrySendError::Full(back)) => command = back,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(StoreError::Unavailable("it is closed".into()));
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(StoreError::Busy)
    }

    fn send(&self, command: Command) -> Result<(), StoreError> {
        self.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Unavailable("it is closed".into()),
        })
    }

    fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>> {
        match self.commands.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(commands) => commands.try_send(command),
            None => Err(TrySendError::Disconnected(command)),
        }
    }
}
