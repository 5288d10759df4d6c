//! Asks Ring to pause the app on an account that is to be disconnected: one request, noted before it is sent, and its answer.
//!
//! It is work on the account's claim, as a confirmation is, because both change the same integration at Ring.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, oneshot};

use super::Linking;
use super::pause_request::{Pause, PauseRequest};
use crate::clock;
use crate::domain::access_token::{AccessRequest, AccessToken, Denied, Reason};
use crate::domain::actor::Actor;
use crate::domain::disconnect::{self, AtRing, NotPaused};
use crate::domain::heard::{Heard, Hindrance, Objection};
use crate::domain::ids::{AccountId, UserId};
use crate::failpoint;
use crate::logging;
use crate::outbound::{Attempt, Driver, Item};
use crate::ring_api::{RingApi, Said};
use crate::store::{AccountRefusal, Asking, LinkState, NoAsking, StoreError};

/// What a pause needs of its access token.
const MIN_LIFE: Duration = Duration::from_mins(1);
/// How long the end of a confirmation is waited for: the work goes on for a moment after the link is complete.
const BUSY: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(5);

impl Linking {
    /// Asks Ring to pause the app on the account, for `by`, who has seen that `holder` has it. It goes on when the caller leaves, and ends within a minute or so.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn pause(
        &self,
        account: AccountId,
        holder: Option<UserId>,
        by: Actor,
    ) -> Result<Pause, StoreError> {
        let Some(view) = self.store.links().account(account.clone()).await? else {
            return Ok(Pause::Account(AccountRefusal::Unknown));
        };
        if view.user != holder {
            return Ok(Pause::Moved);
        }
        if view.state == LinkState::Removed {
            return Ok(Pause::Ready(AtRing::Removed));
        }
        let asked_before = view.disconnecting_since.is_some();
        let not = |why| Pause::Not { why, may_be_paused: asked_before };
        if !self.api.is_there() {
            return Ok(not(disconnect::NOT_CONFIGURED));
        }
        let until = clock::ticks() + BUSY;
        loop {
            let (answer, told) = oneshot::channel();
            let (account, holder, by) = (account.clone(), holder.clone(), by.clone());
            let request = PauseRequest { account, number: view.number, holder, by, asked_before, answer };
            if self.pause_requests.try_send(request).is_err() {
                return Ok(not(NotPaused::Ours));
            }
            match told.await.unwrap_or(not(NotPaused::Ours)) {
                Pause::Not { why: NotPaused::Busy, .. } if clock::ticks() < until => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                came_to => return Ok(came_to),
            }
        }
    }

    /// Begins what is requested, unless the link is being confirmed.
    pub(super) fn begin_pause(self: &Arc<Self>, request: PauseRequest, driver: &mut Driver<()>) {
        let Some(api) = self.api.get() else { return };
        let Some(in_flight) = self.tokens.outbound().enter(Item::Claim(request.number)) else {
            let busy = Pause::Not { why: NotPaused::Busy, may_be_paused: request.asked_before };
            // Nobody may be waiting any more.
            let _ = request.answer.send(busy);
            return;
        };
        let linking = Arc::clone(self);
        driver.start(in_flight, async move {
            let came_to = linking.ask_to_pause(&api, &request).await;
            if let Pause::Not { why, may_be_paused } = &came_to {
                let (account, why) = (logging::text(request.account.as_str()), why.words());
                tracing::warn!(%account, %why, may_be_paused, "Ring is not known to have paused the app; the account is kept");
            }
            let _ = request.answer.send(came_to);
        });
    }

    /// A token that Ring refuses is replaced once, as for a claim.
    async fn ask_to_pause(&self, api: &RingApi, request: &PauseRequest) -> Pause {
        let not = |why| Pause::Not { why, may_be_paused: request.asked_before };
        let (account, outbound) = (&request.account, self.tokens.outbound());
        let mut refused = None;
        loop {
            let ask = AccessRequest { account: account.clone(), min_life: MIN_LIFE, refused };
            let token = match outbound.unless_stopping(self.tokens.access_tokens().get(&ask)).await {
                Some(Ok(token)) => token,
                // A newer one would be refused as well.
                Some(Err(Denied { reason: Reason::JustRenewed, .. })) => {
                    return not(NotPaused::Refused(Objection::AccessToken));
                }
                Some(Err(denied)) => return not(NotPaused::NoToken(denied)),
                None => return not(NotPaused::Ours),
            };
            match outbound.send_once(&PauseAttempt { of: self, api, request, token }).await {
                Ok(pause) => return pause,
                Err(generation) if refused.is_none() => refused = Some(generation),
                Err(_) => return not(NotPaused::Refused(Objection::AccessToken)),
            }
        }
    }
}

/// One request to pause. It ends with what it came to, or with the generation of an access token that Ring refuses.
struct PauseAttempt<'a> {
    of: &'a Linking,
    api: &'a RingApi,
    request: &'a PauseRequest,
    token: AccessToken,
}

impl<'a> Attempt for PauseAttempt<'a> {
    type Place = SemaphorePermit<'a>;
    type Intent = Asking;
    type Given = ();
    type End = Result<Pause, u64>;

    async fn admit(&self) -> Result<SemaphorePermit<'a>, Self::End> {
        let Linking { calls, tokens, .. } = self.of;
        let place = async { Some((calls.acquire().await.ok()?, tokens.permit_call().await)) };
        let why = match tokens.outbound().unless_stopping(place).await.flatten() {
            Some((place, true)) => return Ok(place),
            Some((_, false)) => {
                NotPaused::NoToken(Denied::for_now(tokens.trouble().unwrap_or(Reason::UnderWay), SOON))
            }
            None => NotPaused::Ours,
        };
        Err(Ok(Pause::Not { why, may_be_paused: self.request.asked_before }))
    }

    async fn intend(&self) -> Result<Asking, Self::End> {
        let PauseRequest { account, holder, by, asked_before, .. } = self.request;
        let begun = self.of.store.outbox().begin_pause(account.clone(), holder.clone(), by.clone()).await;
        Err(Ok(match begun {
            Ok(Ok(asking)) => return Ok(asking),
            Ok(Err(NoAsking::Removed)) => Pause::Ready(AtRing::Removed),
            Ok(Err(NoAsking::TooMany)) => Pause::TooMany,
            Ok(Err(NoAsking::Moved)) => Pause::Moved,
            Ok(Err(NoAsking::Account(refusal))) => Pause::Account(refusal),
            Err(_) => Pause::Not { why: NotPaused::Ours, may_be_paused: *asked_before },
        }))
    }

    async fn send(&self, _: &Asking) -> Said<()> {
        failpoint!("disconnect.pausing");
        let said = self.api.pause_link(&self.token.token).await;
        failpoint!("disconnect.paused");
        said
    }

    /// The answer of the API comes within its time, or not at all.
    fn late(&self, _: &Asking) {}

    async fn settle(&self, asking: Asking, said: Said<()>) -> Self::End {
        if let Heard::NotSent(Hindrance::Throttled { retry_after }) = said.heard {
            self.of.tokens.throttled(retry_after);
        }
        let outcome = disconnect::heard(said.heard, asking.again);
        let (account, why) = (logging::text(self.request.account.as_str()), &said.why);
        tracing::info!(%account, %why, paused = outcome.is_ok(), "Ring was asked to pause the app");
        // Where the end can't be noted, the note says that the app may be paused: Ring is asked again then.
        let may_be_paused = disconnect::may_be_done(outcome)
            || asking.again
            || self.of.store.outbox().not_paused(asking.number).await.is_err();
        match outcome {
            Ok(()) => Ok(Pause::Ready(AtRing::Paused)),
            Err(NotPaused::Refused(Objection::AccessToken)) => Err(self.token.generation),
            Err(why) => Ok(Pause::Not { why, may_be_paused }),
        }
    }
}
