//! The schedule of the running daemon: the planner over all accounts, the clocks it reads, and who waits for what it decides.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::clock::{self, RingClock};
use crate::domain::access_token::Reason;
use crate::domain::heard::Heard;
use crate::domain::refresh::{Decision, Moment, Next, Planner, Policy, Rounds};
use crate::domain::time::Millis;
use crate::randomness::random;
use crate::store::{Access, Store, StoreError};

/// Accounts that are read at once at start.
const PAGE: usize = 4096;
/// The same of accounts that are paced anew at once.
const PAGE_OF_NUMBERS: u32 = 4096;
/// A call to Ring that would have to wait longer is given up; whoever makes it comes again.
const LONGEST_CALL_WAIT: Duration = Duration::from_secs(10);

/// Both clocks, as the token service reads them.
pub struct Clock {
    read: Box<dyn Fn() -> Moment + Send + Sync>,
    /// Nothing where the wall clock is right beyond doubt.
    ring: Option<RingClock>,
}

impl Clock {
    /// Another one than the machine's, for tests. Its ticks never go back.
    pub fn new(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), ring: None }
    }

    /// The machine's, whose ticks begin now. The wall clock is set right by what is heard of Ring's, because a record on disk that was
    /// dated by a wrong clock would look young to another one, and its token would die unnoticed.
    pub fn of_the_machine(ring: RingClock) -> Self {
        let (started, right) = (clock::ticks(), ring.clone());
        let read = move || Moment { wall: right.awake(), ticks: clock::ticks() - started };
        Self { ring: Some(ring), ..Self::new(read) }
    }

    /// Whether nothing in this run has told the time but the machine.
    fn is_unproven(&self) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.offset().is_none())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

type Waiters = HashMap<u32, Vec<oneshot::Sender<Option<Decision>>>>;

/// The planner, and what goes on around it.
#[derive(Debug)]
pub(super) struct Schedule {
    store: Store,
    clock: Clock,
    planner: Mutex<Planner>,
    rounds: Mutex<Rounds>,
    /// Workers that wait for the refresh of an account to come out.
    waiters: Mutex<Waiters>,
    /// Told when there may be something to do.
    pub wake: Notify,
    /// Told when there may be something to tell people.
    pub news: Notify,
}

impl Schedule {
    pub(super) fn new(store: Store, policy: Policy, clock: Clock) -> Self {
        Self {
            store,
            clock,
            planner: Mutex::new(Planner::new(policy)),
            rounds: Mutex::default(),
            waiters: Mutex::default(),
            wake: Notify::new(),
            news: Notify::new(),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        (self.clock.read)()
    }

    pub(super) fn now(&self) -> Millis {
        self.moment().wall
    }

    pub(super) fn planner(&self) -> MutexGuard<'_, Planner> {
        self.planner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by another policy from now on; where its pace is another, each account comes due by that.
    pub(super) async fn set_policy(&self, policy: Policy, has_other_client: bool) {
        let has_other_pace = {
            let mut planner = self.planner();
            if has_other_client {
                planner.client_changed(self.moment());
            }
            planner.set_policy(policy, self.moment())
        };
        if has_other_pace {
            self.pace_anew().await;
        }
        self.rounds().all();
        self.wake.notify_one();
        self.news.notify_one();
    }

    /// In steps, because whoever asks for a token waits for the same lock.
    async fn pace_anew(&self) {
        let mut from = 0;
        loop {
            let all = self.planner().numbers();
            if from >= all {
                return;
            }
            let until = all.min(from + PAGE_OF_NUMBERS);
            self.planner().pace_anew(from..until, self.moment(), random);
            from = until;
            tokio::task::yield_now().await;
        }
    }

    /// What to do now.
    pub(super) fn next(&self) -> Next {
        let (now, mut planner) = (self.moment(), self.planner());
        if self.clock.is_unproven() {
            planner.ask_the_time(now);
        }
        planner.next(now)
    }

    /// There may be something to tell of the account.
    pub(super) fn changed(&self, number: u32) {
        self.rounds().changed(number);
        self.news.notify_one();
    }

    /// Plans every account that is not planned yet.
    pub(super) async fn plan_all(&self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let page = self.store.links().token_records(after, PAGE).await?;
            let now = self.moment();
            let mut planner = self.planner();
            for found in &page {
                if !planner.knows(found.number, &found.record) {
                    planner.plan(found.number, &found.record, now, random());
                }
            }
            match page.last() {
                Some(last) => after = last.number,
                None => break,
            }
        }
        // Who asked before an account was planned waits for it all the same.
        let waited_for: Vec<u32> = self.waiters().keys().copied().collect();
        let now = self.moment();
        for number in waited_for {
            // One whose last try failed comes in its own time.
            let _ = self.planner().ask(number, now);
        }
        Ok(())
    }

    /// Plans an account anew, as the store has it now.
    pub(super) async fn replan(&self, number: u32) -> Result<(), StoreError> {
        let found = self.store.links().token_record(number).await?;
        let now = self.moment();
        match found {
            Some(found) => self.planner().plan(number, &found.record, now, random()),
            None => self.planner().remove(number, now),
        }
        self.changed(number);
        Ok(())
    }

    /// Plans an account that was put in a moment ago, or before the schedule was read.
    pub(super) async fn plan_if_new(&self, number: u32) -> Result<(), StoreError> {
        let Some(found) = self.store.links().token_record(number).await? else { return Ok(()) };
        let (now, mut planner) = (self.moment(), self.planner());
        if !planner.knows(number, &found.record) {
            planner.plan(number, &found.record, now, random());
        }
        Ok(())
    }

    /// Brings an account's refresh forward.
    ///
    /// # Errors
    /// How long until it is tried again, where its last try failed.
    pub(super) fn ask(&self, number: u32) -> Result<(), Duration> {
        let asked = self.planner().ask(number, self.moment());
        self.wake.notify_one();
        asked
    }

    /// How long the access token may still be used: never longer than OAuth gave it, by whichever clock is worse.
    pub(super) fn access_left(&self, access: &Access) -> Duration {
        let now = self.moment();
        match self.planner().access_left(access.number, now) {
            Some(by_ticks) => by_ticks.min(access.span.left_at_most(now.wall)),
            None => access.span.left(now.wall),
        }
    }

    /// Waits until the schedule has room for a request that is no refresh; not for long.
    pub(super) async fn permit_call(&self) -> bool {
        loop {
            let taken = self.planner().take_call(self.moment());
            match taken {
                Ok(()) => return true,
                Err(wait) if wait > LONGEST_CALL_WAIT => return false,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Why nobody's tokens are refreshed at present, if so, and how long that lasts at least.
    pub(super) fn trouble(&self) -> Option<(Reason, Duration)> {
        self.planner().trouble(self.moment())
    }

    /// Why the account's last try brought no tokens, where that is no fault of everybody's.
    pub(super) fn why_failing(&self, number: u32) -> Reason {
        self.planner().why_failing(number)
    }

    /// Ring asks us to send nothing for a while, and may say for how long.
    pub(super) fn throttled(&self, retry_after: Option<Duration>) {
        self.planner().heard(Heard::throttled(retry_after), self.moment(), random());
    }

    /// Resolves with the decision over the account's next answer; with none when its tokens changed meanwhile.
    pub(super) fn wait_for(&self, number: u32) -> oneshot::Receiver<Option<Decision>> {
        let (told, tell) = oneshot::channel();
        let mut waiters = self.waiters();
        let waiting = waiters.entry(number).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(told);
        tell
    }

    pub(super) fn tell_waiters(&self, number: u32, decision: Option<Decision>) {
        let waiting = self.waiters().remove(&number);
        for waiter in waiting.into_iter().flatten() {
            // Who has gone needs no answer.
            let _ = waiter.send(decision);
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
