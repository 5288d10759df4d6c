//! Tells Ring of claimed links, one persisted step after the other, until each is confirmed or refused.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Linking;
use crate::chance::random;
use crate::clock;
use crate::domain::access_token::{AccessRequest, AccessToken, Denied, Reason};
use crate::domain::backoff::{Backoff, LONGEST_RETRY_AFTER};
use crate::domain::claim::VISIT_LIFE;
use crate::domain::confirm::{Call, Pause, Progress, Refusal, Step};
use crate::domain::heard::{Heard, Hindrance};
use crate::failpoint;
use crate::logging;
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

/// What one look at a claim left to be done.
enum Looked {
    /// It is at its end.
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
struct Luck {
    failures: u32,
    /// The access token that is to be replaced.
    refused: Option<u64>,
    /// One was refused, and is replaced by now, or was too young for that: no more of that is tried.
    renewed: bool,
}

impl Linking {
    /// Tells Ring until `stop` resolves.
    pub(super) async fn tell_ring(self: Arc<Self>, stop: impl Future<Output = Instant> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut changes = self.store.links().claim_changes();
        let mut tasks = JoinSet::new();
        let mut look_at_all = clock::ticks();
        let mut ended = None;
        loop {
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
                all_seen &= self.see_to(number, &mut tasks).await;
            }
            if !all_seen {
                look_at_all = look_at_all.min(clock::ticks() + LOOK_AGAIN);
            }
            tokio::select! {
                _ = &mut stop => break,
                () = changes.changed() => {}
                Some(task) = tasks.join_next() => match task {
                    Ok(number) => ended = Some(number),
                    Err(error) => {
                        tracing::error!(%error, "telling Ring of a claim ended in a panic; it is looked at again");
                        look_at_all = look_at_all.min(clock::ticks() + LOOK_AGAIN);
                    }
                },
                () = tokio::time::sleep_until(look_at_all) => {}
            }
        }
        // A request without an answer is what every step is prepared for.
        tasks.shutdown().await;
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
    async fn see_to(self: &Arc<Self>, number: u32, tasks: &mut JoinSet<u32>) -> bool {
        if let Some(nudge) = self.under_way().get(&number) {
            nudge.notify_one();
            return true;
        }
        // Only here is anything put under way, so nothing is meanwhile.
        let Ok(claim) = self.store.links().claim_of(number).await else { return false };
        let open = claim.is_some_and(|claim| claim.progress.call().is_some());
        if let Some(api) = self.api.clone().filter(|_| open) {
            let nudge = Arc::new(Notify::new());
            self.under_way().insert(number, Arc::clone(&nudge));
            let of = UnderWay { linking: Arc::clone(self), number };
            tasks.spawn(async move {
                of.linking.confirm(&api, number, &nudge).await;
                number
            });
        }
        true
    }

    /// Goes through the steps of one claim until its end.
    async fn confirm(&self, api: &RingApi, number: u32, nudge: &Notify) {
        let mut luck = Luck::default();
        loop {
            let looked = match self.step(api, number, luck).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!(account_number = number, %error, "a claim waits for the store");
                    self.troubles().insert(number, Reason::Store);
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            match looked {
                Looked::Over => return,
                Looked::Taken => luck = Luck::default(),
                Looked::Changed => {}
                Looked::Refused(generation) => {
                    (luck.refused, luck.renewed) = (Some(generation), true);
                }
                Looked::Later { wait, left } => {
                    luck.failures += 1;
                    luck.refused = None;
                    let until = clock::ticks() + AGAIN.wait(luck.failures, random()).max(wait);
                    if self.wait(number, until, nudge, &left).await {
                        luck = Luck::default();
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

    async fn step(&self, api: &RingApi, number: u32, luck: Luck) -> Result<Looked, StoreError> {
        let Some(claim) = self.store.links().claim_of(number).await? else { return Ok(Looked::Over) };
        let Some(call) = claim.progress.call() else { return Ok(Looked::Over) };
        let is_old = self.ring_now().since(claim.visit.at()) > VISIT_LIFE;
        let ask = AccessRequest { account: claim.account.clone(), min_life: MIN_LIFE, refused: luck.refused };
        let lent = match self.tokens.access_tokens().get(&ask).await {
            Ok(lent) => lent,
            Err(denied) => return self.without_token(claim, denied, is_old).await,
        };
        let Ok(_turn) = self.calls.acquire().await else { return Ok(Looked::Over) };
        if !self.tokens.permit_call().await {
            self.troubles().insert(number, Reason::OauthDown);
            return Ok(Looked::Later { wait: Duration::ZERO, left: claim });
        }
        self.tokens.outbound().pass().await;
        let sent = claim.progress.sending(call);
        if !self.store.outbox().advance_claim(&claim, sent).await? {
            return Ok(Looked::Changed);
        }
        let said = send(api, call, &claim, &lent).await;
        if let Heard::NotSent(Hindrance::Throttled { retry_after }) = said.heard {
            self.tokens.throttled(retry_after);
        }
        let (next, pause) = claim.progress.heard(call, said.heard, is_old, luck.renewed);
        let claim = Claim { progress: sent, ..claim };
        // Where this can't be noted, it stays a request without an answer; where it is another claim by now, it says nothing of that.
        if !self.store.outbox().advance_claim(&claim, next).await? {
            return Ok(Looked::Changed);
        }
        self.tell(&claim, call, &said, next);
        Ok(match pause {
            _ if next.call().is_none() => Looked::Over,
            Pause::None => Looked::Taken,
            Pause::NewToken => Looked::Refused(lent.generation),
            Pause::Backoff => {
                let wait = said.heard.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
                Looked::Later { wait, left: Claim { progress: next, ..claim } }
            }
        })
    }

    /// There is no access token now: the code may still be on its way, or OAuth down; or there will be none.
    async fn without_token(&self, claim: Claim, denied: Denied, is_old: bool) -> Result<Looked, StoreError> {
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
            return Ok(Looked::Changed);
        }
        if reason == Reason::JustRenewed {
            // Ring may refuse it for a while before a link is confirmed; it is the newest there is.
            self.troubles().insert(claim.number, Reason::ApiDown);
            return Ok(Looked::Later { wait: Duration::ZERO, left: claim });
        }
        self.troubles().insert(claim.number, reason);
        // Where there are no tokens yet, the code brings them, and nudges.
        let until_old = (VISIT_LIFE + A_MOMENT).saturating_sub(self.ring_now().since(claim.visit.at()));
        let comes = matches!(reason, Reason::NoTokens | Reason::Lapsed | Reason::Revoked);
        let wait = if comes { until_old } else { retry_after.unwrap_or_default() };
        Ok(Looked::Later { wait, left: claim })
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

async fn send(api: &RingApi, call: Call, claim: &Claim, lent: &AccessToken) -> Said<()> {
    match call {
        Call::Post => {
            failpoint!("claim.posting");
            let nonce = BASE64URL_NOPAD.encode(claim.visit.nonce());
            let mut said = api.begin_link(&lent.token, &nonce, claim.identifier.as_deref()).await;
            // Ring's words go to the log.
            for secret in [Some(nonce.as_str()), claim.identifier.as_deref()].into_iter().flatten() {
                said.why = said.why.replace(secret, "…");
            }
            failpoint!("claim.posted");
            said
        }
        Call::Patch => {
            failpoint!("claim.patching");
            let said = api.complete_link(&lent.token).await;
            failpoint!("claim.patched");
            said
        }
    }
}

/// Ends with the task, however that ends.
struct UnderWay {
    linking: Arc<Linking>,
    number: u32,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.linking.under_way().remove(&self.number);
        self.linking.troubles().remove(&self.number);
    }
}
