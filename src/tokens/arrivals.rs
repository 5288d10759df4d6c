//! Refresh tokens whose account nobody knows: refreshed like any other, then Ring is asked whose they are.
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
use super::{Arriving, Desk};
use crate::clock;
use crate::domain::arrival::{Arrival, Unwelcome, Welcome};
use crate::domain::ids::AccountId;
use crate::domain::lending::Reason;
use crate::domain::refresh::{Answer, Ruling};
use crate::failpoint;
use crate::ring_api::{ApiError, RingApi};
use crate::store::{AccountRefusal, StoreError};

/// How long whoever brings a token waits for its account.
const PATIENCE: Duration = Duration::from_millis(9500);
/// Between two rounds over what Ring has not told the account of.
const ROUND: Duration = Duration::from_secs(10);

impl Desk {
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
        {
            // Held over the commit, so that whoever greets it finds us waiting.
            let mut arriving = self.arriving.lock().await;
            let (number, is_new) = self.store.arrive(arrival).await.map_err(|error| unkept(&error))?;
            let before = arriving.entry(number).or_insert(Arriving { untried: is_new, waits: None });
            before.waits = Some(tell);
        }
        failpoint!("arrival.noted");
        // Whether it is new, or waits for its next try.
        self.wake.notify_one();
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
        let numbers = self.store.arriving().await?;
        let mut arriving = self.arriving.lock().await;
        for number in numbers {
            arriving.entry(number).or_insert(Arriving { untried: false, waits: None });
        }
        Ok(())
    }

    /// Asks again and again whose the tokens are that Ring has not told of; until it is dropped.
    pub(super) async fn greet_all(self: Arc<Self>) {
        loop {
            let numbers: Vec<u32> = self.arriving.lock().await.keys().copied().collect();
            for number in numbers {
                self.greet(number).await;
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// A refresh came out; it may be of something that arrives.
    pub(super) async fn landed_arriving(self: Arc<Self>, landed: Landed, ruling: Option<Ruling>) {
        let Landed { number, answer, .. } = landed;
        let Some(untried) =
            self.arriving.lock().await.get_mut(&number).map(|a| std::mem::replace(&mut a.untried, false))
        else {
            return;
        };
        match (ruling, answer) {
            (Some(Ruling::Renewed), _) => self.greet(number).await,
            // Whoever brought it still has it. After an answer that nobody knows, OAuth's word decides as for any account.
            (_, Answer::Refused) if untried => {
                let gone = self.store.turn_away(number).await;
                let outcome = gone.map_err(|error| unkept(&error)).and(Err(Unwelcome::NotHonoured));
                self.greeted(number, outcome, true).await;
            }
            (_, Answer::ClientRefused) => {
                self.greeted(number, Ok(Welcome::Pending(Reason::ClientRefused)), false).await;
            }
            _ => self.greeted(number, Ok(Welcome::Pending(Reason::OauthDown)), false).await,
        }
    }

    /// Asks Ring whose the tokens are, if they have been refreshed, and gives them to that account.
    async fn greet(&self, number: u32) {
        let Some(api) = self.api.as_ref().filter(|_| !self.is_guarded()) else { return };
        let Ok(Some(account)) = self.whose(api, number).await else { return };
        failpoint!("arrival.known");
        match self.store.identify(number, account.clone()).await {
            Ok(Some(Ok(bound))) => {
                tracing::info!(account = %crate::log::text(account.as_str()), "a token that was imported alone has its account");
                let (created, released) = (bound.created, bound.released);
                self.greeted(number, Ok(Welcome::Linked { account, created, released }), true).await;
            }
            Ok(Some(Err(AccountRefusal::OtherUser(user)))) => {
                tracing::warn!(account = %crate::log::text(account.as_str()), "imported tokens are of an account that another user has, who keeps it");
                self.greeted(number, Err(Unwelcome::OtherUser { account, user }), true).await;
            }
            // Forgotten meanwhile.
            Ok(Some(Err(AccountRefusal::Unknown)) | None) => {
                self.greeted(number, Err(Unwelcome::NotHonoured), true).await;
            }
            Err(error) => {
                tracing::warn!(%error, "an account that was identified could not be noted; trying again");
                self.greeted(number, Ok(Welcome::Pending(Reason::Store)), false).await;
            }
        }
    }

    async fn whose(&self, api: &RingApi, number: u32) -> Result<Option<AccountId>, StoreError> {
        let Some(access) = self.store.access_of(number)? else { return Ok(None) };
        let Some(token) = access.token else { return Ok(None) };
        if access.span.expires_at <= self.now() {
            self.bring_forward(number);
            return Ok(None);
        }
        self.one_call().await;
        match api.me(&token).await {
            Ok(account) => return Ok(Some(account)),
            Err(error) => {
                tracing::warn!(account_number = number, %error, "Ring does not say whose a token is; trying again");
                if error == ApiError::Unauthorized {
                    self.bring_forward(number);
                }
            }
        }
        self.greeted(number, Ok(Welcome::Pending(Reason::OauthDown)), false).await;
        Ok(None)
    }

    fn bring_forward(&self, number: u32) {
        // Where the last try failed, its time comes.
        let _ = self.planner().ask(number, self.moment());
        self.wake.notify_one();
    }

    async fn greeted(&self, number: u32, outcome: Result<Welcome, Unwelcome>, is_over: bool) {
        let mut arriving = self.arriving.lock().await;
        let waits = if is_over {
            arriving.remove(&number).and_then(|arriving| arriving.waits)
        } else {
            arriving.get_mut(&number).and_then(|arriving| arriving.waits.take())
        };
        if let Some(waits) = waits {
            // Who has gone needs no answer.
            let _ = waits.send(outcome);
        }
    }

    /// Waits until a request may go out.
    async fn one_call(&self) {
        loop {
            let taken = self.planner().take_call(self.moment());
            match taken {
                Ok(()) => return self.gate.pass().await,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

fn unkept(error: &StoreError) -> Unwelcome {
    Unwelcome::Store(error.to_string())
}
