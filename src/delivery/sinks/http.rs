//! Kind `http`: one `POST` per event to a receiver of the operator's; docs/HTTP.md is the contract with receivers.
//!
//! ```text
//! events ─▶ a lane per account ─▶ POST, one at a time in a lane, `parallel` in the queue ─▶ answer
//!                                    │ 2xx: Done, and the next of the lane
//!                                    │ this event is refused: Failed, and its lane ends
//!                                    └ the receiver can't: Busy, and nothing more begins in any lane
//! ```
//!
//! A delivery begins nothing after `TURN`: what it did not come to is given back, so that a slow receiver neither makes it overdue
//! nor keeps from other leases what an account got meanwhile.

mod answer;
mod request;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use self::answer::{Answer, Obstacle, Words};
use self::request::Requests;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::http_client::{self, Client, Failure, Limits, TlsError};
use crate::store::Leased;

/// After this a delivery begins no further request.
const TURN: Duration = Duration::from_secs(5);
/// For resolving the name, connecting and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// Below the 5 s after which many servers close an idle connection, so that few requests meet one that is being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Four of these in a row without an answer, and the connection is given up: well within 30 s.
const ALIVE: Duration = Duration::from_secs(6);
const STUCK: Duration = Duration::from_secs(24);
/// Bytes of an answer that are read: its head, its body.
const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 4 << 10;
/// So long the rest of a good answer is awaited, to use its connection again.
const DRAIN: Duration = Duration::from_secs(1);

/// Why there can be no such sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("bearer_file: the token can't stand in a header")]
    Bearer,
}

/// The sink of one queue.
#[derive(Debug)]
pub struct Http(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For log lines.
    queue: QueueName,
    client: Client,
    requests: Requests,
    words: Words,
    timeout: Duration,
    permits: Semaphore,
    /// The last answer was that the receiver wants no more.
    gone: AtomicBool,
}

impl Http {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`], in words for the operator.
    pub fn new(
        queue: &QueueName,
        options: config::HttpQueue,
        format: Format,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, SettingsError> {
        let config::HttpQueue { url, timeout, parallel } = options;
        let config::ReceiverSecrets { keys, bearer, ca_pem } = secrets;
        let tls = http_client::trusting(ca_pem.as_deref(), url.uri().scheme_str() == Some("https"))?;
        let limits = Limits {
            connect: CONNECT.min(timeout),
            idle: IDLE,
            max_idle: parallel,
            alive: ALIVE,
            stuck: Some(STUCK),
            repeat_unsent: true,
            max_head: Some(MAX_HEAD),
        };
        let words = Words::new(&url, &keys, bearer.as_ref());
        let requests = Requests::new(url, format, keys, bearer).ok_or(SettingsError::Bearer)?;
        Ok(Self(Arc::new(Inner {
            queue: queue.clone(),
            client: http_client::client(tls, &limits),
            requests,
            words,
            timeout,
            permits: Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS)),
            gone: AtomicBool::new(false),
        })))
    }
}

impl Sink for Http {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        let round = Arc::new(Round { until: clock::ticks() + TURN, ..Round::default() });
        // Dropped with this future, they end with it.
        let mut lanes = JoinSet::new();
        for lane in lanes_of(&events) {
            let (inner, events, round) = (Arc::clone(&self.0), Arc::clone(&events), Arc::clone(&round));
            lanes.spawn(async move { inner.lane(&events, lane, &round).await });
        }
        let mut answers: Vec<Option<Answer>> = vec![None; events.len()];
        while let Some(lane) = lanes.join_next().await {
            match lane {
                Ok(lane) => lane.into_iter().for_each(|(at, answer)| answers[at] = Some(answer)),
                Err(panic) => round.stop(Obstacle::brief(format!("it panicked: {panic}"))),
            }
        }
        round.verdicts(answers)
    }
}

/// The places of each account's events, in their order.
fn lanes_of(events: &[Leased]) -> Vec<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    let mut known = HashMap::new();
    for (at, leased) in events.iter().enumerate() {
        let lane = *known.entry(leased.event.account.as_ref()).or_insert(lanes.len());
        if lane == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[lane].push(at);
    }
    lanes
}

impl Inner {
    /// Sends what one account has until something is not taken.
    async fn lane(&self, events: &[Leased], lane: Vec<usize>, round: &Round) -> Vec<(usize, Answer)> {
        let mut answers = Vec::with_capacity(lane.len());
        for at in lane {
            let Some(_permit) = round.begin(&self.permits).await else { break };
            let answer = self.post(&events[at]).await;
            self.note(&answer, round);
            let taken = answer == Answer::Taken;
            answers.push((at, answer));
            if !taken {
                break;
            }
        }
        answers
    }

    async fn post(&self, leased: &Leased) -> Answer {
        let deadline = clock::ticks() + self.timeout;
        let request = self.requests.of(leased, clock::now());
        let sent = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => Err(Failure::no_answer_in_time()),
        };
        let (head, mut body) = match sent {
            Ok(answer) => answer.into_parts(),
            Err(failure) => return self.words.unanswered(&failure),
        };
        if head.status.is_success() {
            // The status is the confirmation; the rest only frees the connection.
            read(&mut body, deadline.min(clock::ticks() + DRAIN)).await;
            return Answer::Taken;
        }
        let body = read(&mut body, deadline).await;
        self.words.answered(head.status, &head.headers, &body, clock::now())
    }

    /// Tells the round, and once the log where the receiver wants no more.
    fn note(&self, answer: &Answer, round: &Round) {
        match answer {
            Answer::Taken => {
                round.taken.fetch_add(1, Ordering::Relaxed);
                if self.gone.swap(false, Ordering::Relaxed) {
                    info!(queue = %self.queue, "the receiver takes events again");
                }
            }
            Answer::Hindered(obstacle) => {
                if obstacle.gone && !self.gone.swap(true, Ordering::Relaxed) {
                    error!(queue = %self.queue, why = obstacle.why, "the queue is stopped");
                }
                round.stop(obstacle.clone());
            }
            Answer::Refused { .. } | Answer::Broken { .. } => {}
        }
    }
}

/// The part of `body` that comes until `deadline`, or before it breaks; at most [`MAX_BODY`] bytes.
async fn read(body: &mut Incoming, deadline: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < MAX_BODY
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let piece: Bytes = frame.into_data().unwrap_or_default();
        let room = MAX_BODY - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    all
}

/// The state that the lanes of one delivery share.
#[derive(Debug)]
struct Round {
    until: Instant,
    /// Events that the receiver took.
    taken: AtomicUsize,
    obstacle: Mutex<Option<Obstacle>>,
}

impl Default for Round {
    fn default() -> Self {
        Self { until: clock::ticks(), taken: AtomicUsize::new(0), obstacle: Mutex::default() }
    }
}

impl Round {
    /// The right to one request; nothing once no more may begin.
    async fn begin<'p>(&self, permits: &'p Semaphore) -> Option<SemaphorePermit<'p>> {
        let permit = timeout_at(self.until, permits.acquire()).await.ok()?.ok()?;
        (self.obstacle().is_none() && clock::ticks() < self.until).then_some(permit)
    }

    /// Nothing more begins. Of several obstacles the one that lasts longest counts.
    fn stop(&self, obstacle: Obstacle) {
        let mut known = self.obstacle();
        if known.as_ref().is_none_or(|known| known.retry_after < obstacle.retry_after) {
            *known = Some(obstacle);
        }
    }

    fn obstacle(&self) -> MutexGuard<'_, Option<Obstacle>> {
        self.obstacle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A receiver that breaks (500) breaks at this event where it takes others. Where it takes none and breaks at several accounts'
    /// events, or is hindered besides, it is broken, and no event is to blame.
    fn verdicts(&self, answers: Vec<Option<Answer>>) -> Vec<Verdict> {
        let broken = |answer: &&Answer| matches!(answer, Answer::Broken { .. });
        let broken: Vec<&Answer> = answers.iter().flatten().filter(broken).collect();
        let none_taken = self.taken.load(Ordering::Relaxed) == 0;
        if none_taken
            && (broken.len() > 1 || self.obstacle().is_some())
            && let Some(Answer::Broken { why }) = broken.first()
        {
            self.stop(Obstacle::brief(broken_for_all(why, broken.len())));
        }
        let obstacle = self.obstacle().take();
        let busy =
            || obstacle.as_ref().map(|o| Verdict::Busy { retry_after: o.retry_after, why: o.why.clone() });
        let is_to_blame = obstacle.is_none() || !none_taken;
        let verdict = |answer| match answer {
            Some(Answer::Taken) => Verdict::Done,
            Some(Answer::Refused { why }) => Verdict::Failed { why },
            Some(Answer::Broken { why }) if is_to_blame => Verdict::Failed { why },
            Some(Answer::Broken { .. } | Answer::Hindered(_)) | None => busy().unwrap_or(Verdict::Untried),
        };
        answers.into_iter().map(verdict).collect()
    }
}

/// `why` is of the first of so many.
fn broken_for_all(why: &str, accounts: usize) -> String {
    match accounts {
        1 => why.to_owned(),
        _ => format!("{why} (for each of {accounts} accounts, so no event is to blame)"),
    }
}

#[cfg(test)]
mod tests;
