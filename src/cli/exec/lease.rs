//! The queue as a reader that runs commands sees it: an event at a time, its lease kept while the command runs.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::cli::client::{Client, Unanswered, encoded};
use crate::cli::failure::Failure;
use crate::clock;
use crate::domain::backoff::Backoff;
use crate::randomness;

/// Between two tries to reach the daemon.
const AGAIN: Backoff = Backoff { least: Duration::from_millis(100), most: Duration::from_secs(5) };
/// How long a call that waits for nothing may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
struct Answer {
    lease: Option<String>,
    events: Vec<Leased>,
    paused_since: Option<String>,
}

/// A leased event.
#[derive(Debug, Deserialize)]
pub(super) struct Leased {
    seq: u64,
    pub(super) attempt: u32,
    /// Events of one account are never leased twice at a time.
    pub(super) account: Option<String>,
    pub(super) event: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Settled {
    lost: u64,
}

/// An event that is ours until `sure`, and longer if the lease is kept.
#[derive(Debug)]
pub(super) struct Taken {
    lease: String,
    sure: Instant,
    pub(super) event: Leased,
}

/// One queue of the daemon, which may go and come back.
#[derive(Debug)]
pub(super) struct Queue {
    daemon: Client,
    path: String,
    user: Option<String>,
    /// How long a lease lasts.
    life: Duration,
    /// Since when it is paused, as the daemon said last.
    paused: Mutex<Option<String>>,
}

impl Queue {
    pub(super) fn new(daemon: &Client, name: &str, user: Option<&str>, life: Duration) -> Self {
        let path = format!("/v1/queues/{}", encoded(name));
        let paused = Mutex::default();
        Self { daemon: daemon.clone(), path, user: user.map(str::to_owned), life, paused }
    }

    /// Leases an event, or nothing after `wait`. A daemon that can't be reached is tried again, for `at_most` where that is
    /// given. When this is dropped, the daemon takes back what it has not sent; a lease that is on its way runs out.
    pub(super) async fn take(
        &self,
        wait: Duration,
        at_most: Option<Duration>,
    ) -> Result<Option<Taken>, Failure> {
        let body = json!({
            "max": 1, "visibility_ms": millis(self.life), "wait_ms": millis(wait), "user": self.user,
        });
        let give_up = at_most.map(|at_most| clock::ticks() + at_most);
        let mut failures = 0;
        loop {
            let asked = clock::ticks();
            let failure = match self.ask("lease", &body, PATIENCE + wait).await {
                Ok(Answer { lease: Some(lease), events, .. }) => {
                    self.note_pause(None);
                    let event = events.into_iter().next();
                    let event = event.ok_or_else(|| Failure::no("the daemon leased nothing"))?;
                    self.back(failures);
                    return Ok(Some(Taken { lease, sure: clock::ticks() + self.life, event }));
                }
                Ok(Answer { lease: None, paused_since, .. }) => {
                    self.note_pause(paused_since);
                    self.back(failures);
                    // A daemon that stops lets nobody wait.
                    if clock::ticks() < asked + wait.min(AGAIN.least) {
                        sleep(AGAIN.least).await;
                    }
                    return Ok(None);
                }
                Err(Unanswered::Refused(status, failure)) if !passes(status) => return Err(failure),
                Err(unanswered) => Failure::from(unanswered),
            };
            failures += 1;
            if failures == 1 {
                eprintln!("ringhookd: {failure}; trying again");
            }
            let pause = AGAIN.wait(failures, randomness::random());
            if give_up.is_some_and(|give_up| clock::ticks() + pause >= give_up) {
                return Err(failure);
            }
            sleep(pause).await;
        }
    }

    /// Since when the queue is paused, as the daemon said last.
    pub(super) fn paused_since(&self) -> Option<String> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_pause(&self, since: Option<String>) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn back(&self, failures: u32) {
        if failures > 0 {
            eprintln!("ringhookd: the daemon at {} is there again", self.daemon.socket().display());
        }
    }

    /// Keeps the lease, and comes back when it is lost, or soon will be: the last quarter of its life is for ending what
    /// works under it.
    pub(super) async fn keep(&self, taken: &Taken) {
        let body = json!({"lease": taken.lease, "visibility_ms": millis(self.life)});
        let mut sure = taken.sure;
        let mut next = clock::ticks();
        let mut failures = 0;
        loop {
            let end = sure.checked_sub(self.life / 4).unwrap_or(sure);
            if clock::ticks() >= end {
                return;
            }
            sleep_until(next.min(end)).await;
            let asked = clock::ticks();
            match timeout_at(end, self.ask::<Value>("extend", &body, PATIENCE)).await {
                Ok(Ok(_)) => (sure, next, failures) = (asked + self.life, asked + self.life / 3, 0),
                Ok(Err(Unanswered::Refused(status, _))) if !passes(status) => return,
                Ok(Err(_)) => {
                    failures += 1;
                    next = clock::ticks() + AGAIN.wait(failures, randomness::random());
                }
                Err(_) => return,
            }
        }
    }

    /// Tells what became of the event; false when the lease was lost before, or the daemon can't be told in time.
    pub(super) async fn settle(&self, taken: &Taken, outcome: &Value) -> bool {
        let mut outcome = outcome.clone();
        outcome["lease"] = taken.lease.as_str().into();
        let give_up = clock::ticks() + self.life;
        let mut failures = 0;
        loop {
            match self.ask("settle", &outcome, PATIENCE).await {
                Ok(Settled { lost }) => return lost == 0,
                Err(Unanswered::Refused(status, _)) if !passes(status) => return false,
                Err(_) => failures += 1,
            }
            let pause = AGAIN.wait(failures, randomness::random());
            if clock::ticks() + pause >= give_up {
                return false;
            }
            sleep(pause).await;
        }
    }

    /// An answer that does not come is a daemon that is not there.
    fn ask<'a, T: serde::de::DeserializeOwned + 'a>(
        &'a self,
        call: &str,
        body: &'a Value,
        patience: Duration,
    ) -> impl Future<Output = Result<T, Unanswered>> + 'a {
        let path = format!("{}/{call}", self.path);
        async move {
            let answer = timeout(patience, self.daemon.ask(&path, body)).await;
            answer.unwrap_or_else(|_| Err(Unanswered::Gone(Failure::no("the daemon does not answer"))))
        }
    }
}

impl Taken {
    pub(super) fn acknowledged(&self) -> Value {
        json!({"ack": [self.event.seq]})
    }

    pub(super) fn failed(&self, delay: Duration, why: &str) -> Value {
        let nack = json!({"seq": self.event.seq, "delay_ms": millis(delay), "why": why});
        json!({"nack": [nack]})
    }

    pub(super) fn returned(&self) -> Value {
        json!({"return": [self.event.seq]})
    }

    pub(super) fn later(&self, delay: Duration) -> Value {
        json!({"return": [{"seq": self.event.seq, "delay_ms": millis(delay)}]})
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a refusal is of the moment.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}
