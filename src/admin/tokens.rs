//! Access tokens for local workers, and the word that lets a restored store refresh again.

use std::time::Duration;

use crate::domain::actor::Actor;
use crate::http::Body;
use crate::logging::audit::{self, Entry, What};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, account_id, ok};
use super::session::Session;
use crate::domain::access_token::{AccessRequest, AccessToken, Denied, Reason};
use crate::domain::act::Act;
use crate::domain::ids::AccountId;
use crate::domain::rights::Call;
use crate::http::{Answer, answer};

/// A worker that does not say gets a token that is good for this long.
const MIN_LIFE_S: u64 = 60;
/// An answer comes within this, whatever the store does.
const PATIENCE: Duration = Duration::from_millis(9900);
const SOON: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Seconds that the token must be good for at least.
    min_life_s: Option<u64>,
    /// The generation of one that Ring answered 401 to.
    refused: Option<u64>,
}

impl Admin {
    /// A refusal says why in `reason`, and where asking again may help, after how long.
    pub(super) async fn lend_token(&self, session: &Session, by: &Actor, id: &str, body: Body) -> Reply {
        session.may(Call::TokensLend, None)?;
        let Wish { min_life_s, refused } = request::json(body).await?;
        let account = account_id(id)?;
        let min_life = Duration::from_secs(min_life_s.unwrap_or(MIN_LIFE_S));
        let ask = AccessRequest { account, min_life, refused };
        let given = tokio::time::timeout(PATIENCE, self.access_token(session, by, &ask)).await;
        Ok(match given.unwrap_or(Ok(Err(Denied::for_now(Reason::Store, SOON))))? {
            Ok(given) => shown(&given),
            Err(why) => denied(why),
        })
    }

    async fn access_token(
        &self,
        session: &Session,
        by: &Actor,
        ask: &AccessRequest,
    ) -> Result<Result<AccessToken, Denied>, Refusal> {
        if !self.sees(session, &ask.account).await? {
            return Ok(Err(Denied::for_good(Reason::NoTokens)));
        }
        let given = self.tokens.access_tokens().get(ask).await;
        // It may have been given to another user while this waited.
        let still = !session.has_ended() && self.sees(session, &ask.account).await?;
        if !still {
            return Ok(given.and(Err(Denied::for_good(Reason::NoTokens))));
        }
        if let Ok(given) = &given {
            let detail = Some(format!("generation {}", given.generation));
            self.note_act(by, (Act::GiveToken, What::TokenGiven), Some(&ask.account), detail).await?;
        }
        Ok(given)
    }

    async fn sees(&self, session: &Session, account: &AccountId) -> Result<bool, Refusal> {
        if session.sees_all() {
            return Ok(true);
        }
        let view = self.store.links().account(account.clone()).await?;
        Ok(view.is_some_and(|view| session.shows(&view)))
    }

    /// Lets a store that is an older copy refresh again.
    pub(super) async fn accept_restored(&self, session: &Session, by: &Actor) -> Reply {
        session.may(Call::TokensManage, None)?;
        self.tokens.accept_restored(by).await?;
        audit::note(&Entry::new(What::RestoreAccepted, by.clone()));
        ok(&json!({"accepted": true}))
    }
}

fn shown(given: &AccessToken) -> Answer {
    let document = json!({
        "access_token": given.token.expose(),
        "token_type": "Bearer",
        "expires_at": given.expires_at.rfc3339(),
        "expires_in": given.expires_in.as_secs(),
        "generation": given.generation,
    });
    answer::json(StatusCode::OK, document.to_string())
}

fn denied(Denied { reason, retry_after }: Denied) -> Answer {
    let seconds = retry_after.map(|wait| wait.as_millis().div_ceil(1000).max(1));
    let status = match reason {
        Reason::NoTokens => StatusCode::NOT_FOUND,
        _ if seconds.is_some() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    let document = json!({"error": reason.words(), "reason": reason.as_str(), "retry_after_s": seconds});
    let mut answer = answer::json(status, document.to_string());
    if let Some(value) = seconds.and_then(|s| HeaderValue::from_str(&s.to_string()).ok()) {
        answer.headers_mut().insert(RETRY_AFTER, value);
    }
    answer
}
