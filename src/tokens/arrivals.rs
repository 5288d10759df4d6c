//! Tokens whose account nobody knows, put in or brought by a code: refreshed like any other, then Ring is asked whose they are.
//!
//! ```text
//! arriving ──refreshed──▶ users/me ──▶ its account's, and its user's
//!    │           ▲            │ no answer: asked again
//!    │           └────────────┘
//!    └── refused at the first try: turned away, and said
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::flight::Landed;
use super::{Arriving, TokenService};
use crate::chance::random;
use crate::clock;
use crate::domain::access_token::Reason;
use crate::domain::arrival::{Arrival, Unwelcome, Welcome};
use crate::domain::backoff::LONGEST_RETRY_AFTER;
use crate::domain::heard::{Doubt, Heard, Hindrance, Objection};
use crate::domain::ids::AccountId;
use crate::domain::refresh::{Decision, Gain};
use crate::failpoint;
use crate::ring_api::RingApi;
use crate::store::{AccountRefusal, Arrived, Bound, Identified, StoreError};

/// How long whoever brings a token waits for its account.
const PATIENCE: Duration = Duration::from_millis(9500);
/// Between two rounds over what Ring has not told the account of.
const ROUND: Duration = Duration::from_secs(10);

impl TokenService {
    /// Takes in a refresh token; its account has it when this returns [`Welcome::Linked`].
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn welcome(&self, arrival: Arrival) -> Result<Welcome, Unwelcome> {
        if self.api.is_none() {
            return Err(Unwelcome::NotConfigured);
        }
        if self.is_guarded() {
            return Err(Unwelcome::Guarded);
        }
        let until = clock::ticks() + PATIENCE;
        let (tell, told) = oneshot::channel();
        // Held until it is noted here, so that nobody finds it in the store before and takes it for an older one.
        let mut arriving = self.arriving.lock().await;
        let (number, is_new) =
            match self.store.links().arrive(arrival).await.map_err(|error| unkept(&error))? {
                Arrived::Arriving { number, is_new } => (number, is_new),
                Arrived::Known(account, Ok(bound)) => {
                    let Bound { created, released } = bound;
                    return Ok(Welcome::Linked { account, created, released });
                }
                Arrived::Known(account, Err(AccountRefusal::OtherUser(user))) => {
                    return Err(Unwelcome::OtherUser { account, user });
                }
                Arrived::Known(_, Err(AccountRefusal::AnotherAccount)) => {
                    return Err(Unwelcome::AnotherAccount);
                }
                Arrived::Known(_, Err(AccountRefusal::Unknown)) => return Err(Unwelcome::NotHonoured),
            };
        let before = arriving.entry(number).or_insert(Arriving { untried: is_new, ..Arriving::default() });
        before.waits.push(tell);
        drop(arriving);
        failpoint!("arrival.noted");
        // It may have been refreshed before we waited for it.
        if let Some(api) = &self.api
            && self.is_refreshed(number).await
        {
            self.greet(api, number).await;
        }
        let trouble = || self.planner().trouble(self.moment()).map(|(reason, _)| reason);
        if let Some(why) = trouble() {
            return Ok(Welcome::Pending(why));
        }
        match tokio::time::timeout_at(until, told).await {
            Ok(Ok(outcome)) => outcome,
            _ => Ok(Welcome::Pending(trouble().unwrap_or(Reason::UnderWay))),
        }
    }

    /// Reads what a run before left arriving.
    pub(super) async fn read_arriving(&self) -> Result<(), StoreError> {
        let numbers = self.store.links().arriving().await?;
        let mut arriving = self.arriving.lock().await;
        for number in numbers {
            arriving.entry(number).or_default();
        }
        Ok(())
    }

    /// Asks again and again whose the tokens are that Ring has not told of; until it is dropped.
    pub(super) async fn greet_all(self: Arc<Self>) {
        loop {
            let numbers: Vec<u32> = self.arriving.lock().await.keys().copied().collect();
            if let Some(api) = self.api.as_ref().filter(|_| !self.is_guarded()) {
                for number in numbers {
                    self.greet(api, number).await;
                }
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// A refresh came out; it may be of something that arrives.
    pub(super) async fn landed_arriving(self: Arc<Self>, landed: Landed, decision: Option<Decision>) {
        let Landed { number, answer, .. } = landed;
        let untried = {
            let mut arriving = self.arriving.lock().await;
            let Some(arriving) = arriving.get_mut(&number) else { return };
            // Before an answer that nobody knows, whoever brought it still has it.
            arriving.untried &= !matches!(answer, Heard::Unknown(_) | Heard::Answer(Gain::Kept { .. }));
            arriving.untried
        };
        let ended = matches!(decision, Some(Decision::Ended(_) | Decision::StillEnded));
        match (decision, answer) {
            (Some(Decision::Renewed), _) => {
                if let Some(api) = &self.api {
                    self.greet(api, number).await;
                }
            }
            (_, Heard::Refused(Objection::Grant)) if untried || ended => {
                let gone = self.store.links().turn_away(number).await;
                let outcome = gone.map_err(|error| unkept(&error)).and(Err(Unwelcome::NotHonoured));
                self.greeted(number, &outcome, true).await;
            }
            (_, Heard::Refused(Objection::Client)) => self.goes_on(number, Reason::ClientRefused).await,
            (_, Heard::Refused(_)) => self.goes_on(number, Reason::Failing).await,
            _ => self.goes_on(number, Reason::OauthDown).await,
        }
    }

    async fn is_refreshed(&self, number: u32) -> bool {
        let access = self.store.links().access_of(number).await;
        access.is_ok_and(|access| access.is_some_and(|access| access.token.is_some()))
    }

    /// Asks Ring whose the tokens are, if they have been refreshed, and gives them to that account.
    pub(super) async fn greet(&self, api: &RingApi, number: u32) {
        let Ok(Some(account)) = self.whose(api, number).await else { return };
        failpoint!("arrival.known");
        let shown = crate::logging::text(account.as_str()).to_string();
        match self.store.links().identify(number, account.clone()).await {
            Ok(Identified::Given(Ok(bound))) => {
                tracing::info!(account = shown, "tokens that arrived have their account");
                let (created, released) = (bound.created, bound.released);
                self.greeted(number, &Ok(Welcome::Linked { account, created, released }), true).await;
            }
            Ok(Identified::Given(Err(AccountRefusal::OtherUser(user)))) => {
                tracing::warn!(
                    account = shown,
                    "imported tokens are of an account that another user has, who keeps it"
                );
                self.greeted(number, &Err(Unwelcome::OtherUser { account, user }), true).await;
            }
            Ok(Identified::Given(Err(AccountRefusal::AnotherAccount))) => {
                tracing::warn!(account = shown, "imported tokens are of another account than was said");
                self.greeted(number, &Err(Unwelcome::AnotherAccount), true).await;
            }
            Ok(Identified::Busy) => self.goes_on(number, Reason::UnderWay).await,
            // Somebody else gave it to its account, and tells; or it was forgotten.
            Ok(Identified::Given(Err(AccountRefusal::Unknown)) | Identified::Gone) => {
                self.is_gone(number).await;
            }
            Err(error) => {
                tracing::warn!(%error, "an account that was identified could not be noted; trying again");
                self.goes_on(number, Reason::Store).await;
            }
        }
    }

    async fn whose(&self, api: &RingApi, number: u32) -> Result<Option<AccountId>, StoreError> {
        let Some(access) = self.store.links().access_of(number).await? else {
            self.is_gone(number).await;
            return Ok(None);
        };
        let left = self.access_left(&access);
        let Some(token) = access.token else { return Ok(None) };
        if left.is_zero() {
            self.bring_forward(number);
            return Ok(None);
        }
        if !self.may_ask(number).await || !self.one_call().await {
            self.goes_on(number, Reason::OauthDown).await;
            return Ok(None);
        }
        let said = api.me(&token).await;
        // Also where it is refused: Ring says so before a link is confirmed, and another token would fare no better.
        if !matches!(said.heard, Heard::Answer(_)) {
            tracing::warn!(account_number = number, why = %said.why, "Ring does not say whose a token is; trying again");
        }
        match said.heard {
            Heard::Answer(account) => return Ok(Some(account)),
            Heard::NotSent(Hindrance::Throttled { retry_after }) => self.throttled(retry_after),
            Heard::Unknown(Doubt::Failed { retry_after: Some(wait) }) => self.ask_later(number, wait).await,
            _ => {}
        }
        self.goes_on(number, Reason::OauthDown).await;
        Ok(None)
    }

    /// Whether Ring does not want to be asked about it now.
    async fn may_ask(&self, number: u32) -> bool {
        let not_before = self.arriving.lock().await.get(&number).and_then(|arriving| arriving.not_before);
        not_before.is_none_or(|not_before| clock::ticks() >= not_before)
    }

    async fn ask_later(&self, number: u32, wait: Duration) {
        if let Some(arriving) = self.arriving.lock().await.get_mut(&number) {
            arriving.not_before = Some(clock::ticks() + wait.min(LONGEST_RETRY_AFTER));
        }
    }

    fn bring_forward(&self, number: u32) {
        // Where the last try failed, its time comes.
        let _ = self.planner().ask(number, self.moment());
        self.wake.notify_one();
    }

    async fn goes_on(&self, number: u32, why: Reason) {
        self.greeted(number, &Ok(Welcome::Pending(why)), false).await;
    }

    /// Whoever waits for it is told by whoever took it, or hears that it takes long.
    async fn is_gone(&self, number: u32) {
        self.arriving.lock().await.remove(&number);
    }

    async fn greeted(&self, number: u32, outcome: &Result<Welcome, Unwelcome>, is_over: bool) {
        let mut arriving = self.arriving.lock().await;
        let waits = if is_over {
            arriving.remove(&number).map(|arriving| arriving.waits)
        } else {
            arriving.get_mut(&number).map(|arriving| std::mem::take(&mut arriving.waits))
        };
        for waits in waits.into_iter().flatten() {
            // Who has gone needs no answer.
            let _ = waits.send(outcome.clone());
        }
    }

    /// Ring asks us to send nothing for a while, and may say for how long.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        self.planner().heard(Heard::throttled(retry_after), self.moment(), random());
    }

    /// Waits until a request may go out; not for long, since the next round comes.
    pub async fn one_call(&self) -> bool {
        loop {
            let taken = self.planner().take_call(self.moment());
            match taken {
                Ok(()) => {
                    self.gate.pass().await;
                    return true;
                }
                Err(wait) if wait > ROUND => return false,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

fn unkept(error: &StoreError) -> Unwelcome {
    Unwelcome::Store(error.to_string())
}
