//! Events of different accounts together in one request, and still one event of each account at a time.
//!
//! ```text
//! events ─▶ a lane per account ─▶ ready ─▶ the next event of up to `MOST` lanes, with a permit ─▶ an answer for each
//!                                   ▲         │ Taken, Refused: its lane is ready again
//!                                   └─────────┘ any other: as in `lanes.rs`
//! ```
//!
//! A batch takes the lanes that are ready when there is a permit for it, so none waits for more to come.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::lanes::{Answer, Obstacle, Round, lanes_of};
use crate::delivery::Verdict;
use crate::store::Leased;

/// Delivers several events in one request.
pub(super) trait PostBatch: Send + Sync + 'static {
    /// Events of the largest batch.
    const MOST: usize;

    /// Delivers events of different accounts within a time of its own; an answer for each, in their order, and none for those
    /// that it did not come to. The future may be dropped at any await.
    fn post(&self, events: &[&Leased]) -> impl Future<Output = Vec<Option<Answer>>> + Send;

    /// One for each batch that may be under way in the queue.
    fn permits(&self) -> &Arc<Semaphore>;
}

/// The places of one account's events that are still to be delivered, in their order.
type Lane = VecDeque<usize>;

/// Delivers a lease; one verdict for each event, in their order.
pub(super) async fn deliver<P: PostBatch>(post: &Arc<P>, events: Arc<[Leased]>) -> Vec<Verdict> {
    let round = Round::begun();
    let mut ready: VecDeque<Lane> = lanes_of(&events).into_iter().map(Lane::from).collect();
    let mut answers: Vec<Option<Answer>> = vec![None; events.len()];
    // Dropped with this future, they end with it.
    let mut batches = JoinSet::new();
    loop {
        let more = !ready.is_empty() && round.may_begin();
        if !more && batches.is_empty() {
            return round.verdicts(answers);
        }
        tokio::select! {
            biased;
            Some(landed) = batches.join_next() => match landed {
                Ok((lanes, said)) => ready.extend(settle(lanes, said, &round, &mut answers)),
                Err(panic) => round.stop(Obstacle::brief(format!("it panicked: {panic}"))),
            },
            Ok(permit) = timeout_at(round.until(), Arc::clone(post.permits()).acquire_owned()), if more => {
                let lanes: Vec<Lane> = ready.drain(..ready.len().min(P::MOST)).collect();
                // The semaphore is never closed.
                batches.extend(permit.ok().map(|permit| run(Arc::clone(post), Arc::clone(&events), lanes, permit)));
            }
            else => {}
        }
    }
}

/// Delivers the first event of each lane.
async fn run<P: PostBatch>(
    post: Arc<P>,
    events: Arc<[Leased]>,
    lanes: Vec<Lane>,
    _permit: OwnedSemaphorePermit,
) -> (Vec<Lane>, Vec<Option<Answer>>) {
    let heads: Vec<&Leased> = lanes.iter().filter_map(|lane| events.get(*lane.front()?)).collect();
    let said = post.post(&heads).await;
    (lanes, said)
}

/// Notes the answers; the lanes that have more to deliver.
fn settle(
    lanes: Vec<Lane>,
    said: Vec<Option<Answer>>,
    round: &Round,
    answers: &mut [Option<Answer>],
) -> Vec<Lane> {
    let mut ready = Vec::with_capacity(lanes.len());
    for (mut lane, answer) in lanes.into_iter().zip(said) {
        let (Some(at), Some(answer)) = (lane.pop_front(), answer) else { continue };
        round.note(&answer);
        if answer.goes_on() && !lane.is_empty() {
            ready.push(lane);
        }
        answers[at] = Some(answer);
    }
    ready
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::delivery::verdicts::tests::leased;

    /// Notes each batch by its sequences, and answers as it is told.
    struct Noting {
        batches: Mutex<Vec<Vec<u64>>>,
        permits: Arc<Semaphore>,
        answer: fn(u64) -> Option<Answer>,
    }

    impl PostBatch for Noting {
        const MOST: usize = 3;

        async fn post(&self, events: &[&Leased]) -> Vec<Option<Answer>> {
            let batch: Vec<u64> = events.iter().map(|leased| leased.seq).collect();
            self.batches.lock().unwrap().push(batch.clone());
            batch.into_iter().map(self.answer).collect()
        }

        fn permits(&self) -> &Arc<Semaphore> {
            &self.permits
        }
    }

    /// One batch at a time.
    async fn delivered(accounts: &str, answer: fn(u64) -> Option<Answer>) -> (Vec<Verdict>, Vec<Vec<u64>>) {
        let noting =
            Arc::new(Noting { batches: Mutex::default(), permits: Arc::new(Semaphore::new(1)), answer });
        let events: Vec<Leased> =
            (0..).zip(accounts.chars()).map(|(seq, account)| leased(seq, &account.to_string(), 1)).collect();
        let verdicts = deliver(&noting, events.into()).await;
        let batches = noting.batches.lock().unwrap().clone();
        (verdicts, batches)
    }

    #[tokio::test]
    async fn a_batch_has_one_event_of_each_account_and_is_never_too_large() {
        let (verdicts, batches) = delivered("aaabbcde", |_| Some(Answer::Taken)).await;
        assert_eq!(verdicts, vec![Verdict::Done; 8]);
        // The lanes in turn: a, b, c and d, e, a, and so on.
        assert_eq!(batches, [vec![0, 3, 5], vec![6, 7, 1], vec![4, 2]]);
    }

    #[tokio::test]
    async fn what_fails_in_a_batch_ends_its_lane_and_no_other() {
        let (verdicts, batches) = delivered("aabbcc", |seq| {
            Some(if seq == 2 { Answer::Failed { why: "no".into() } } else { Answer::Taken })
        })
        .await;
        assert_eq!(batches, [vec![0, 2, 4], vec![1, 5]]);
        let failed = Verdict::Failed { why: "no".into() };
        assert_eq!(
            verdicts,
            [Verdict::Done, Verdict::Done, failed, Verdict::Untried, Verdict::Done, Verdict::Done]
        );
    }

    #[tokio::test]
    async fn nothing_begins_after_an_obstacle_and_what_it_did_not_come_to_is_given_back() {
        let (verdicts, batches) = delivered("aabcd", |seq| match seq {
            0 => Some(Answer::Taken),
            2 => Some(Answer::Hindered(Obstacle::brief("503".into()))),
            _ => None,
        })
        .await;
        assert_eq!(batches, [vec![0, 2, 3]]);
        let busy = || Verdict::Busy { retry_after: None, why: "503".into() };
        assert_eq!(verdicts, [Verdict::Done, busy(), busy(), busy(), busy()]);
        let (verdicts, _) = delivered("ab", |seq| (seq == 0).then_some(Answer::Taken)).await;
        assert_eq!(verdicts, [Verdict::Done, Verdict::Untried]);
    }
}
