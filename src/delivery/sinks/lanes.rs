//! One event of each account at a time, accounts beside each other: how a kind of queue delivers single events in order.
//!
//! ```text
//! events ─▶ a lane per account ─▶ one delivery at a time in a lane, `permits` in the queue ─▶ answer
//!                                    │ Taken, Refused: the next of the lane
//!                                    │ Failed, Broken: its lane ends
//!                                    └ Hindered: nothing more begins in any lane
//! ```
//!
//! A round begins nothing after `TURN`: the events that it did not come to are given back, so that a slow receiver neither makes
//! the lease overdue nor keeps from other leases what an account got meanwhile.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock;
use crate::delivery::Verdict;
use crate::store::Leased;

/// After this a round begins no further delivery.
const TURN: Duration = Duration::from_secs(5);

/// How one delivery came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The receiver has it.
    Taken,
    /// This event is not taken now, and may be later.
    Failed { why: String },
    /// This event can never be taken.
    Refused { why: String },
    /// The receiver breaks at this event, or at all.
    Broken { why: String },
    /// No event would fare better.
    Hindered(Obstacle),
}

impl Answer {
    /// Whether the next event of the account may be delivered.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self, Self::Taken | Self::Refused { .. })
    }
}

/// Why the receiver takes nothing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) retry_after: Option<Duration>,
    pub(super) why: String,
}

impl Obstacle {
    /// One that does not say how long it lasts.
    pub(super) fn brief(why: String) -> Self {
        Self { retry_after: None, why }
    }
}

/// Delivers single events.
pub(super) trait Post: Send + Sync + 'static {
    /// Delivers one event within a time of its own. The future may be dropped at any await.
    fn post(&self, leased: &Leased) -> impl Future<Output = Answer> + Send;

    /// One for each delivery that may be under way in the queue.
    fn permits(&self) -> &Semaphore;
}

/// Delivers a lease; one verdict for each event, in their order.
pub(super) async fn deliver<P: Post>(post: &Arc<P>, events: Arc<[Leased]>) -> Vec<Verdict> {
    let round = Arc::new(Round::begun());
    // Dropped with this future, they end with it.
    let mut lanes = JoinSet::new();
    for lane in lanes_of(&events) {
        let (post, events, round) = (Arc::clone(post), Arc::clone(&events), Arc::clone(&round));
        lanes.spawn(async move { run(&*post, &events, lane, &round).await });
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

/// The places of each account's events, in their order.
pub(super) fn lanes_of(events: &[Leased]) -> Vec<Vec<usize>> {
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

/// Delivers what one account has until something is not taken.
async fn run<P: Post>(post: &P, events: &[Leased], lane: Vec<usize>, round: &Round) -> Vec<(usize, Answer)> {
    let mut answers = Vec::with_capacity(lane.len());
    for at in lane {
        let Some(_permit) = round.begin(post.permits()).await else { break };
        let answer = post.post(&events[at]).await;
        round.note(&answer);
        let goes_on = answer.goes_on();
        answers.push((at, answer));
        if !goes_on {
            break;
        }
    }
    answers
}

/// The state that the lanes of one lease's delivery share.
#[derive(Debug)]
pub(super) struct Round {
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
    pub(super) fn begun() -> Self {
        Self { until: clock::ticks() + TURN, ..Self::default() }
    }

    /// Whether another delivery may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.obstacle().is_none() && clock::ticks() < self.until
    }

    /// When nothing more begins.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// The right to one delivery; nothing once no more may begin.
    async fn begin<'p>(&self, permits: &'p Semaphore) -> Option<SemaphorePermit<'p>> {
        let permit = timeout_at(self.until, permits.acquire()).await.ok()?.ok()?;
        self.may_begin().then_some(permit)
    }

    pub(super) fn note(&self, answer: &Answer) {
        match answer {
            Answer::Taken => {
                self.taken.fetch_add(1, Ordering::Relaxed);
            }
            Answer::Hindered(obstacle) => self.stop(obstacle.clone()),
            Answer::Failed { .. } | Answer::Refused { .. } | Answer::Broken { .. } => {}
        }
    }

    /// Nothing more begins. Of several obstacles the one that lasts longest counts.
    pub(super) fn stop(&self, obstacle: Obstacle) {
        let mut known = self.obstacle();
        if known.as_ref().is_none_or(|known| known.retry_after < obstacle.retry_after) {
            *known = Some(obstacle);
        }
    }

    fn obstacle(&self) -> MutexGuard<'_, Option<Obstacle>> {
        self.obstacle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A receiver that breaks, breaks at this event where it takes others. Where it takes none and breaks at several accounts'
    /// events, or is hindered besides, it is broken, and no event is to blame.
    pub(super) fn verdicts(&self, answers: Vec<Option<Answer>>) -> Vec<Verdict> {
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
            Some(Answer::Failed { why }) => Verdict::Failed { why },
            Some(Answer::Refused { why }) => Verdict::Refused { why },
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

/// The answer to a post that has this long for its confirmation.
///
/// # Errors
/// Why nothing can be sent or confirmed now.
pub(super) async fn within(
    limit: Duration,
    post: impl Future<Output = Result<Answer, String>>,
) -> Result<Answer, String> {
    let late = || Err(format!("no confirmation within {} s", limit.as_secs()));
    timeout(limit, post).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Answer {
        Answer::Broken { why: "500".into() }
    }

    fn round(taken: usize) -> Round {
        Round { taken: AtomicUsize::new(taken), ..Round::default() }
    }

    #[test]
    fn a_receiver_that_breaks_at_one_event_alone_breaks_by_its_fault() {
        let failed = || Verdict::Failed { why: "500".into() };
        assert_eq!(round(0).verdicts(vec![Some(broken()), None]), [failed(), Verdict::Untried]);
        let some = vec![Some(broken()), Some(Answer::Taken), Some(broken())];
        assert_eq!(round(1).verdicts(some), [failed(), Verdict::Done, failed()]);
    }

    #[test]
    fn a_receiver_that_breaks_at_all_is_broken() {
        let verdicts = round(0).verdicts(vec![Some(broken()), None, Some(broken())]);
        assert!(
            verdicts.iter().all(|v| matches!(v, Verdict::Busy { why, .. } if why.contains("2 accounts"))),
            "{verdicts:?}"
        );
        let hindered = round(0);
        hindered.stop(Obstacle::brief("503".into()));
        let verdicts = hindered.verdicts(vec![Some(broken()), None]);
        assert_eq!(verdicts, vec![Verdict::Busy { retry_after: None, why: "503".into() }; 2]);
    }

    #[test]
    fn the_longest_obstacle_counts() {
        let round = round(0);
        round.stop(Obstacle::brief("refused".into()));
        let gone = Obstacle { retry_after: Some(Duration::from_hours(1)), why: "gone".into() };
        round.stop(gone.clone());
        round.stop(Obstacle { retry_after: Some(Duration::from_secs(1)), ..gone });
        let expected = Verdict::Busy { retry_after: Some(Duration::from_hours(1)), why: "gone".into() };
        assert_eq!(round.verdicts(vec![None]), [expected]);
    }

    #[tokio::test]
    async fn nothing_begins_after_the_turn_or_an_obstacle() {
        let permits = Semaphore::new(1);
        assert!(round(0).begin(&permits).await.is_none(), "its turn is over");
        let in_time = || Round { until: clock::ticks() + Duration::from_hours(1), ..Round::default() };
        assert!(in_time().begin(&permits).await.is_some());
        let hindered = in_time();
        hindered.stop(Obstacle::brief("503".into()));
        assert!(hindered.begin(&permits).await.is_none());
        let held = permits.acquire().await;
        let brief = Round { until: clock::ticks() + Duration::from_millis(10), ..Round::default() };
        assert!(brief.begin(&permits).await.is_none(), "others have all permits");
        drop(held);
    }
}
