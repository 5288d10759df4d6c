//! One refresh from intent to record. Nothing is sent before the intent is on disk; what came back is not lost again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::TokenService;
use super::guard::Waiting;
use crate::chance::random;
use crate::domain::heard::{Heard, Hindrance, Objection};
use crate::domain::refresh::{Gain, Outcome};
use crate::domain::time::Millis;
use crate::domain::tokens::{Granted, TokenPair};
use crate::failpoint;
use crate::ring_api::{RingApi, Said, may_hold_tokens, read_pair};
use crate::store::{NoTurn, Turn, Which};
use crate::telemetry::Refresh;

/// Beyond the longest call, until somebody else may begin a refresh of the account.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// Between two tries to record an answer.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// How a refresh came out, for the schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Landed {
    pub number: u32,
    pub which: Which,
    pub answer: Outcome,
    /// Whether the token before is still to be tried, where OAuth refuses this one; nothing where that can't be read.
    pub predecessor: Option<bool>,
    /// Whether OAuth gave another token at about the same time, so that this one may be the dead one of the two.
    pub rival: bool,
}

/// Refreshes an account's tokens once.
pub(super) async fn fly(desk: Arc<TokenService>, api: RingApi, number: u32, which: Which) -> Landed {
    let (which, (answer, outcome)) = desk.refresh(&api, number, which).await;
    desk.metrics.refreshed(outcome);
    let others = match answer {
        Heard::Refused(Objection::Grant) => desk.others(number).await,
        _ => Some((false, false)),
    };
    let rival = others.is_some_and(|(_, rival)| rival);
    Landed { number, which, answer, predecessor: others.map(|(predecessor, _)| predecessor), rival }
}

impl TokenService {
    async fn refresh(&self, api: &RingApi, number: u32, which: Which) -> (Which, (Outcome, Refresh)) {
        let withheld = (which, (Heard::WITHHELD, Refresh::Withheld));
        let lease = self.answer_timeout + LEASE_MARGIN;
        let turn = match self.store.outbox().begin_refresh(number, which, lease).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(NoTurn::NoToken | NoTurn::Taken)) => return withheld,
            Err(error) => {
                tracing::warn!(account_number = number, %error, "no refresh without a store to note it in");
                return withheld;
            }
        };
        failpoint!("refresh.intent");
        if self.until_the_end(self.note_epoch(turn.fence)).await.is_none() {
            self.record(&turn, self.now(), Heard::WITHHELD).await;
            return withheld;
        }
        failpoint!("refresh.guarded");
        if let Some(pair) = turn.kept.as_ref().and_then(|(answer, _)| read_pair(answer.expose())) {
            return (turn.which, self.adopt(&turn, pair).await);
        }
        if let Some(wait) = self.must_wait(&turn) {
            self.record(&turn, self.now(), Heard::WITHHELD).await;
            return (turn.which, (Heard::Answer(Gain::Kept { wait }), Refresh::Withheld));
        }
        self.gate.pass().await;
        let said = self.hear_out(api.refresh(&turn.token), || self.is_late(&turn)).await;
        let said = said.unwrap_or_else(|| Said::new(Heard::SILENT, "the daemon stops"));
        failpoint!("refresh.answered");
        let landed = self.settle(&turn, said).await;
        if turn.again {
            self.metrics.repeated(landed.1);
        }
        failpoint!("refresh.recorded");
        (turn.which, landed)
    }

    /// Others need not wait for it, and nobody asks OAuth with a token that may still be good.
    fn is_late(&self, turn: &Turn) {
        tracing::warn!(account = %turn.account, "OAuth has not answered a refresh in time; its answer is awaited");
        self.planner().late(turn.number, self.moment(), random());
        self.wake.notify_one();
    }

    async fn note_epoch(&self, epoch: u64) {
        if let Err(error) = self.guard.note(epoch).await {
            // The guard is for the operator's mistakes; the link is worth more.
            tracing::error!(%error, folder = %self.guard.folder().display(), "the guard folder can't be written");
        }
    }

    /// An answer to an earlier turn can be read after all.
    async fn adopt(&self, turn: &Turn, pair: TokenPair) -> (Outcome, Refresh) {
        let asked_at = turn.kept.as_ref().map_or_else(|| self.now(), |(_, at)| *at);
        tracing::info!(account = %turn.account, "an answer that was kept is taken now");
        self.record(turn, asked_at, Heard::Answer(Granted::Pair(pair))).await;
        if let Err(error) = self.replan(turn.number).await {
            tracing::warn!(account = %turn.account, %error, "the account is planned anew at the next start");
        }
        (Heard::WITHHELD, Refresh::Renewed)
    }

    /// How long the token must not be sent again, since a kept answer may hold those that replaced it.
    fn must_wait(&self, turn: &Turn) -> Option<Duration> {
        let (_, sent_at) = turn.kept.as_ref().filter(|(answer, _)| may_hold_tokens(answer.expose()))?;
        let wait = self.repeat_unreadable.saturating_sub(self.now().since(*sent_at));
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// Says what was heard, and notes it. Returns what it means for the schedule and for the metrics.
    async fn settle(&self, turn: &Turn, said: Said<Granted>) -> (Outcome, Refresh) {
        let (account, Said { heard, why }) = (&turn.account, said);
        let meant = match &heard {
            Heard::Answer(Granted::Pair(pair)) if pair.damaged => {
                tracing::warn!(%account, "OAuth's answer was damaged; its tokens could be read all the same");
                (Heard::Answer(Gain::Renewed { expires_in: pair.expires_in }), Refresh::Damaged)
            }
            Heard::Answer(Granted::Pair(pair)) => {
                tracing::debug!(%account, "refreshed");
                (Heard::Answer(Gain::Renewed { expires_in: pair.expires_in }), Refresh::Renewed)
            }
            Heard::Answer(Granted::Unreadable(raw)) => {
                let bytes = raw.expose().len();
                let outcome = if may_hold_tokens(raw.expose()) {
                    tracing::error!(%account, bytes, "OAuth's answer can't be read and may hold new tokens: it is kept, sealed, and the \
                        old token is not sent again for [tokens] repeat_unreadable");
                    Heard::Answer(Gain::Kept { wait: self.repeat_unreadable })
                } else {
                    tracing::error!(%account, bytes, "OAuth's answer can't be read; it is kept, sealed");
                    Heard::SILENT
                };
                (outcome, Refresh::Unreadable)
            }
            &Heard::Refused(Objection::Grant) => {
                tracing::warn!(%account, "OAuth refuses the refresh token");
                (Heard::Refused(Objection::Grant), Refresh::Refused)
            }
            &Heard::Refused(objection) => {
                tracing::error!(%why, "OAuth refuses our own client id or secret: nothing is refreshed for 15 minutes. See [ring]");
                (Heard::Refused(objection), Refresh::ClientRefused)
            }
            &Heard::NotSent(hindrance @ Hindrance::Throttled { retry_after }) => {
                tracing::warn!(?retry_after, "OAuth throttles us");
                (Heard::NotSent(hindrance), Refresh::Throttled)
            }
            &Heard::NotSent(hindrance) => {
                tracing::warn!(%account, %why, "refresh not sent");
                (Heard::NotSent(hindrance), Refresh::NotSent)
            }
            &Heard::Unknown(doubt) => {
                let retry_after = heard.retry_after();
                tracing::warn!(%account, %why, ?retry_after, "whether the tokens were refreshed is not known");
                (Heard::Unknown(doubt), Refresh::Unknown)
            }
        };
        self.record(turn, self.now(), heard).await;
        meant
    }

    /// Does not return before what holds tokens is on disk: in the store, or at least, when the daemon stops, in the guard folder.
    async fn record(&self, turn: &Turn, at: Millis, heard: Heard<Granted>) {
        let heard = Arc::new(heard);
        let (mut waits, mut keeping, mut kept_aside) = (None, None, false);
        loop {
            let settling =
                self.store.outbox().settle_refresh(turn.number, turn.fence, at, Arc::clone(&heard));
            let Err(error) = settling.await else { break };
            let Some(answer) = precious(&heard) else {
                tracing::warn!(account = %turn.account, %error, "how the refresh came out could not be noted");
                return;
            };
            waits.get_or_insert_with(|| Unrecorded::new(&self.unrecorded));
            if !kept_aside {
                // No longer than that: where this folder hangs, the store may be well again.
                let task = keeping.get_or_insert_with(|| tokio::spawn(self.keep_aside(turn, &answer)));
                if let Ok(kept) = tokio::time::timeout(RECORD_AGAIN, task).await {
                    (keeping, kept_aside) = (None, kept.unwrap_or(false));
                }
            }
            tracing::error!(account = %turn.account, %error, kept_aside, "the store can't take new tokens; trying again");
            if kept_aside && self.stopping.borrow().is_some() {
                tracing::warn!(account = %turn.account, "the next start takes its new tokens from the guard folder");
                return;
            }
            tokio::time::sleep(RECORD_AGAIN).await;
        }
        if waits.is_some() {
            tracing::info!(account = %turn.account, "the store has the new tokens now");
            let (guard, number, fence) = (Arc::clone(&self.guard), turn.number, turn.fence);
            tokio::spawn(async move {
                if let Some(task) = keeping {
                    let _ = task.await;
                }
                guard.drop_answer(number, fence).await;
            });
        }
        drop(waits);
        if precious(&heard).is_some() {
            self.note_what_is_on_disk().await;
        }
    }

    fn keep_aside(&self, turn: &Turn, answer: &[u8]) -> impl Future<Output = bool> + Send + 'static {
        let (guard, account, sealed) =
            (Arc::clone(&self.guard), turn.account.clone(), turn.seal_answer(answer));
        let (number, fence) = (turn.number, turn.fence);
        async move {
            let Ok(sealed) = sealed else { return false };
            let kept = guard.keep_answer(Waiting { number, fence, sealed }).await;
            if let Err(error) = &kept {
                tracing::error!(%account, %error, "nor can the guard folder: the new tokens are in memory alone");
            }
            kept.is_ok()
        }
    }

    /// Notes the store's epoch after new tokens are on disk: a copy from before them would send again what they replaced. The store's
    /// own word, since a commit that was said to have failed may have been durable.
    pub(super) async fn note_what_is_on_disk(&self) {
        match self.store.outbox().epoch().await {
            Ok(epoch) => drop(self.until_the_end(self.note_epoch(epoch)).await),
            Err(error) => {
                tracing::warn!(%error, "the store's epoch can't be read; the next refresh notes it");
            }
        }
    }
}

/// One more answer that the store has not taken, while this lives.
pub(super) struct Unrecorded<'a>(&'a AtomicUsize);

impl<'a> Unrecorded<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Larger than any that was read.
const MAX_ANSWER: usize = 128 << 10;

#[derive(Serialize)]
struct OAuthAnswer<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    expires_in: u64,
    scope: Option<&'a str>,
}

/// What must not be lost, as OAuth would have said it.
fn precious(heard: &Heard<Granted>) -> Option<Zeroizing<Vec<u8>>> {
    let Heard::Answer(given) = heard else { return None };
    match given {
        Granted::Pair(pair) => {
            let answer = OAuthAnswer {
                access_token: pair.access_token.expose(),
                refresh_token: pair.refresh_token.as_ref().map(|token| token.expose().as_str()),
                expires_in: pair.expires_in.as_secs(),
                scope: pair.scope.as_deref(),
            };
            // One buffer of the full size: growing would leave copies behind.
            let mut text = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
            serde_json::to_writer(&mut *text, &answer).ok().map(|()| text)
        }
        Granted::Unreadable(raw) => Some(Zeroizing::new(raw.expose().clone())),
    }
}
