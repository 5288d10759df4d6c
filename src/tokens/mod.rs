//! Keeps tokens alive and hands access tokens out: does what the schedule in `domain::refresh` decides.
//!
//! ```text
//! schedule ──▶ refresher ──▶ flight: intent on disk ▶ epoch in the guard folder ▶ gate ▶ OAuth ▶ answer on disk ──▶ schedule
//!    ▲                                                                                                        │
//! lender ◀── workers ask                                                   herald: events and alerts ◀────────┘
//! ```
//!
//! After a crash, what is tried for an account whose journal entry is open, in this order: an answer that was kept, if it can be
//! read after all (also one from the guard folder); then the token that was sent, at once and again until OAuth answers. Only when
//! OAuth has refused it for good is the one before it tried, once, and only if the refused one had never been accepted.

mod arrivals;
mod codes;
mod flight;
mod gate;
mod guard;
mod herald;
mod lender;
mod refresher;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::chance::random;
use crate::clock;
use crate::domain::access_token::TokenStatus;
use crate::domain::arrival::{Unwelcome, Welcome};
use crate::domain::refresh::{Decision, Moment, Planner, Policy, Rounds};
use crate::domain::time::Millis;
use crate::ring_api::RingApi;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

use codes::Codes;
use gate::Gate;

pub use guard::Guard;

/// What the token service works on.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    /// Without it nothing is refreshed.
    pub api: Option<RingApi>,
    pub policy: Policy,
    /// An answer of OAuth is late after this, and goes on being awaited.
    pub late_after: Duration,
    /// How long an exchange by `api` takes at most.
    pub answer_timeout: Duration,
    /// Authorization codes that are taken, and sent, a second.
    pub codes_per_second: u32,
    pub guard: Guard,
    pub metrics: Metrics,
    pub clock: Clock,
}

/// Both clocks, as the token service reads them.
pub struct Clock(Box<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// Another one than the machine's, for tests. Its ticks never go back.
    pub fn new(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// The machine's, whose ticks begin now.
    pub fn of_the_machine() -> Self {
        let started = clock::ticks();
        Self::new(move || Moment { wall: clock::now(), ticks: clock::ticks() - started })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Everything about tokens in one daemon.
#[derive(Debug)]
pub struct TokenService {
    store: Store,
    api: Option<RingApi>,
    late_after: Duration,
    answer_timeout: Duration,
    repeat_unreadable: Duration,
    guard: Arc<Guard>,
    metrics: Metrics,
    clock: Clock,
    planner: Mutex<Planner>,
    gate: Gate,
    /// Told when there may be something to do.
    wake: Notify,
    news: Notify,
    rounds: Mutex<Rounds>,
    /// Workers that wait for the refresh of an account to come out.
    waiters: Mutex<HashMap<u32, Vec<oneshot::Sender<Option<Decision>>>>>,
    /// Accounts whose id at Ring is not known yet.
    arriving: tokio::sync::Mutex<HashMap<u32, Arriving>>,
    /// Accounts whose next try is with the predecessor of their token.
    last_resort: Mutex<HashSet<u32>>,
    codes: Codes,
    guarded: AtomicBool,
    /// When the daemon is to stop: until then answers that are under way are awaited.
    stopping: watch::Sender<Option<Instant>>,
    /// Answers of OAuth that the store has not taken yet.
    unrecorded: AtomicUsize,
}

/// An account whose id at Ring is not known yet.
#[derive(Debug, Default)]
struct Arriving {
    /// OAuth has not been asked since it came.
    untried: bool,
    /// Who brought it.
    waits: Vec<oneshot::Sender<Result<Welcome, Unwelcome>>>,
    /// Ring asks not to be asked whose it is before.
    not_before: Option<Instant>,
}

impl TokenService {
    /// The service over `parts`. It refreshes nothing until it [runs](Self::run).
    ///
    /// # Errors
    /// When the store can't be read, or the guard folder of a new one can't be written.
    pub async fn new(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, api, policy, late_after, answer_timeout, codes_per_second, guard, metrics, clock } =
            parts;
        // Before anybody can change the store: an epoch that has just begun would look like one that is missing.
        let folder = guard.folder().display().to_string();
        let guard = Arc::new(guard);
        let guarded = guard.at_start(store.outbox().epoch().await?).await;
        let guarded = guarded
            .map_err(|error| StoreError::Unavailable(format!("[tokens] guard_folder {folder}: {error}")))?;
        Ok(Arc::new(Self {
            store,
            api,
            late_after,
            answer_timeout,
            repeat_unreadable: policy.repeat_unreadable,
            guard,
            metrics,
            clock,
            planner: Mutex::new(Planner::new(policy)),
            gate: Gate::new(policy.per_second),
            wake: Notify::new(),
            news: Notify::new(),
            rounds: Mutex::default(),
            waiters: Mutex::default(),
            arriving: tokio::sync::Mutex::default(),
            last_resort: Mutex::default(),
            guarded: AtomicBool::new(guarded),
            codes: Codes::new(codes_per_second),
            stopping: watch::Sender::new(None),
            unrecorded: AtomicUsize::new(0),
        }))
    }

    /// How it stands now. Looks at every account.
    pub fn standing(&self) -> TokenStatus {
        TokenStatus {
            configured: self.api.is_some(),
            guarded: self.is_guarded(),
            overview: self.planner().overview(self.moment()),
            unrecorded: self.unrecorded.load(Ordering::Relaxed),
            codes: self.codes.under_way(),
        }
    }

    /// When an account's tokens are tried next.
    pub fn next_try(&self, number: u32) -> Option<Millis> {
        let now = self.moment();
        self.api.as_ref().and_then(|_| self.planner().next_try(number, now))
    }

    /// Reads the clocks at once, for tests that move them; the machine's are read once a minute at least.
    #[doc(hidden)]
    pub fn look_at_the_clock(&self) {
        self.wake.notify_one();
        self.rounds().all();
        self.news.notify_one();
    }

    /// The operator says that this store is the one to go on with, though it is an older copy.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn accept_restored(&self) -> Result<(), StoreError> {
        let seen = self.guard.noted_epoch().await.unwrap_or(0);
        let epoch = self.store.outbox().raise_epoch(seen).await?;
        let noted = self.guard.note(epoch).await;
        noted.map_err(|error| {
            StoreError::Unavailable(format!("{}: {error}", self.guard.folder().display()))
        })?;
        self.guard.lift().await;
        self.guarded.store(false, Ordering::Release);
        tracing::warn!("the restored store was accepted; refreshes go on");
        self.wake.notify_one();
        Ok(())
    }

    fn now(&self) -> Millis {
        self.moment().wall
    }

    fn is_guarded(&self) -> bool {
        self.guarded.load(Ordering::Acquire)
    }

    fn planner(&self) -> MutexGuard<'_, Planner> {
        self.planner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Moment {
        (self.clock.0)()
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to tell of the account.
    fn changed(&self, number: u32) {
        self.rounds().changed(number);
        self.news.notify_one();
    }

    fn last_resort(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.last_resort.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits the answer to a request that may replace a token or spend a code, however late it is; `late` is told when it is.
    /// Nothing when the daemon has to end before.
    async fn hear_out<T>(&self, sent: impl Future<Output = T>, late: impl FnOnce()) -> Option<T> {
        let mut sent = std::pin::pin!(sent);
        let awaited = async {
            if let Ok(heard) = tokio::time::timeout(self.late_after, &mut sent).await {
                return heard;
            }
            late();
            sent.await
        };
        self.until_the_end(awaited).await
    }

    /// Nothing when the daemon has to end first.
    async fn until_the_end<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let end = async {
            let mut stopping = self.stopping.subscribe();
            let end = stopping.wait_for(Option::is_some).await.ok().and_then(|end| *end);
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = wait => Some(done),
            () = end => None,
        }
    }

    /// Plans an account anew, as the store has it now.
    async fn replan(&self, number: u32) -> Result<(), StoreError> {
        let found = self.store.links().token_record(number).await?;
        let now = self.moment();
        match found {
            Some(found) => self.planner().plan(number, &found.record, now, random()),
            None => self.planner().remove(number, now),
        }
        self.changed(number);
        Ok(())
    }

    /// Resolves with the decision over the account's next answer; with none when its tokens changed meanwhile.
    fn wait_for(&self, number: u32) -> oneshot::Receiver<Option<Decision>> {
        let (told, tell) = oneshot::channel();
        let mut waiters = self.waiters();
        let waiting = waiters.entry(number).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(told);
        tell
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<u32, Vec<oneshot::Sender<Option<Decision>>>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_waiters(&self, number: u32, decision: Option<Decision>) {
        let waiting = self.waiters().remove(&number);
        for waiter in waiting.into_iter().flatten() {
            // Who has gone needs no answer.
            let _ = waiter.send(decision);
        }
    }
}
