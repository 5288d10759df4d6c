//! The task of one queue: leases what is due, hands it to the sink, settles what became of it.
//!
//! ```text
//!            ┌──────────────────────────── lands ───────────────────────────┐
//!            ▼                                                              │
//! waiting ─event─▶ leasing ─▶ in flight (deliver, settle; the lease is kept alive)
//!            ▲        │             └─ sink busy ─┐
//!            │        └─ store fails ─────────────┤
//!            └── one lease as a probe ◀── pause ◀─┘
//! a queue with a limit leases as many events as may go now
//! stop: no new lease; what is in flight may land until the deadline, the rest is given back
//! ```

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::pace::Pace;
use super::verdicts::{Busy, plan};
use super::{Options, Sink, State, Verdict};
use crate::domain::backoff::LONGEST_RETRY_AFTER;
use crate::domain::ids::QueueName;
use crate::domain::time::Millis;
use crate::store::{Lease, LeaseRequest, Leased, Outcome, Queues, Scope, StoreError};
use crate::{clock, failpoint, logging};

/// How often a queue is looked at when nothing says that it changed.
const IDLE: Duration = Duration::from_mins(1);
/// Between two looks at a queue whose next change is due but has not come: the store frees a lease that ran out on its
/// own tick.
const CLOSE: Duration = Duration::from_millis(50);

/// Delivers one queue through one sink.
#[derive(Debug)]
pub struct Dispatcher<S> {
    queues: Queues,
    queue: QueueName,
    sink: Arc<S>,
    options: Arc<Options>,
    state: watch::Sender<State>,
    pause: Pause,
    pace: Pace,
    /// Until then its limit lets nothing more go, and something waits.
    limited_until: Option<Instant>,
}

/// Why and until when nothing is leased.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// Pauses since something was last delivered.
    row: u32,
}

/// How a delivery ended.
enum Landing {
    Settled,
    /// Some of it was settled, and the sink takes no more.
    Busy(Busy),
    /// It could not be settled, and comes again.
    Unsettled(StoreError),
    /// The deadline of the stop cut it off.
    Cut,
}

impl<S: Sink> Dispatcher<S> {
    pub fn new(queues: Queues, queue: QueueName, sink: S, options: Options) -> Self {
        Self {
            queues,
            queue,
            sink: Arc::new(sink),
            pace: Pace::new(options.events_per_second),
            options: Arc::new(options),
            state: watch::Sender::new(State::Delivering),
            pause: Pause::default(),
            limited_until: None,
        }
    }

    /// The queue that it delivers.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// How it stands, now and later.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Delivers until `stop` resolves, and then lets what is in flight end until the time that `stop` gave; the rest is
    /// given back to the queue. Returns how many deliveries that time cut off.
    pub async fn run(mut self, stop: impl Future<Output = Instant> + Send) -> usize {
        let (cut, cut_at) = watch::channel(None);
        let mut flights = JoinSet::new();
        let mut stop = pin!(stop);
        let sink = Arc::clone(&self.sink);
        let mut attending = pin!(sink.attend());
        let deadline = loop {
            let notify = self.queues.wake(&self.queue).unwrap_or_default();
            // Before the look at the queue, so that no change between the two is missed.
            let woken = notify.notified();
            self.fill(&mut flights, &cut_at).await;
            let in_flight = flights.len();
            tokio::select! {
                biased;
                deadline = &mut stop => break deadline,
                Some(landed) = flights.join_next() => { self.landed(landed); }
                () = self.until_due(woken, in_flight) => {}
                never = &mut attending => match never {},
            }
        };
        cut.send_replace(Some(deadline));
        let mut cut_off = 0;
        while let Some(landed) = flights.join_next().await {
            cut_off += usize::from(self.landed(landed));
        }
        self.state.send_replace(State::Stopped);
        cut_off
    }

    /// Leases and starts deliveries as far as the options, a pause and the limit allow.
    async fn fill(&mut self, flights: &mut JoinSet<Landing>, cut: &watch::Receiver<Option<Instant>>) {
        self.limited_until = None;
        while flights.len() < self.most_in_flight() {
            if self.pause.until.is_some_and(|until| clock::ticks() < until) {
                return;
            }
            let most = match self.pace.take(self.options.max_events) {
                Ok(most) => most,
                Err(wait) => return self.limit_reached(wait),
            };
            let leased = self.lease(most).await;
            let taken = leased.as_ref().map_or(0, |lease| lease.as_ref().map_or(0, |l| l.events.len()));
            self.pace.give_back(most.saturating_sub(taken));
            match leased {
                // Nothing in it could be read; the store sees to those.
                Ok(Some(lease)) if lease.events.is_empty() => {}
                Ok(Some(lease)) => _ = flights.spawn(self.flight(lease).run(cut.clone())),
                Ok(None) => return self.keeps_up(),
                Err(error) => self.store_fails(&error),
            }
        }
    }

    fn limit_reached(&mut self, wait: Duration) {
        if !self.queues.has_free(&self.queue) {
            return self.keeps_up();
        }
        self.limited_until = Some(clock::ticks() + wait);
        let why = self.pace.words();
        self.state.send_if_modified(|state| {
            let is_new = *state == State::Delivering;
            if is_new {
                *state = State::Limited { since: clock::now(), why };
            }
            is_new
        });
    }

    /// Nothing waits for the limit.
    fn keeps_up(&self) {
        self.state.send_if_modified(|state| {
            let was_limited = matches!(state, State::Limited { .. });
            if was_limited {
                *state = State::Delivering;
            }
            was_limited
        });
    }

    /// After a pause one delivery goes ahead, to see.
    fn most_in_flight(&self) -> usize {
        if self.pause.row > 0 { 1 } else { self.options.in_flight.max(1) }
    }

    async fn lease(&self, most: usize) -> Result<Option<Lease>, StoreError> {
        let now = clock::now();
        let request = LeaseRequest {
            max_events: most,
            max_bytes: self.options.max_bytes,
            until: now.plus(self.options.lease),
            scope: Scope::default(),
        };
        self.queues.lease(&self.queue, &request, now).await
    }

    fn flight(&self, lease: Lease) -> Flight<S> {
        Flight {
            queues: self.queues.clone(),
            queue: self.queue.clone(),
            sink: Arc::clone(&self.sink),
            options: Arc::clone(&self.options),
            lease: lease.id,
            events: lease.events.into(),
        }
    }

    /// Waits until there may be something to lease.
    async fn until_due(&self, woken: Notified<'_>, in_flight: usize) {
        if let Some(until) = self.pause.until.filter(|&until| clock::ticks() < until) {
            return sleep_until(until).await;
        }
        if in_flight >= self.most_in_flight() {
            return std::future::pending().await;
        }
        if let Some(until) = self.limited_until {
            return sleep_until(until).await;
        }
        let change = self.queues.next_change(&self.queue).map(|at| at.since(clock::now()));
        let _ = timeout(change.unwrap_or(IDLE).clamp(CLOSE, IDLE), woken).await;
    }

    /// Notes how a delivery ended; whether the stop cut it off.
    fn landed(&mut self, landed: Result<Landing, JoinError>) -> bool {
        match landed {
            Ok(Landing::Settled) => self.delivers(),
            Ok(Landing::Busy(busy)) => self.sink_is_busy(busy),
            Ok(Landing::Unsettled(error)) => self.store_fails(&error),
            Ok(Landing::Cut) => return true,
            Err(panic) => {
                error!(queue = %self.queue, %panic, "the sink panicked; its events come again when their lease ends");
                self.sink_is_busy(Busy { retry_after: None, why: "it panicked".to_owned() });
            }
        }
        false
    }

    fn delivers(&mut self) {
        if self.pause.row > 0 && self.pause.until.is_none_or(|until| clock::ticks() >= until) {
            self.pause = Pause::default();
            info!(queue = %self.queue, "delivering again");
            self.state.send_replace(State::Delivering);
        }
    }

    fn sink_is_busy(&mut self, Busy { retry_after, why }: Busy) {
        self.pause(retry_after);
        self.stalls(why, |since, why| State::SinkBusy { since, why });
    }

    fn store_fails(&mut self, error: &StoreError) {
        self.pause(None);
        self.stalls(error.to_string(), |since, why| State::StoreFailing { since, why });
    }

    /// Deliveries that end during a pause don't make the next one longer: they began before it.
    fn pause(&mut self, after: Option<Duration>) {
        let now = clock::ticks();
        if self.pause.until.is_some_and(|until| now < until) {
            return;
        }
        self.pause.row = self.pause.row.saturating_add(1);
        let Options { pause, random, .. } = &*self.options;
        let wait = after.map(|after| after.clamp(pause.least, LONGEST_RETRY_AFTER.max(pause.least)));
        self.pause.until = Some(now + wait.unwrap_or_else(|| pause.wait(self.pause.row, random())));
    }

    fn stalls(&self, why: String, state: fn(Millis, String) -> State) {
        let since = match &*self.state.borrow() {
            State::SinkBusy { since, .. } | State::StoreFailing { since, .. } => *since,
            State::Delivering | State::Limited { .. } | State::Stopped => clock::now(),
        };
        let shown = logging::text(&why).to_string();
        let after = state(since, why);
        let name = after.name();
        if self.state.send_replace(after).name() != name {
            warn!(queue = %self.queue, state = name.as_str(), why = shown, "nothing is delivered for now");
        }
    }
}

/// One lease on its way.
struct Flight<S> {
    queues: Queues,
    queue: QueueName,
    sink: Arc<S>,
    options: Arc<Options>,
    lease: u64,
    events: Arc<[Leased]>,
}

impl<S: Sink> Flight<S> {
    async fn run(self, mut cut: watch::Receiver<Option<Instant>>) -> Landing {
        let landing = {
            let mut work = pin!(self.deliver());
            let mut cut = pin!(until_cut(&mut cut));
            loop {
                tokio::select! {
                    biased;
                    landing = &mut work => break landing,
                    () = &mut cut => break Landing::Cut,
                    () = sleep(self.options.lease / 3) => {
                        // A lease that is gone stays gone: its events come again.
                        self.queues.extend(&self.queue, self.lease, clock::now().plus(self.options.lease));
                    }
                }
            }
        };
        if let Landing::Cut = landing {
            let returned = self.events.iter().map(|event| (event.seq, Outcome::Returned)).collect();
            let _ = self.queues.settle(&self.queue, self.lease, returned).await;
        }
        landing
    }

    async fn deliver(&self) -> Landing {
        let delivery = self.sink.deliver(Arc::clone(&self.events));
        let verdicts = timeout(self.options.overdue, delivery).await.unwrap_or_else(|_| {
            let why = "it did not answer in time".to_owned();
            vec![Verdict::Busy { retry_after: None, why }; self.events.len()]
        });
        failpoint!("delivery.delivered");
        let plan = plan(&self.events, verdicts, clock::now(), &self.options);
        if let Err(error) = self.settle(plan.durable).await {
            return Landing::Unsettled(error);
        }
        // Costs no commit, so it does not fail.
        let _ = self.queues.settle(&self.queue, self.lease, plan.returned).await;
        plan.busy.map_or(Landing::Settled, Landing::Busy)
    }

    /// Tries on while the store only has too much to do. After any other error it is read anew from the disk, which
    /// ends all leases.
    async fn settle(&self, outcomes: Vec<(u64, Outcome)>) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            match self.queues.settle(&self.queue, self.lease, outcomes.clone()).await {
                Err(StoreError::Busy) => tries += 1,
                settled => return settled.map(drop),
            }
            sleep(self.options.pause.wait(tries, (self.options.random)())).await;
        }
    }
}

/// Ends at the deadline of the stop, once there is one.
async fn until_cut(cut: &mut watch::Receiver<Option<Instant>>) {
    let at = cut.wait_for(Option::is_some).await.ok().and_then(|at| *at);
    match at {
        Some(at) => sleep_until(at).await,
        // The dispatcher is gone, and this task with it.
        None => std::future::pending().await,
    }
}
