//! The consumers' port: events leased, settled and watched, and those that left their queue undelivered.

use crate::store::txn::{letters, pause, settle};
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use crate::domain::actor::Actor;
use crate::domain::backlog::{Taken, Want};
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::time::Millis;
use crate::store::command::STEP;
use crate::store::command::{
    Lease, LeaseRequest, Leased, Letter, LetterFilter, LetterId, LettersDone, Outcome, PauseChange,
    QueueLately, QueueView,
};
use crate::store::kv::error::Fault;
use crate::store::memory::follow::Follower;
use crate::store::memory::shared::{QueueState, Shared, bump};
use crate::store::read::reader;
use crate::store::txn::letters::LetterAction;
use crate::store::txn::retention;
use crate::store::txn::settle::Settlement;
use crate::store::txn::transaction::Txn;
use crate::store::writer::group::{Command, JobOf};
use crate::store::writer::handle::Handle;
use crate::store::{Scope, StoreError};
use crate::{clock, failpoint};

/// Where events wait for their consumers.
#[derive(Debug, Clone)]
pub struct Queues(pub(crate) Arc<Handle>, pub(crate) Actor);

/// A lease whose events are being read. It goes back when its caller leaves before it has them.
struct Reading<'a> {
    shared: &'a Shared,
    queue: u16,
    lease: Option<u64>,
}

impl Reading<'_> {
    /// The caller has the events: it settles the lease.
    fn keep(mut self) {
        self.lease = None;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            release(self.shared, self.queue, lease);
        }
    }
}

impl Queues {
    /// The same, for what `actor` causes.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        Self(Arc::clone(&self.0), actor)
    }

    async fn submit<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Txn<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.submit_by(self.1.clone(), run).await
    }

    /// Leases the oldest free events of a queue; nothing when none is free, or the queue is paused. The lease's id is its fence: nobody settles an
    /// event under it after it has lost it.
    ///
    /// # Errors
    /// When the file can't be read; the events are free again.
    pub async fn lease(
        &self,
        queue: &QueueName,
        request: &LeaseRequest,
        now: Millis,
    ) -> Result<Option<Lease>, StoreError> {
        let shared = &self.0.shared;
        let Some(number) = shared.queue_number(queue) else { return Ok(None) };
        let LeaseRequest { max_events, max_bytes, until, scope } = request.clone();
        let want = Want { max_events, max_bytes, until, scope };
        let taken = {
            let mut queues = shared.queues();
            let queue = queues.get_mut(&number).filter(|queue| queue.paused_since.is_none());
            queue.and_then(|queue| queue.backlog.take(now, &want))
        };
        let Some(taken) = taken else { return Ok(None) };
        let reading = Reading { shared, queue: number, lease: Some(taken.id) };
        let (taken, reads) = self.read_events(number, taken.events).await?;
        let lease = reading.lease.unwrap_or_default();
        reading.keep();
        Ok(Some(self.leased(number, lease, &taken, reads)))
    }

    async fn read_events(
        &self,
        queue: u16,
        taken: Vec<Taken>,
    ) -> Result<(Vec<Taken>, Vec<reader::Read>), StoreError> {
        let read = move |shared: &Shared| {
            let reads = reader::fetch(shared, queue, &taken)?;
            Ok((taken, reads))
        };
        self.0.read(read).await
    }

    fn leased(&self, queue: u16, id: u64, taken: &[Taken], reads: Vec<reader::Read>) -> Lease {
        let (mut events, mut damaged, mut gone) = (Vec::with_capacity(taken.len()), Vec::new(), Vec::new());
        for (taken, read) in taken.iter().zip(reads) {
            let (account, seq) = (taken.account, taken.entry.seq);
            match read {
                reader::Read::Event(event) => events.push(Leased { seq, attempt: taken.attempt, event }),
                reader::Read::Gone => gone.push((account, seq)),
                unreadable @ (reader::Read::Damaged | reader::Read::Missing) => {
                    if matches!(unreadable, reader::Read::Missing) {
                        bump(&self.0.shared.stats.damaged);
                    }
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
            let run = move |txn: &mut Txn<'_>| {
                settle::settle(txn, queue, Some(id), &damaged)?;
                settle::drop_gone(txn, queue, id, &gone)
            };
            let _ = self.0.send(Command::Job(Box::new(JobOf { run, by: Actor::Daemon, value: None, reply })));
        }
        Lease { id, events }
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
        let Some(number) = self.0.shared.queue_number(queue) else { return Ok(0) };
        let (mut settlements, mut returned) = (Vec::with_capacity(outcomes.len()), Vec::new());
        {
            let queues = self.0.shared.queues();
            let Some(state) = queues.get(&number) else { return Ok(0) };
            for (seq, outcome) in outcomes {
                let Ok(account) = state.backlog.holder(lease, seq) else { continue };
                match outcome {
                    Outcome::Returned => returned.push((account, None)),
                    Outcome::Postponed { due } => returned.push((account, Some(due))),
                    outcome => settlements.push(Settlement { account, seq, outcome }),
                }
            }
        }
        let mut settled = returned.len();
        if !settlements.is_empty() {
            settled += self.submit(move |txn| settle::settle(txn, number, Some(lease), &settlements)).await?;
            failpoint!("store.settled");
        }
        // Only now, because a lane given back earlier would hand out again what is settled here.
        if !returned.is_empty() {
            give_back(&self.0.shared, number, lease, returned.into_iter());
        }
        Ok(settled)
    }

    /// Gives a lease more time. Returns whether it still holds anything.
    pub fn extend(&self, queue: &QueueName, lease: u64, until: Millis) -> bool {
        let Some(number) = self.0.shared.queue_number(queue) else { return false };
        self.0.shared.queues().get_mut(&number).is_some_and(|q| q.backlog.extend(lease, until).is_ok())
    }

    /// Gives back all that a lease still holds; no attempt is counted. For a reader that is gone.
    pub fn release(&self, queue: &QueueName, lease: u64) {
        if let Some(number) = self.0.shared.queue_number(queue) {
            release(&self.0.shared, number, lease);
        }
    }

    /// Whether a lease holds something still.
    pub fn holds(&self, queue: &QueueName, lease: u64) -> bool {
        let queues = self.0.shared.queues();
        queues.values().find(|q| q.name == *queue).is_some_and(|q| q.backlog.holds(lease))
    }

    /// Told whenever events of the queue arrive or come free.
    pub fn wake(&self, queue: &QueueName) -> Option<Arc<Notify>> {
        self.0.shared.queues().values().find(|q| q.name == *queue).map(|q| Arc::clone(&q.wake))
    }

    /// Has everybody who waits for events look again, because it may not be theirs to wait any more.
    pub fn wake_all(&self) {
        self.0.shared.queues().values().for_each(|queue| queue.wake.notify_waiters());
    }

    /// When there may be something to lease by itself: a lease runs out or a delay ends. Never while it is paused.
    pub fn next_change(&self, queue: &QueueName) -> Option<Millis> {
        let queues = self.0.shared.queues();
        let queue = queues.values().find(|q| q.name == *queue).filter(|q| q.paused_since.is_none());
        queue.and_then(|q| q.backlog.next_change())
    }

    /// Whether a lease would get something now.
    pub fn has_free(&self, queue: &QueueName) -> bool {
        let queues = self.0.shared.queues();
        let queue = queues.values().find(|q| q.name == *queue).filter(|q| q.paused_since.is_none());
        queue.is_some_and(|q| q.backlog.has_free())
    }

    /// Since when the queue is paused.
    pub fn paused_since(&self, queue: &QueueName) -> Option<Millis> {
        self.0.shared.queues().values().find(|q| q.name == *queue).and_then(|q| q.paused_since)
    }

    /// Pauses a queue, or ends its pause, durably. Nothing is leased from a paused queue; what is leased already may be settled.
    /// Nothing when there is no such queue.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn set_paused(
        &self,
        queue: &QueueName,
        pause: bool,
    ) -> Result<Option<PauseChange>, StoreError> {
        let name = queue.clone();
        self.submit(move |txn| pause::set_paused(txn, &name, pause)).await
    }

    /// The newest waiting events of a queue, ascending, without taking them; no more than take `max_bytes`, but one.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn peek(
        &self,
        queue: &QueueName,
        max: usize,
        max_bytes: u64,
        scope: &Scope,
    ) -> Result<Vec<Leased>, StoreError> {
        let Some(number) = self.0.shared.queue_number(queue) else { return Ok(Vec::new()) };
        let taken: Vec<Taken> = {
            let mut queues = self.0.shared.queues();
            let Some(state) = queues.get_mut(&number) else { return Ok(Vec::new()) };
            let newest = state.backlog.newest(max, max_bytes, scope).into_iter();
            let attempt = |seq| state.backlog.failures(seq) + 1;
            newest.map(|(account, entry)| Taken { account, entry, attempt: attempt(entry.seq) }).collect()
        };
        let (taken, reads) = self.read_events(number, taken).await?;
        let events = taken.into_iter().zip(reads).filter_map(|(taken, read)| match read {
            reader::Read::Event(event) => {
                Some(Leased { seq: taken.entry.seq, attempt: taken.attempt, event })
            }
            reader::Read::Gone | reader::Read::Missing | reader::Read::Damaged => None,
        });
        Ok(events.collect())
    }

    /// Events as they become durable. A follower that lags behind by too many, or too many bytes, misses some and is told.
    pub fn follow(&self) -> Follower {
        self.0.shared.feed.follow()
    }

    /// All queues, also those that the configuration no longer names but which still hold events.
    pub fn list(&self) -> Vec<QueueView> {
        let now = clock::now();
        let view = |q: &QueueState| QueueView {
            name: q.name.clone(),
            configured: q.spec.is_some(),
            waiting: q.backlog.len(),
            waiting_bytes: q.backlog.bytes(),
            leased: q.backlog.leased() as u64,
            delayed_accounts: q.backlog.delayed() as u64,
            oldest: q.backlog.oldest(1).next().map(|(_, e)| Millis(u64::from(e.at) * 1000)),
            paused_since: q.paused_since,
            totals: q.totals,
            lately: QueueLately {
                delivered: q.lately.delivered.count(now),
                failed: q.lately.failed.count(now),
                failure: q.lately.failure.clone(),
            },
        };
        self.0.shared.queues().values().map(view).collect()
    }

    /// Drops everything that waits in a queue that the configuration no longer names, and the queue. Returns how
    /// many events that were; nothing when there is no such queue, or it is configured.
    ///
    /// # Errors
    /// When it could not be made durable; what was dropped until then is.
    pub async fn remove(&self, queue: &QueueName) -> Result<Option<u64>, StoreError> {
        let mut dropped = None;
        loop {
            let name = queue.clone();
            let before = self.list().into_iter().find(|q| q.name == name).map_or(0, |q| q.waiting);
            let Some(left) = self.submit(move |txn| retention::remove_queue(txn, &name, STEP)).await? else {
                return Ok(dropped);
            };
            dropped = Some(dropped.unwrap_or(0) + before.saturating_sub(left));
            if left == 0 {
                return Ok(dropped);
            }
        }
    }

    /// The events of these users and these accounts; `None` is any. Names that are not known yet match nothing.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn scope(
        &self,
        users: Option<&[UserId]>,
        accounts: Option<&[AccountId]>,
    ) -> Result<Scope, StoreError> {
        let accounts = match accounts {
            None => None,
            Some(ids) => {
                let ids = ids.to_vec();
                Some(self.0.read(move |shared| reader::numbers_of(shared, &ids)).await?)
            }
        };
        let known = self.0.shared.users();
        let find = |user: &UserId| known.find(user.as_str());
        Ok(Scope { users: users.map(|names| names.iter().filter_map(find).collect()), accounts })
    }

    /// Waits until whatever is being committed can be seen.
    ///
    /// # Errors
    /// When the writer can't answer.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.0.submit(|_| Ok(())).await
    }

    // ── dead letters ──

    /// One step of the records behind `after`, and where to go on.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
    ) -> Result<(Vec<Letter>, Option<LetterId>), StoreError> {
        let filter = filter.clone();
        self.0.read(move |shared| reader::letters(shared, &filter, after, STEP)).await
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
        self.submit(move |txn| letters::letters_step(txn, LetterAction::Replay, &filter, after, STEP)).await
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
        self.submit(move |txn| letters::letters_step(txn, LetterAction::Drop, &filter, after, STEP)).await
    }
}

fn release(shared: &Shared, queue: u16, lease: u64) {
    let mut queues = shared.queues();
    if let Some(state) = queues.get_mut(&queue)
        && state.backlog.release(lease)
    {
        state.wake.notify_waiters();
    }
}

/// Accounts with a time wait until then.
fn give_back(shared: &Shared, queue: u16, lease: u64, accounts: impl Iterator<Item = (u32, Option<Millis>)>) {
    let mut queues = shared.queues();
    let Some(state) = queues.get_mut(&queue) else { return };
    for (account, due) in accounts {
        state.backlog.give_back(lease, account, due);
    }
    state.wake.notify_waiters();
}
