//! Takes in refresh tokens whose account is not known: noted, exchanged, asked whose they are, given to that account.
//!
//! ```text
//! noted ──exchange──▶ given ──users/me──▶ the account's
//!   │  unknown: again by itself    │  no answer: again by itself
//!   └── refused, or surely not sent: dropped, and said
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::Desk;
use crate::domain::arrival::{Arrival, Unwelcome, Welcome};
use crate::domain::ids::AccountId;
use crate::domain::secret::Secret;
use crate::domain::tokens::{Pair, Span};
use crate::failpoint;
use crate::ring_api::{Exchange, RingApi, TokenPair};
use crate::store::{AccountRefusal, ArrivalKey, NewTokens, Stage, StoreError};

/// Between two rounds over what is pending.
const ROUND: Duration = Duration::from_secs(30);
/// What is taken up in a round.
const AT_ONCE: usize = 100;
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// The sole right to go on with an arrival.
struct Claim<'a> {
    desk: &'a Desk,
    key: ArrivalKey,
}

impl<'a> Claim<'a> {
    fn new(desk: &'a Desk, key: ArrivalKey) -> Option<Self> {
        desk.arriving().insert(key).then_some(Self { desk, key })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.desk.arriving().remove(&self.key);
    }
}

impl Desk {
    /// Takes in a refresh token; its account has it when this returns [`Welcome::Linked`].
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn welcome(&self, arrival: Arrival) -> Result<Welcome, Unwelcome> {
        let api = self.api.as_ref().ok_or(Unwelcome::NotConfigured)?;
        if self.is_guarded() {
            return Err(Unwelcome::Guarded);
        }
        let refresh = Secret::new(arrival.refresh_token.expose().clone());
        // Before it can be seen as pending: a token must not be sent by two at once.
        let Some(_claim) = Claim::new(self, ArrivalKey::of(&refresh)) else { return Ok(Welcome::Pending) };
        let waiting = self.store.arrive(arrival).await.map_err(|error| unkept(&error))?;
        failpoint!("arrival.noted");
        let access = match waiting.stage {
            Stage::Given(access) => access,
            Stage::Sent(_) => match self.exchange(api, waiting.key, &refresh).await? {
                Some(access) => access,
                None => return Ok(Welcome::Pending),
            },
        };
        match self.whose(api, &access).await {
            Some(account) => self.settle(waiting.key, account).await,
            None => Ok(Welcome::Pending),
        }
    }

    /// Goes on with what is pending, until it is dropped.
    pub(super) async fn welcome_pending(self: Arc<Self>) {
        loop {
            if let Some(api) = self.api.as_ref().filter(|_| !self.is_guarded()) {
                for waiting in self.store.arrivals(AT_ONCE).unwrap_or_default() {
                    self.go_on(api, waiting.key, waiting.stage).await;
                }
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    async fn go_on(&self, api: &RingApi, key: ArrivalKey, stage: Stage) {
        let Some(_claim) = Claim::new(self, key) else { return };
        let access = match stage {
            Stage::Given(access) => Ok(Some(access)),
            Stage::Sent(refresh) => self.exchange(api, key, &refresh).await,
        };
        let access = match access {
            Ok(Some(access)) => access,
            Ok(None) | Err(Unwelcome::NotReached(_)) => return,
            Err(why) => {
                tracing::error!(%why, "a token that was imported without its account is lost");
                return;
            }
        };
        let Some(account) = self.whose(api, &access).await else { return };
        match self.settle(key, account).await {
            Ok(Welcome::Linked { account, .. }) => tracing::info!(%account, "a pending import is linked"),
            Ok(Welcome::Pending) => {}
            Err(why) => tracing::warn!(%why, "a pending import"),
        }
    }

    /// The access token; nothing when nobody knows what OAuth did.
    async fn exchange(
        &self,
        api: &RingApi,
        key: ArrivalKey,
        refresh: &Secret<String>,
    ) -> Result<Option<Secret<String>>, Unwelcome> {
        self.one_call().await;
        let exchange = api.refresh(refresh).await;
        failpoint!("arrival.answered");
        let why = match exchange {
            Exchange::Renewed(pair) => {
                let access = Secret::new(pair.access_token.expose().clone());
                self.keep_given(key, pair, refresh).await;
                failpoint!("arrival.given");
                return Ok(Some(access));
            }
            Exchange::Unknown { .. } | Exchange::Unreadable(_) => return Ok(None),
            Exchange::NotSent { why } => Unwelcome::NotReached(why),
            Exchange::Throttled { .. } => Unwelcome::NotReached("it throttles us".into()),
            Exchange::Refused => Unwelcome::NotHonoured,
            Exchange::ClientRefused { .. } => Unwelcome::ClientRefused,
        };
        self.store.drop_arrival(key).await.map_err(|error| unkept(&error))?;
        Err(why)
    }

    async fn keep_given(&self, key: ArrivalKey, pair: TokenPair, sent: &Secret<String>) {
        let TokenPair { access_token, refresh_token, expires_in, scope } = pair;
        let refresh_token = refresh_token.unwrap_or_else(|| Secret::new(sent.expose().clone()));
        let pair = Pair { access_token: Some(access_token), refresh_token, scope };
        let tokens = Arc::new(NewTokens { pair, span: Span::from_now(self.now(), expires_in) });
        while let Err(error) = self.store.arrival_given(key, Arc::clone(&tokens)).await {
            tracing::error!(%error, "the store can't take the tokens of an import; trying again");
            tokio::time::sleep(RECORD_AGAIN).await;
        }
    }

    async fn whose(&self, api: &RingApi, access: &Secret<String>) -> Option<AccountId> {
        self.one_call().await;
        match api.me(access).await {
            Ok(account) => Some(account),
            Err(error) => {
                tracing::warn!(%error, "whose an imported token is could not be asked; trying again");
                None
            }
        }
    }

    async fn settle(&self, key: ArrivalKey, account: AccountId) -> Result<Welcome, Unwelcome> {
        let settled =
            self.store.settle_arrival(key, account.clone()).await.map_err(|error| unkept(&error))?;
        match settled {
            Some(Ok(bound)) => {
                Ok(Welcome::Linked { account, created: bound.created, released: bound.released })
            }
            Some(Err(AccountRefusal::OtherUser(user))) => Err(Unwelcome::OtherUser { account, user }),
            Some(Err(AccountRefusal::Unknown)) => Err(Unwelcome::Store("the account is gone".into())),
            // Somebody else settled it meanwhile.
            None => Ok(Welcome::Linked { account, created: false, released: 0 }),
        }
    }

    /// Waits until a request may go out.
    async fn one_call(&self) {
        loop {
            let taken = self.planner().take_call(self.moment());
            match taken {
                Ok(()) => return,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

fn unkept(error: &StoreError) -> Unwelcome {
    Unwelcome::Store(error.to_string())
}
