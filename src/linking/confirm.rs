//! Tells Ring of claimed links, one persisted step after the other, until each is confirmed or refused.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::{Notify, SemaphorePermit};
use tokio::time::Instant;

use super::Linking;
use crate::clock;
use crate::domain::access_token::{AccessRequest, AccessToken, Denied, Reason};
use crate::domain::backoff::{Backoff, LONGEST_RETRY_AFTER};
use crate::domain::claim::VISIT_LIFE;
use crate::domain::confirm::{Call, Pause, Progress, Refusal, Step};
use crate::domain::heard::{Heard, Hindrance};
use crate::failpoint;
use crate::logging;
use crate::outbound::{Attempt, Driver, Item};
use crate::randomness::random;
use crate::ring_api::{RingApi, Said};
use crate::store::{Changed, Claim, StoreError};

/// Between two tries; the longest is how late Ring may be told after an outage of its own.
const AGAIN: Backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_mins(5) };
/// What a claim needs of its access token.
const MIN_LIFE: Duration = Duration::from_mins(1);
/// Beyond the life of a visit, so that it is over for sure.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How often all claims are looked at, for one whose change nobody was told of.
const ROUND: Duration = Duration::from_mins(10);

/// Until they are looked at again where that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What one step of a claim left to be done.
enum StepResult {
    /// It is at its end, or the daemon stops.
    Over,
    /// Ring has taken a step.
    Taken,
    /// It is another claim by now, or further on.
    Changed,
    /// Ring refuses the access token of that generation.
    Refused(u64),
    /// Not before this long, or before the claim is something else than what was left.
    Later { wait: Duration, left: Claim },
}

/// How it went with a claim since Ring took its last step.
#[derive(Debug, Clone, Copy, Default)]
struct RetryState {
    failures: u32,
    /// The access token that is to be replaced.
    refused: Option<u64>,
    /// One was refused, and is replaced by now, or was too young for that: no more of that is tried.
    renewed: bool,
}

impl Linking {
    /// Tells Ring until `stop` resolves, and then until every answer that was under way is on disk.
    pub(super) async fn tell_ring(self: Arc<Self>, stop: impl Future<Output = Instant> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut changes = self.store.links().claim_changes();
        let mut pauses = self.pauses_to_begin.lock().await;
        let mut driver = Driver::default();
        let mut look_at_all = clock::ticks();
        let mut ended = None;
        let end = loop {
            let mut numbers = match changes.take() {
                Changed::Accounts(numbers) => numbers,
                // A claim may be on disk that nobody was told of.
                Changed::All => {
                    look_at_all = clock::ticks();
                    BTreeSet::new()
                }
            };
            // What changed while its task was ending is nobody's yet.
            numbers.extend(ended.take());
            let mut all_seen = true;
            if look_at_all <= clock::ticks() {
                look_at_all = clock::ticks() + ROUND;
                match self.all_under_way().await {
                    Some(all) => numbers.extend(all),
                    None => all_seen = false,
                }
            }
            for number in numbers {
                all_seen &= self.see_to(number, &mut driver).await;
            }
            if !all_seen {
                look_at_all = look_at_all.min(clock::ticks() + LOOK_AGAIN);
            }
            tokio::select! {
                end = &mut stop => break end,
                () = changes.changed() => {}
                Some(request) = pauses.recv() => self.begin_pause(request, &mut driver),
                Some((item, done)) = driver.ended() => match (item, done) {
                    (Item::Claim(number), Ok(())) => ended = Some(number),
                    _ => look_at_all = look_at_all.min(clock::ticks() + LOOK_AGAIN),
                },
                () = tokio::time::sleep_until(look_at_all) => {}
            }
        };
        self.tokens.outbound().stop(end);
        // Who asks from now on, or waits, is told that the daemon stops.
        pauses.close();
        while pauses.try_recv().is_ok() {}
        while driver.ended().await.is_some() {}
    }

    /// Nothing when they can't be read now.
    async fn all_under_way(&self) -> Option<Vec<u32>> {
        let look = async {
            let numbers = self.store.outbox().claims_under_way().await?;
            let seen = self.store.links().claimable(clock::now(), |_| false).await?;
            Ok::<_, StoreError>((numbers, seen.stale))
        };
        match look.await {
            Ok((numbers, stale)) => {
                self.forget(stale);
                Some(numbers)
            }
            Err(error) => {
                tracing::warn!(%error, "the claims under way can't be read; trying again");
                None
            }
        }
    }

    /// Whether it could be looked at.
    async fn see_to(self: &Arc<Self>, number: u32, driver: &mut Driver<()>) -> bool {
        let outbound = self.tokens.outbound();
        if outbound.nudge(Item::Claim(number)) {
            return true;
        }
        // Only here is anything put under way, so nothing is meanwhile.
        let Ok(claim) = self.store.links().claim_of(number).await else { return false };
        let open = claim.is_some_and(|claim| claim.progress.call().is_some());
        if open
            && self.api.is_there()
            && let Some(in_flight) = outbound.enter(Item::Claim(number))
        {
            let (nudge, trouble) = (in_flight.nudge(), Trouble { linking: Arc::clone(self), number });
            driver.start(in_flight, async move { trouble.linking.confirm(number, &nudge).await });
        }
        true
    }

    /// Goes through the steps of one claim until its end, or until the daemon stops: the next start goes on then.
    async fn confirm(&self, number: u32, nudge: &Notify) {
        let outbound = self.tokens.outbound();
        let mut state = RetryState::default();
        while !outbound.is_stopping() {
            let result = match self.step(number, state).await {
                Ok(result) => result,
                Err(error) => {
                    tracing::warn!(account_number = number, %error, "a claim waits for the store");
                    self.troubles().insert(number, Reason::Store);
                    outbound.unless_stopping(tokio::time::sleep(LOOK_AGAIN)).await;
                    continue;
                }
            };
            match result {
                StepResult::Over => return,
                StepResult::Taken => state = RetryState::default(),
                StepResult::Changed => {}
                StepResult::Refused(generation) => {
                    (state.refused, state.renewed) = (Some(generation), true);
                }
                StepResult::Later { wait, left } => {
                    state.failures += 1;
                    state.refused = None;
                    let until = clock::ticks() + AGAIN.wait(state.failures, random()).max(wait);
                    if outbound.unless_stopping(self.wait(number, until, nudge, &left)).await == Some(true) {
                        state = RetryState::default();
                    }
                }
            }
        }
    }

    /// Waits until then, or until something else than our own steps has changed the claim; whether it did.
    async fn wait(&self, number: u32, until: Instant, nudge: &Notify, left: &Claim) -> bool {
        let mark = |claim: &Claim| (*claim.visit.nonce(), claim.progress, claim.code_at);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return false,
                () = nudge.notified() => {}
            }
            // Where it can't be read, time will tell.
            if let Ok(now) = self.store.links().claim_of(number).await
                && now.as_ref().map(mark) != Some(mark(left))
            {
                return true;
            }
        }
    }

    async fn step(&self, number: u32, state: RetryState) -> Result<StepResult, StoreError> {
        // That of each step: a reload may have replaced the one before, because nothing came of it.
        let Some(api) = self.api.get() else { return Ok(StepResult::Over) };
        let Some(claim) = self.store.links().claim_of(number).await? else { return Ok(StepResult::Over) };
        let Some(call) = claim.progress.call() else { return Ok(StepResult::Over) };
        let is_old = self.ring_now().likely.since(claim.visit.at()) > VISIT_LIFE;
        let ask =
            AccessRequest { account: claim.account.clone(), min_life: MIN_LIFE, refused: state.refused };
        let outbound = self.tokens.outbound();
        let token = match outbound.unless_stopping(self.tokens.access_tokens().get(&ask)).await {
            Some(Ok(token)) => token,
            Some(Err(denied)) => return self.without_token(claim, denied, is_old).await,
            None => return Ok(StepResult::Over),
        };
        let attempt =
            ClaimAttempt { of: self, api: &api, claim, call, token, is_old, renewed: state.renewed };
        outbound.send_once(&attempt).await
    }

    /// There is no access token now: the code may still be on its way, or OAuth down; or there will be none.
    async fn without_token(
        &self,
        claim: Claim,
        denied: Denied,
        is_old: bool,
    ) -> Result<StepResult, StoreError> {
        let Denied { reason, retry_after } = denied;
        let refusal = match reason {
            // Until then a code may be on its way that brings others.
            Reason::Lapsed | Reason::Revoked | Reason::JustRenewed if is_old => Some(Refusal::Token),
            // Ring would take its nonce no more, if the code came now.
            Reason::NoTokens if is_old => Some(Refusal::NoCode),
            _ => None,
        };
        if let Some(refusal) = refusal {
            let refused = Progress { step: Step::Refused(refusal), ..claim.progress };
            if self.store.outbox().advance_claim(&claim, refused).await? {
                let (account, reason) = (logging::text(claim.account.as_str()), refusal.as_str());
                tracing::error!(%account, reason, "a link can't be confirmed; it may be claimed again");
            }
            return Ok(StepResult::Changed);
        }
        if reason == Reason::JustRenewed {
            // Ring may refuse it for a while before a link is confirmed; it is the newest there is.
            self.troubles().insert(claim.number, Reason::ApiDown);
            return Ok(StepResult::Later { wait: Duration::ZERO, left: claim });
        }
        self.troubles().insert(claim.number, reason);
        // Where there are no tokens yet, the code brings them, and nudges.
        let until_old =
            (VISIT_LIFE + A_MOMENT).saturating_sub(self.ring_now().likely.since(claim.visit.at()));
        let comes = matches!(reason, Reason::NoTokens | Reason::Lapsed | Reason::Revoked);
        let wait = if comes { until_old } else { retry_after.unwrap_or_default() };
        Ok(StepResult::Later { wait, left: claim })
    }

    fn tell(&self, claim: &Claim, call: Call, said: &Said<()>, next: Progress) {
        let account = logging::text(claim.account.as_str());
        let why = &said.why;
        match next.step {
            Step::Done => tracing::info!(%account, "Ring has confirmed the link"),
            Step::Refused(refusal) => {
                tracing::error!(%account, %why, reason = refusal.as_str(), "Ring refuses to confirm the link; it may be claimed again");
            }
            _ if said.heard == Heard::Answer(()) => {
                tracing::debug!(%account, ?call, "Ring has taken a step of the link");
            }
            _ => {
                self.troubles().insert(claim.number, Reason::ApiDown);
                tracing::warn!(%account, ?call, %why, "Ring has not confirmed the link yet; trying again");
            }
        }
    }
}

/// One request about a claim.
struct ClaimAttempt<'a> {
    of: &'a Linking,
    api: &'a RingApi,
    claim: Claim,
    call: Call,
    token: AccessToken,
    /// Ring would take its nonce no more.
    is_old: bool,
    /// An access token was refused already.
    renewed: bool,
}

impl ClaimAttempt<'_> {
    /// The claim as it is on disk while the request is under way.
    fn sent(&self) -> Claim {
        Claim { progress: self.claim.progress.sending(self.call), ..self.claim.clone() }
    }
}

impl<'a> Attempt for ClaimAttempt<'a> {
    type Place = SemaphorePermit<'a>;
    type Intent = ();
    type Given = ();
    type End = Result<StepResult, StoreError>;

    async fn admit(&self) -> Result<SemaphorePermit<'a>, Self::End> {
        let Linking { calls, tokens, .. } = self.of;
        let place = async { Some((calls.acquire().await.ok()?, tokens.permit_call().await)) };
        match tokens.outbound().unless_stopping(place).await.flatten() {
            Some((place, true)) => Ok(place),
            Some((_, false)) => {
                let why = tokens.trouble().unwrap_or(Reason::UnderWay);
                self.of.troubles().insert(self.claim.number, why);
                Err(Ok(StepResult::Later { wait: Duration::ZERO, left: self.claim.clone() }))
            }
            None => Err(Ok(StepResult::Over)),
        }
    }

    async fn intend(&self) -> Result<(), Self::End> {
        let sent = self.claim.progress.sending(self.call);
        match self.of.store.outbox().advance_claim(&self.claim, sent).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Ok(StepResult::Changed)),
            Err(error) => Err(Err(error)),
        }
    }

    async fn send(&self, (): &()) -> Said<()> {
        match self.call {
            Call::Post => {
                failpoint!("claim.posting");
                let nonce = BASE64URL_NOPAD.encode(self.claim.visit.nonce());
                let identifier = self.claim.identifier.as_deref();
                let mut said = self.api.begin_link(&self.token.token, &nonce, identifier).await;
                // Ring's words go to the log.
                for secret in [Some(nonce.as_str()), identifier].into_iter().flatten() {
                    said.why = said.why.replace(secret, "…");
                }
                failpoint!("claim.posted");
                said
            }
            Call::Patch => {
                failpoint!("claim.patching");
                let said = self.api.complete_link(&self.token.token).await;
                failpoint!("claim.patched");
                said
            }
        }
    }

    /// No other waits for it, and its time is over soon.
    fn late(&self, (): &()) {}

    async fn settle(&self, (): (), said: Said<()>) -> Self::End {
        if let Heard::NotSent(Hindrance::Throttled { retry_after }) = said.heard {
            self.of.tokens.throttled(retry_after);
        }
        let (next, pause) = self.claim.progress.heard(self.call, said.heard, self.is_old, self.renewed);
        let claim = self.sent();
        // Where this can't be noted, it stays a request without an answer; where it is another claim by now, it says nothing of that.
        if !self.of.store.outbox().advance_claim(&claim, next).await? {
            return Ok(StepResult::Changed);
        }
        self.of.tell(&claim, self.call, &said, next);
        Ok(match pause {
            _ if next.call().is_none() => StepResult::Over,
            Pause::None => StepResult::Taken,
            Pause::NewToken => StepResult::Refused(self.token.generation),
            Pause::Backoff => {
                let wait = said.heard.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
                StepResult::Later { wait, left: Claim { progress: next, ..claim } }
            }
        })
    }
}

/// Why it takes long is known while the work on a claim goes on, however that ends.
struct Trouble {
    linking: Arc<Linking>,
    number: u32,
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.linking.troubles().remove(&self.number);
    }
}
