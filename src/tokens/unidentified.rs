//! Tokens whose account nobody knows, put in or brought by a code: refreshed like any other, then Ring is asked whose they are.
//!
//! ```text
//! unidentified ──refreshed──▶ users/me ──▶ identified: its account's, and its user's
//!      │             ▲           │ no answer: asked again
//!      │             └───────────┘
//!      └── refused at the first try: rejected, and said
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

use super::context::Context;
use crate::clock;
use crate::domain::access_token::Reason;
use crate::domain::arrival::{Arrival, Unwelcome, Welcome};
use crate::domain::backoff::LONGEST_RETRY_AFTER;
use crate::domain::heard::{Doubt, Heard, Hindrance, Objection};
use crate::domain::ids::AccountId;
use crate::domain::refresh::{Decision, Gain, Outcome};
use crate::failpoint;
use crate::ring_api::RingApi;
use crate::store::{AccountRefusal, Arrived, Bound, Identified, StoreError};

/// How long whoever brings a token waits for its account.
const PATIENCE: Duration = Duration::from_millis(9500);
/// Between two rounds over what Ring has not told the account of.
const ROUND: Duration = Duration::from_secs(10);

/// Tokens whose account at Ring is not known yet.
#[derive(Debug)]
pub(super) struct Unidentified {
    context: Arc<Context>,
    /// By the number that stands for their account.
    waiting: Mutex<HashMap<u32, Waiting>>,
}

/// What is known of one of them.
#[derive(Debug, Default)]
struct Waiting {
    /// OAuth has not been asked since it came.
    untried: bool,
    /// Who brought it.
    told: Vec<oneshot::Sender<Result<Welcome, Unwelcome>>>,
    /// Ring asks not to be asked whose it is before.
    not_before: Option<Instant>,
    /// It is noted that Ring does not honour its access token.
    refused: bool,
}

impl Unidentified {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, waiting: Mutex::default() }
    }

    /// Takes in a refresh token; its account has it when this returns [`Welcome::Linked`].
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) async fn take_in(&self, arrival: Arrival) -> Result<Welcome, Unwelcome> {
        if !self.context.api.is_there() {
            return Err(Unwelcome::NotConfigured);
        }
        if self.context.guard.is_guarded() {
            return Err(Unwelcome::Guarded);
        }
        let until = clock::ticks() + PATIENCE;
        let (tell, told) = oneshot::channel();
        // Held until it is noted here, so that nobody finds it in the store before and takes it for an older one.
        let mut waiting = self.waiting.lock().await;
        let (number, is_new) =
            match self.context.store.links().arrive(arrival).await.map_err(|error| unkept(&error))? {
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
        let before = waiting.entry(number).or_insert(Waiting { untried: is_new, ..Waiting::default() });
        before.told.push(tell);
        drop(waiting);
        failpoint!("arrival.noted");
        // It may have been refreshed before we waited for it.
        if let Some(api) = self.context.api.get()
            && self.is_refreshed(number).await
        {
            self.identify(&api, number).await;
        }
        if let Some(why) = self.trouble() {
            return Ok(Welcome::Pending(why));
        }
        if let Ok(Ok(outcome)) = tokio::time::timeout_at(until, told).await {
            return outcome;
        }
        let waits_for = if self.is_refreshed(number).await { Reason::UsersMe } else { Reason::UnderWay };
        Ok(Welcome::Pending(self.trouble().unwrap_or(waits_for)))
    }

    /// Why nothing goes out to Ring at present, if so.
    fn trouble(&self) -> Option<Reason> {
        self.context.schedule.trouble().map(|(reason, _)| reason)
    }

    /// Tokens came whose account is to be found out.
    pub(super) async fn expect(&self, number: u32) {
        self.waiting.lock().await.entry(number).or_default();
    }

    pub(super) async fn expects(&self, number: u32) -> bool {
        self.waiting.lock().await.contains_key(&number)
    }

    /// Reads what a run before left unidentified.
    pub(super) async fn read(&self) -> Result<(), StoreError> {
        let numbers = self.context.store.links().arriving().await?;
        let mut waiting = self.waiting.lock().await;
        for number in numbers {
            waiting.entry(number).or_default();
        }
        Ok(())
    }

    /// Asks again and again whose the tokens are that Ring has not told of; until it is dropped.
    pub(super) async fn identify_all(self: Arc<Self>) {
        loop {
            let numbers: Vec<u32> = self.waiting.lock().await.keys().copied().collect();
            if let Some(api) = self.context.api.get().filter(|_| !self.context.guard.is_guarded()) {
                for number in numbers {
                    self.identify(&api, number).await;
                }
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// A refresh came out; it may be of one of them.
    pub(super) async fn refreshed(self: Arc<Self>, number: u32, answer: Outcome, decision: Option<Decision>) {
        let untried = {
            let mut waiting = self.waiting.lock().await;
            let Some(waiting) = waiting.get_mut(&number) else { return };
            // Before an answer that nobody knows, whoever brought it still has it.
            waiting.untried &= !matches!(answer, Heard::Unknown(_) | Heard::Answer(Gain::Kept { .. }));
            waiting.untried
        };
        let ended = matches!(decision, Some(Decision::Ended(_) | Decision::StillEnded));
        match (decision, answer) {
            (Some(Decision::Renewed), _) => {
                if let Some(api) = self.context.api.get() {
                    self.identify(&api, number).await;
                }
            }
            (_, Heard::Refused(Objection::Grant)) if untried || ended => {
                let gone = self.context.store.links().turn_away(number).await;
                let outcome = gone.map_err(|error| unkept(&error)).and(Err(Unwelcome::NotHonoured));
                self.tell(number, &outcome, true).await;
            }
            (_, Heard::Refused(Objection::Client)) => self.goes_on(number, Reason::ClientRefused).await,
            (_, Heard::NotSent(Hindrance::Throttled { .. })) => self.goes_on(number, Reason::Throttled).await,
            (_, Heard::NotSent(Hindrance::NoConnection) | Heard::Unknown(_)) => {
                self.goes_on(number, Reason::OauthDown).await;
            }
            _ => self.goes_on(number, self.context.schedule.why_failing(number)).await,
        }
    }

    async fn is_refreshed(&self, number: u32) -> bool {
        let access = self.context.store.links().access_of(number).await;
        access.is_ok_and(|access| access.is_some_and(|access| access.token.is_some()))
    }

    /// Asks Ring whose the tokens are, if they have been refreshed, and gives them to that account.
    pub(super) async fn identify(&self, api: &RingApi, number: u32) {
        let Ok(Some(account)) = self.whose(api, number).await else { return };
        failpoint!("arrival.known");
        let shown = crate::logging::text(account.as_str()).to_string();
        match self.context.store.links().identify(number, account.clone()).await {
            Ok(Identified::Given(Ok(bound))) => {
                tracing::info!(account = shown, "tokens that arrived have their account");
                let (created, released) = (bound.created, bound.released);
                self.tell(number, &Ok(Welcome::Linked { account, created, released }), true).await;
            }
            Ok(Identified::Given(Err(AccountRefusal::OtherUser(user)))) => {
                tracing::warn!(
                    account = shown,
                    "imported tokens are of an account that another user has, who keeps it"
                );
                self.tell(number, &Err(Unwelcome::OtherUser { account, user }), true).await;
            }
            Ok(Identified::Given(Err(AccountRefusal::AnotherAccount))) => {
                tracing::warn!(account = shown, "imported tokens are of another account than was said");
                self.tell(number, &Err(Unwelcome::AnotherAccount), true).await;
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
        let Some(access) = self.context.store.links().access_of(number).await? else {
            self.is_gone(number).await;
            return Ok(None);
        };
        let left = self.context.schedule.access_left(&access);
        let Some(token) = access.token else { return Ok(None) };
        if left.is_zero() {
            // Where the last try failed, its time comes.
            let _ = self.context.schedule.ask(number);
            return Ok(None);
        }
        if !self.may_ask(number).await {
            self.goes_on(number, Reason::UsersMe).await;
            return Ok(None);
        }
        if !self.context.schedule.permit_call().await {
            self.goes_on(number, self.trouble().unwrap_or(Reason::UnderWay)).await;
            return Ok(None);
        }
        self.context.outbound.pass().await;
        let said = api.me(&token).await;
        // Also where it is refused: Ring says so before a link is confirmed, and another token would fare no better.
        if !matches!(said.heard, Heard::Answer(_)) {
            tracing::warn!(account_number = number, why = %said.why, "Ring does not say whose a token is; trying again");
        }
        match said.heard {
            Heard::Answer(account) => return Ok(Some(account)),
            Heard::NotSent(Hindrance::Throttled { retry_after }) => {
                self.context.schedule.throttled(retry_after);
            }
            Heard::Refused(Objection::AccessToken) => self.note_refused(number).await,
            Heard::Unknown(Doubt::Failed { retry_after: Some(wait) }) => self.ask_later(number, wait).await,
            _ => {}
        }
        self.goes_on(number, Reason::UsersMe).await;
        Ok(None)
    }

    /// It may be the dead one of two: where a younger one may be of its account, it is not refreshed.
    async fn note_refused(&self, number: u32) {
        let is_noted = self.waiting.lock().await.get(&number).is_none_or(|waiting| waiting.refused);
        if is_noted || self.context.store.links().refused_by_ring(number).await.is_err() {
            return;
        }
        if let Some(waiting) = self.waiting.lock().await.get_mut(&number) {
            waiting.refused = true;
        }
    }

    /// Whether Ring does not want to be asked about it now.
    async fn may_ask(&self, number: u32) -> bool {
        let not_before = self.waiting.lock().await.get(&number).and_then(|waiting| waiting.not_before);
        not_before.is_none_or(|not_before| clock::ticks() >= not_before)
    }

    async fn ask_later(&self, number: u32, wait: Duration) {
        if let Some(waiting) = self.waiting.lock().await.get_mut(&number) {
            waiting.not_before = Some(clock::ticks() + wait.min(LONGEST_RETRY_AFTER));
        }
    }

    async fn goes_on(&self, number: u32, why: Reason) {
        self.tell(number, &Ok(Welcome::Pending(why)), false).await;
    }

    /// Whoever waits for it is told by whoever took it, or hears that it takes long.
    async fn is_gone(&self, number: u32) {
        self.waiting.lock().await.remove(&number);
    }

    async fn tell(&self, number: u32, outcome: &Result<Welcome, Unwelcome>, is_over: bool) {
        let mut waiting = self.waiting.lock().await;
        let told = if is_over {
            waiting.remove(&number).map(|waiting| waiting.told)
        } else {
            waiting.get_mut(&number).map(|waiting| std::mem::take(&mut waiting.told))
        };
        for told in told.into_iter().flatten() {
            // Who has gone needs no answer.
            let _ = told.send(outcome.clone());
        }
    }
}

fn unkept(error: &StoreError) -> Unwelcome {
    Unwelcome::Store(error.to_string())
}
