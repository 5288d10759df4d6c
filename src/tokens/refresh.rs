//! Refreshes: sends off those that are due, each once, and tells the schedule how they came out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::context::Context;
use super::record::Recorder;
use super::unidentified::Unidentified;
use crate::domain::heard::{Heard, Hindrance, Objection};
use crate::domain::refresh::{Decision, Gain, LONGEST_NAP, Next, Outcome};
use crate::domain::tokens::{Granted, TokenPair};
use crate::failpoint;
use crate::live::Live;
use crate::outbound::{Attempt, Driver, Item};
use crate::randomness::random;
use crate::ring_api::{RingApi, Said, may_hold_tokens, read_pair};
use crate::store::{NoRefresh, RefreshIntent, Which};
use crate::telemetry::Refresh;

/// How a refresh came out, for the schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refreshed {
    which: Which,
    outcome: Outcome,
    /// Whether the token before is still to be tried, where OAuth refuses this one; nothing where that can't be read.
    predecessor: Option<bool>,
    /// Whether OAuth gave another token at about the same time, so that this one may be the dead one of the two.
    rival: bool,
}

impl Refreshed {
    /// Nobody knows: its entry in the journal is still open, so the same token is sent again.
    pub(super) const LOST: Self =
        Self { which: Which::Current, outcome: Heard::SILENT, predecessor: Some(false), rival: false };
}

/// What the configuration says of the time between refreshes of one account.
#[derive(Debug)]
pub(super) struct Waits {
    /// Until somebody else may begin a refresh of the account.
    pub lease: Duration,
    /// How long after an answer that can't be read, and may hold the tokens that live, the old token is sent again.
    pub repeat_unreadable: Duration,
}

/// All refreshes of one daemon.
#[derive(Debug)]
pub(super) struct Refreshes {
    pub context: Arc<Context>,
    pub recorder: Arc<Recorder>,
    pub unidentified: Arc<Unidentified>,
    pub waits: Live<Waits>,
    /// Accounts whose next try is with the predecessor of their token.
    pub last_resort: Mutex<HashSet<u32>>,
}

impl Refreshes {
    /// Sends off whatever may go now; returns how long nothing else will.
    pub(super) fn start_due(self: &Arc<Self>, driver: &mut Driver<Option<Refreshed>>) -> Duration {
        let Some(api) = self.context.api.get().filter(|_| !self.context.guard.is_guarded()) else {
            return LONGEST_NAP;
        };
        loop {
            let next = self.context.schedule.next();
            let number = match next {
                Next::Wait(wait) => return wait,
                Next::Refresh(number) => number,
            };
            let Some(in_flight) = self.context.outbound.enter(Item::Refresh(number)) else {
                let (now, mut planner) = (self.context.schedule.moment(), self.context.schedule.planner());
                planner.answered(number, Heard::WITHHELD, now, random());
                continue;
            };
            let resort = self.last_resort().remove(&number);
            let which = if resort { Which::Predecessor } else { Which::Current };
            let (refreshes, api) = (Arc::clone(self), api.clone());
            driver.start(in_flight, async move { Some(refreshes.refresh(&api, number, which).await) });
        }
    }

    async fn refresh(&self, api: &RingApi, number: u32, which: Which) -> Refreshed {
        let attempt = RefreshAttempt { of: self, api, number, which };
        let End { which, outcome, counted } = self.context.outbound.send_once(&attempt).await;
        self.context.metrics.refreshed(counted);
        let others = match outcome {
            Heard::Refused(Objection::Grant) => self.others(number).await,
            _ => Some((false, false)),
        };
        let rival = others.is_some_and(|(_, rival)| rival);
        Refreshed { which, outcome, predecessor: others.map(|(predecessor, _)| predecessor), rival }
    }

    /// Tells the schedule, and whoever waits; unless the account is tried once more at once, with another token.
    pub(super) async fn ended(&self, number: u32, refreshed: Refreshed) {
        let Refreshed { which, outcome, predecessor, rival } = refreshed;
        let now = self.context.schedule.moment();
        if which == Which::Predecessor
            && matches!(outcome, Heard::NotSent(_) | Heard::Refused(Objection::Client))
        {
            self.last_resort().insert(number);
        }
        let decision = {
            // Held to the end, so that nobody is told of an end that is not one.
            let mut planner = self.context.schedule.planner();
            let decision = planner.answered(number, outcome, now, random());
            let is_refused = outcome == Heard::Refused(Objection::Grant) && rival;
            if (is_refused || matches!(decision, Some(Decision::Ended(_))))
                && self.may_be_made_good(number, predecessor)
            {
                planner.reconsider(number, now);
                return;
            }
            decision
        };
        if decision.is_none()
            && let Err(error) = self.context.schedule.replan(number).await
        {
            tracing::warn!(account_number = number, %error, "an account can't be planned anew");
        }
        self.context.schedule.tell_waiters(number, decision);
        self.context.schedule.changed(number);
        tokio::spawn(Arc::clone(&self.unidentified).refreshed(number, outcome, decision));
    }

    /// The account has other tokens, or none.
    pub(super) fn forget(&self, number: u32) {
        self.last_resort().remove(&number);
    }

    /// Whether there is another token to try before the account is given up.
    fn may_be_made_good(&self, number: u32, predecessor: Option<bool>) -> bool {
        match predecessor {
            Some(true) => {
                tracing::warn!(
                    account_number = number,
                    "OAuth refuses a token that it never accepted; trying the one before it, once"
                );
                self.last_resort().insert(number)
            }
            Some(false) => false,
            None => true,
        }
    }

    /// Whether the account has a token that its present one replaced and that was never tried in its place, and whether OAuth gave
    /// that at about the same time as the present one; nothing where it can't be read.
    async fn others(&self, number: u32) -> Option<(bool, bool)> {
        match self.context.store.links().token_record(number).await {
            Ok(found) => Some(found.map_or((false, false), |found| (found.predecessor, found.rival))),
            Err(error) => {
                tracing::warn!(account_number = number, %error, "an account is not given up while the store can't be read");
                None
            }
        }
    }

    /// How long the token must not be sent again, since a kept answer may hold those that replaced it.
    fn must_wait(&self, intent: &RefreshIntent) -> Option<Duration> {
        let (_, sent_at) = intent.kept.as_ref().filter(|(answer, _)| may_hold_tokens(answer.expose()))?;
        let wait =
            self.waits.get().repeat_unreadable.saturating_sub(self.context.schedule.now().since(*sent_at));
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// An answer to an earlier attempt can be read after all.
    async fn adopt(&self, intent: &RefreshIntent, pair: TokenPair) {
        let asked_at = intent.kept.as_ref().map_or_else(|| self.context.schedule.now(), |(_, at)| *at);
        tracing::info!(account = %intent.account, "an answer that was kept is taken now");
        self.recorder.record(intent, asked_at, Heard::Answer(Granted::Pair(pair))).await;
        if let Err(error) = self.context.schedule.replan(intent.number).await {
            tracing::warn!(account = %intent.account, %error, "the account is planned anew at the next start");
        }
    }

    /// Says what was heard. Returns what it means for the schedule and for the metrics.
    fn meaning(&self, intent: &RefreshIntent, heard: &Heard<Granted>, why: &str) -> (Outcome, Refresh) {
        let account = &intent.account;
        match heard {
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
                    Heard::Answer(Gain::Kept { wait: self.waits.get().repeat_unreadable })
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
        }
    }

    fn last_resort(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.last_resort.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One refresh.
struct RefreshAttempt<'a> {
    of: &'a Refreshes,
    api: &'a RingApi,
    number: u32,
    which: Which,
}

/// What an attempt came to.
struct End {
    which: Which,
    outcome: Outcome,
    counted: Refresh,
}

impl RefreshAttempt<'_> {
    fn withheld(&self) -> End {
        End { which: self.which, outcome: Heard::WITHHELD, counted: Refresh::Withheld }
    }
}

impl Attempt for RefreshAttempt<'_> {
    /// The schedule bounds how many there are.
    type Place = ();
    type Intent = RefreshIntent;
    type Given = Granted;
    type End = End;

    async fn admit(&self) -> Result<(), End> {
        Ok(())
    }

    async fn intend(&self) -> Result<RefreshIntent, End> {
        let Refreshes { context, recorder, waits, .. } = self.of;
        let lease = waits.get().lease;
        let Context { store, outbound, schedule, .. } = &**context;
        let intent = match store.outbox().begin_refresh(self.number, self.which, lease).await {
            Ok(Ok(intent)) => intent,
            Ok(Err(NoRefresh::NoToken | NoRefresh::Taken)) => return Err(self.withheld()),
            Err(error) => {
                tracing::warn!(account_number = self.number, %error, "no refresh without a store to note it in");
                return Err(self.withheld());
            }
        };
        failpoint!("refresh.intent");
        if outbound.until_the_end(recorder.note_epoch(intent.fence)).await.is_none() {
            recorder.record(&intent, schedule.now(), Heard::WITHHELD).await;
            return Err(self.withheld());
        }
        failpoint!("refresh.guarded");
        let which = intent.which;
        if let Some(pair) = intent.kept.as_ref().and_then(|(answer, _)| read_pair(answer.expose())) {
            self.of.adopt(&intent, pair).await;
            return Err(End { which, outcome: Heard::WITHHELD, counted: Refresh::Renewed });
        }
        if let Some(wait) = self.of.must_wait(&intent) {
            recorder.record(&intent, schedule.now(), Heard::WITHHELD).await;
            let outcome = Heard::Answer(Gain::Kept { wait });
            return Err(End { which, outcome, counted: Refresh::Withheld });
        }
        Ok(intent)
    }

    async fn send(&self, intent: &RefreshIntent) -> Said<Granted> {
        self.api.refresh(&intent.token).await
    }

    /// Others need not wait for it, and nobody asks OAuth with a token that may still be good.
    fn late(&self, intent: &RefreshIntent) {
        tracing::warn!(account = %intent.account, "OAuth has not answered a refresh in time; its answer is awaited");
        let schedule = &self.of.context.schedule;
        schedule.planner().late(intent.number, schedule.moment(), random());
        schedule.wake.notify_one();
    }

    async fn settle(&self, intent: RefreshIntent, said: Said<Granted>) -> End {
        failpoint!("refresh.answered");
        let Said { heard, why } = said;
        let (outcome, counted) = self.of.meaning(&intent, &heard, &why);
        self.of.recorder.record(&intent, self.of.context.schedule.now(), heard).await;
        if intent.again {
            self.of.context.metrics.repeated(counted);
        }
        failpoint!("refresh.recorded");
        End { which: intent.which, outcome, counted }
    }
}
