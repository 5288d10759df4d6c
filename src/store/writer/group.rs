//! The one writer: a group of commands becomes one transaction, or none of it does.
//!
//! A plain function of its input and of the time it is given; `committer` runs it in a thread of its own.

use crate::store::txn::commit;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::oneshot;

use super::compact::{self, Level};
use crate::domain::actor::Actor;
use crate::domain::clock_trust::Jump;
use crate::domain::ids::UserId;
use crate::domain::link::LinkState;
use crate::domain::time::Millis;
use crate::domain::units::span;
use crate::logging::audit;
use crate::store::command::{Accepted, Class, Incoming, LastFailure, Published};
use crate::store::kv::caught;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::file::Opened;
use crate::store::kv::identity::verify;
use crate::store::kv::tables::Tables;
use crate::store::kv::wal::Wal;
use crate::store::memory::core::Core;
use crate::store::memory::index::seconds;
use crate::store::memory::load::{load, queue_state};
use crate::store::memory::options::{Options, QueueSpec};
use crate::store::memory::pulse::Pulse;
use crate::store::memory::shared::{Counts, Health, QueueState, Queues, Shared, bump, moved, set};
use crate::store::rows::text::to_u32;
use crate::store::txn::accept;
use crate::store::txn::transaction::{Finished, Left, Staged, Txn};
use crate::{clock, failpoint};

/// A command other than an accept: does its part in the transaction, and answers once it is durable.
pub(crate) trait Job: Send {
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), Fault>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

pub(crate) enum Command {
    /// Its answer comes with what it was about, see [`Txn::accept`].
    Accept(Box<Incoming>, oneshot::Sender<(Result<Accepted, StoreError>, Box<Incoming>)>),
    Job(Box<dyn Job>),
}

impl Command {
    fn refuse(self, error: &StoreError) {
        match self {
            // A caller that is gone wants no answer.
            Self::Accept(incoming, reply) => drop(reply.send((Err(error.clone()), incoming))),
            Self::Job(job) => job.answer(Err(error.clone())),
        }
    }
}

/// A [`Job`] from a closure and the sender of its answer.
pub(crate) struct JobOf<F, T> {
    pub run: F,
    pub by: Actor,
    pub value: Option<T>,
    pub reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for JobOf<F, T>
where
    F: FnMut(&mut Txn<'_>) -> Result<T, Fault> + Send,
    T: Send,
{
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), Fault> {
        txn.by = self.by.clone();
        self.value = Some((self.run)(txn)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let lost = || StoreError::Unavailable("the command did not run".into());
        drop(reply.send(committed.and_then(|()| value.ok_or_else(lost))));
    }
}

/// How often everything is looked at, due or not.
const FULL_STEP: Duration = Duration::from_mins(1);

/// How often the same warning is given.
const WARN_AGAIN: Duration = Duration::from_hours(1);

/// What a transaction did, for memory that readers see.
struct Committed {
    staged: Vec<Staged>,
    users: Vec<UserId>,
    counts: Counts,
    published: Vec<Published>,
    notes: Vec<audit::Entry>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    core: Core,
    wal: Wal,
    levels: Receiver<Level>,
    next_full_step: Millis,
    next_warning: Millis,
    /// Of the events buried and the letters dropped, how many the log has told.
    told: [u64; 2],
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, core: Core, wal: Wal, levels: Receiver<Level>) -> Self {
        Self { shared, core, wal, levels, next_full_step: Millis(0), next_warning: Millis(0), told: [0; 2] }
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    /// When the newest remembered event came; nothing in a new store.
    pub(crate) fn newest(&self) -> Option<Millis> {
        Some(self.core.tail.last_at).filter(|at| at.0 != 0)
    }

    /// Runs all commands in one transaction and answers each once that is durable. When anything fails, nothing of it
    /// is kept in memory, every command is refused, and the file is closed until [`Writer::recover`].
    pub(crate) fn commit(&mut self, now: Millis, commands: Vec<Command>) {
        if let Some(error) = self.shared.unavailable() {
            refuse(commands, &error);
            return;
        }
        let mut commands = commands;
        let started = clock::instant();
        let mut accepted = Vec::with_capacity(commands.len());
        let low = matches!(self.shared.health(), Health::LowDisk { .. });
        let run = AssertUnwindSafe(|| self.transact(now, low, &mut commands, &mut accepted));
        match caught::running(run) {
            Ok(Committed { staged, users, counts, published, notes }) => {
                bump(&self.shared.stats.commits);
                if let Some(metrics) = self.shared.metrics.get().filter(|_| !accepted.is_empty()) {
                    metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                    metrics.batch_events.observe(f64::from(to_u32(accepted.len())));
                }
                self.shared.stats.add(counts);
                // Before the queues, which speak of them by number.
                self.add_users(&users);
                self.apply(staged, now);
                self.count();
                failpoint!("store.committed");
                answer(commands, accepted);
                notes.iter().for_each(audit::note);
                self.shared.feed.publish(published);
            }
            Err(fault) => {
                bump(&self.shared.stats.commit_failures);
                let error = self.fail(now, fault);
                refuse(commands, &error);
            }
        }
    }

    /// Commits to redb what only the log has durably.
    pub(crate) fn checkpoint(&mut self, now: Millis) {
        if self.wal.is_empty() || self.shared.unavailable().is_some() {
            return;
        }
        let Self { shared, wal, .. } = self;
        let run = AssertUnwindSafe(|| shared.with_db(|db| wal.checkpoint(db.begin()?)));
        if let Err(fault) = caught::running(run) {
            bump(&self.shared.stats.commit_failures);
            self.fail(now, fault);
        }
    }

    /// Puts a compacted file in the place of the store's, if one is ready.
    pub(crate) fn take_compacted(&mut self, now: Millis) {
        let Ok(level) = self.levels.try_recv() else { return };
        let Self { shared, wal, .. } = self;
        let run = AssertUnwindSafe(|| compact::put_in_place(shared, wal, level));
        if let Err(fault) = caught::running(run) {
            self.fail(now, fault);
        }
    }

    /// Leaves the file so that it may be closed.
    pub(crate) fn end(&mut self, now: Millis) {
        self.checkpoint(now);
        if self.shared.unavailable().is_some() {
            self.wal.give_up();
        }
    }

    /// Tries to bring a failing store back: close, read anew from the disk, check, and prove it by a commit. Returns
    /// whether it is usable.
    pub(crate) fn recover(&mut self, now: Millis) -> bool {
        let Health::Failing { since, .. } = self.shared.health() else {
            return !matches!(self.shared.health(), Health::Damaged { .. });
        };
        self.wal.give_up();
        self.shared.set_db(None);
        self.shared.folder.forget_cached();
        let file = self.shared.folder.data();
        match caught::reading(&file, || self.reopen()) {
            Ok(()) => {
                self.shared.set_health(Health::Ready);
                self.count();
                true
            }
            Err(StoreError::Damaged(why)) => {
                self.shared.set_db(None);
                self.shared.set_health(Health::Damaged { since: now, why });
                false
            }
            Err(error) => {
                self.shared.set_db(None);
                self.shared.set_health(Health::Failing { since, why: error.to_string() });
                false
            }
        }
    }

    /// Watches that the file is where it was opened: nothing more is acknowledged that the next start would not find.
    pub(crate) fn watch_file(&mut self, now: Millis) {
        if self.shared.unavailable().is_none() && !self.shared.folder.has_its_file() {
            self.fail(now, std::io::Error::other(moved(&self.shared.folder)).into());
        }
    }

    /// Watches the free disk: below the low-water mark accepts are refused while deliveries make room.
    pub(crate) fn watch_disk(&self) {
        set(&self.shared.stats.file_bytes, self.shared.folder.data_bytes());
        let Ok(free) = self.shared.folder.free_bytes() else { return };
        let low = free < self.shared.options.get().min_free_bytes;
        match self.shared.health() {
            Health::Ready | Health::LowDisk { .. } if low => self.shared.set_health(Health::LowDisk { free }),
            Health::LowDisk { .. } => self.shared.set_health(Health::Ready),
            _ => {}
        }
        let options = self.shared.options.get();
        // Made again when there is room; that there is none shows as the low-water mark.
        let _ = self.shared.folder.fill_reserve(options.reserve_bytes, options.min_free_bytes);
    }

    fn transact(
        &mut self,
        now: Millis,
        low_disk: bool,
        commands: &mut [Command],
        accepted: &mut Vec<Result<Accepted, StoreError>>,
    ) -> Result<Committed, Fault> {
        let Self { shared, core, wal, .. } = self;
        shared.with_db(|db| {
            let write = db.begin()?;
            let mut txn = Txn::new(core, shared, Tables::new(&write, wal.changes()), now);
            for command in commands {
                match command {
                    Command::Accept(_, _) if low_disk => accepted.push(Err(StoreError::LowDisk)),
                    Command::Accept(incoming, _) => {
                        txn.by = Actor::Ring;
                        accepted.push(accept::accept(&mut txn, incoming)?);
                    }
                    Command::Job(job) => job.run(&mut txn)?,
                }
            }
            let Finished { staged, users, counts, published, changes, notes } = commit::finish(txn)?;
            failpoint!("store.before_commit");
            wal.commit(write, changes, &shared.tee)?;
            Ok(Committed { staged, users, counts, published, notes })
        })
    }

    /// Notes the failure, and gives the reserve's room back when the disk is full.
    fn fail(&mut self, now: Millis, fault: Fault) -> StoreError {
        tracing::error!(error = %fault, "the store failed; it will be opened again");
        if fault.is_disk_full() && self.shared.folder.release_reserve() {
            tracing::warn!("the disk is full: the reserve was given to the store");
        }
        self.core = Core::new();
        self.shared.tee.break_off();
        self.shared.set_health(Health::Failing { since: now, why: fault.to_string() });
        StoreError::from(fault)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let Opened { db, mut wal } = self.shared.opened()?;
        verify(&db, &self.shared.identity, &self.shared.vault)?;
        let mut loaded = load(&db, &self.shared.options.get())?;
        wal.checkpoint(db.begin()?)?;
        {
            let mut queues = self.shared.queues();
            for (number, state) in &mut loaded.queues {
                if let Some(before) = queues.get(number) {
                    state.totals = before.totals;
                    state.lately = before.lately.clone();
                    state.wake = Arc::clone(&before.wake);
                    state.backlog.succeed(&before.backlog);
                }
            }
            *queues = loaded.queues;
        }
        *self.shared.users_mut() = loaded.users;
        self.core = loaded.core;
        self.wal = wal;
        self.shared.set_db(Some(db));
        self.shared.token_changes.tell_all();
        self.shared.claim_changes.tell_all();
        // What was leased is free again.
        self.shared.queues().values().for_each(|q| q.wake.notify_waiters());
        Ok(())
    }

    fn add_users(&self, users: &[UserId]) {
        if users.is_empty() {
            return;
        }
        let mut known = self.shared.users_mut();
        for user in users {
            known.add(user);
        }
    }

    /// Lets readers see what is durable now.
    fn apply(&mut self, staged: Vec<Staged>, now: Millis) {
        let mut queues = self.shared.queues();
        let mut woken = std::collections::BTreeSet::new();
        let (mut tokens, mut claims) = (Vec::new(), Vec::new());
        for change in staged {
            let queue = match change {
                Staged::Push { queue, account, entry } => {
                    let Some(state) = queues.get_mut(&queue) else { continue };
                    state.backlog.push(account, entry);
                    state.totals.accepted += 1;
                    queue
                }
                Staged::Left { queue, account, seq, how } => {
                    let Some(state) = queues.get_mut(&queue) else { continue };
                    state.backlog.remove(account, seq);
                    match how {
                        Left::Delivered => {
                            state.totals.delivered += 1;
                            state.lately.delivered.add(now);
                        }
                        Left::Dead => state.totals.dead += 1,
                        Left::Dropped => {}
                    }
                    queue
                }
                Staged::Tokens { account } => {
                    tokens.push(account);
                    continue;
                }
                Staged::Claim { account } => {
                    claims.push(account);
                    continue;
                }
                Staged::Paused { queue, since } => {
                    let Some(state) = queues.get_mut(&queue) else { continue };
                    state.paused_since = since;
                    queue
                }
                Staged::Options { options, numbers } => {
                    take_over(&mut queues, &options, &numbers);
                    self.shared.options.set(options);
                    continue;
                }
                Staged::Forget { queue } => {
                    // Who waits for it must learn that it is gone.
                    if let Some(state) = queues.remove(&queue) {
                        state.wake.notify_waiters();
                    }
                    queue
                }
                Staged::Failed { queue, account, seq, failures, due, why } => {
                    let Some(state) = queues.get_mut(&queue) else { continue };
                    state.backlog.failed(account, seq, failures, due.max(now));
                    state.totals.failed += 1;
                    state.lately.failed.add(now);
                    state.lately.failure = Some(LastFailure { at: now, why });
                    queue
                }
            };
            woken.insert(queue);
        }
        for queue in woken {
            if let Some(state) = queues.get(&queue) {
                state.wake.notify_waiters();
            }
        }
        drop(queues);
        self.shared.token_changes.tell(&tokens);
        self.shared.claim_changes.tell(&claims);
    }

    /// What is leased or delayed stays so for as long as was meant, though the wall clock was set.
    pub(crate) fn carry(&self, jump: Jump, now: Millis) {
        tracing::warn!(?jump, "the clock was set; leases and delays go along");
        self.shared.queues().values_mut().for_each(|queue| queue.backlog.carry(jump, now));
    }

    /// Sees whether webhooks still come, while they are taken and the clock is believed.
    pub(crate) fn watch_intake(&mut self, now: Millis, believed: bool) {
        let listens = believed && self.shared.health() == Health::Ready;
        let silence = self.shared.options.get().silence;
        let (begins, ended) = self.core.freshness.look(now, listens, &silence);
        if let Some(silence) = ended {
            let silence = span(silence);
            tracing::info!(%silence, "webhooks arrive again");
        }
        if begins {
            let intake = self.core.freshness.intake();
            let silence = span(now.since(intake.last().unwrap_or(now)));
            let longest_wait = span(intake.longest());
            tracing::warn!(%silence, %longest_wait, "no webhook has arrived for longer than expected");
        }
        self.count_freshness();
    }

    fn count_freshness(&self) {
        let (stats, freshness) = (&self.shared.stats, &self.core.freshness);
        let intake = freshness.intake();
        let last = intake.last().map_or(0, |at| at.0);
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let silence = self.shared.options.get().silence;
        let limit = intake.last().and_then(|_| intake.limit(&silence.intake));
        set(&stats.last_webhook, last);
        set(&stats.silent_since, if intake.is_told() { last } else { 0 });
        set(&stats.longest_wait, ms(intake.longest()));
        set(&stats.silent_after, limit.map_or(0, ms));
        set(&stats.silent_accounts, freshness.silent);
    }

    /// Whether something leaves or changes by itself now.
    pub(crate) fn is_due(&mut self, now: Millis) -> bool {
        if now >= self.next_full_step || self.next_full_step.since(now) > FULL_STEP {
            self.next_full_step = now.plus(FULL_STEP);
            self.warn_of_short_memory(now);
            self.tell_what_left();
            return true;
        }
        let held_before = seconds(now.minus(self.shared.options.get().held.max_age));
        let held = self.core.held.first_key_value().is_some_and(|(_, event)| event.at < held_before);
        let to_erase = !self.core.forgotten.is_empty() || !self.core.receipts.erasing.is_empty();
        held || to_erase || self.shared.queues().values().any(|q| is_queue_due(q, now))
    }

    fn warn_of_short_memory(&mut self, now: Millis) {
        let Some(covered) = self.shared.short_memory(now).filter(|_| now >= self.next_warning) else {
            return;
        };
        self.next_warning = now.plus(WARN_AGAIN);
        tracing::warn!(
            hours_covered = covered.as_secs() / 3600,
            "the oldest request ids leave early; what Ring repeats later comes twice: raise [seen] max_ids"
        );
    }

    /// What leaves without being delivered is said, once a minute.
    fn tell_what_left(&mut self) {
        let stats = &self.shared.stats;
        let left = [&stats.dead, &stats.dropped].map(|counter| counter.load(Ordering::Relaxed));
        let [dead, dropped] = [0, 1].map(|at| left[at] - self.told[at]);
        self.told = left;
        if dead > 0 {
            tracing::warn!(events = dead, "events went to the dead letters");
        }
        if dropped > 0 {
            tracing::warn!(records = dropped, "kept records were dropped for good");
        }
    }

    pub(crate) fn count(&self) {
        let (stats, core) = (&self.shared.stats, &self.core);
        set(&stats.ids, core.seen.len());
        set(&stats.log_bytes, core.log_bytes);
        set(&stats.aside_bytes, core.aside_bytes());
        set(&stats.receipt_bytes, core.receipts.bytes);
        set(&stats.act_bytes, core.acts.bytes.iter().sum());
        set(&stats.held_events, core.held.len() as u64);
        let letters = |class: Class| core.letters[usize::from(class as u8 - Class::Dead as u8)].events;
        set(&stats.dead_events, letters(Class::Dead));
        set(&stats.unrouted_events, letters(Class::Unrouted));
        set(&stats.quarantined_events, letters(Class::Quarantined));
        for (state, count) in LinkState::ALL.into_iter().zip(&stats.accounts) {
            set(count, core.accounts.count(state));
        }
        set(&stats.ids_since, core.oldest_at.0);
        self.count_freshness();
    }
}

/// Shows the queues as they are configured now.
fn take_over(queues: &mut Queues, options: &Options, numbers: &[u16]) {
    let configured: BTreeMap<u16, &QueueSpec> = numbers.iter().copied().zip(&options.queues).collect();
    for (number, state) in queues.iter_mut() {
        state.spec = configured.get(number).copied().cloned();
    }
    for (number, spec) in configured {
        queues.entry(number).or_insert_with(|| queue_state(spec.name.clone(), Some(spec.clone())));
    }
}

fn refuse(commands: Vec<Command>, error: &StoreError) {
    for command in commands {
        command.refuse(error);
    }
}

fn is_queue_due(queue: &QueueState, now: Millis) -> bool {
    let lease = queue.backlog.next_deadline().is_some_and(|at| at <= now);
    let bounds = queue.spec.as_ref().is_some_and(|spec| {
        let before = seconds(now.minus(spec.max_age));
        let oldest = queue.backlog.oldest(1).next();
        oldest.is_some_and(|(_, e)| e.at < before || queue.backlog.bytes() > spec.max_bytes)
    });
    lease || bounds
}

fn answer(commands: Vec<Command>, accepted: Vec<Result<Accepted, StoreError>>) {
    let mut accepted = accepted.into_iter();
    for command in commands {
        match command {
            Command::Accept(incoming, reply) => {
                let lost = || Err(StoreError::Unavailable("the command did not run".into()));
                drop(reply.send((accepted.next().unwrap_or_else(lost), incoming)));
            }
            Command::Job(job) => job.answer(Ok(())),
        }
    }
}
