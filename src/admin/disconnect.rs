//! An account is disconnected: Ring is asked to pause the app, then the account is forgotten. Nothing is destroyed before Ring has paused it,
//! unless the caller wants that anyway.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, account_id, ok};
use super::session::Session;
use crate::domain::actor::Actor;
use crate::domain::disconnect::{AtRing, Disconnection, NotPaused};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::rights::Call;
use crate::http::{Body, answer};
use crate::linking::Pause;
use crate::store::AccountView;

/// Why Ring was not asked: a clause that begins with the subject.
const TOO_MANY: &str = "very many accounts are half disconnected";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Also where Ring is not known to have paused the app.
    #[serde(default)]
    anyway: bool,
}

impl Admin {
    /// The work goes on in a task of its own, so that a caller who leaves ends nothing half way.
    pub(super) async fn disconnect_account(
        self: &Arc<Self>,
        session: &Arc<Session>,
        by: &Actor,
        id: &str,
        body: Body,
    ) -> Reply {
        session.may(Call::AccountsWrite, None)?;
        let Wish { anyway } = request::json(body).await?;
        let AccountView { account, user, .. } = self.seen_account(session, account_id(id)?).await?;
        let (admin, session, by) = (Arc::clone(self), Arc::clone(session), by.clone());
        let work =
            tokio::spawn(async move { admin.disconnect(&session, &by, (account, user), anyway).await });
        work.await.unwrap_or_else(|error| Err(Refusal::internal(error.to_string())))
    }

    async fn disconnect(
        &self,
        session: &Session,
        by: &Actor,
        (account, holder): (AccountId, Option<UserId>),
        anyway: bool,
    ) -> Reply {
        let (ring, why) = match self.links.pause(account.clone(), holder, by.clone()).await? {
            Pause::Ready(ring) => (ring, None),
            Pause::Not { why, .. } if anyway => (AtRing::NotPaused, Some(why.words().to_owned())),
            Pause::Not { why, may_be_paused } => return Ok(not_paused(why, may_be_paused)),
            Pause::TooMany if anyway => (AtRing::NotPaused, Some(TOO_MANY.to_owned())),
            Pause::TooMany => {
                return Err(Refusal::conflict(
                    "very many accounts are half disconnected: disconnect those again first. `ringhookd accounts list --json` shows \
                     them by their disconnecting_since",
                ));
            }
            Pause::Account(refusal) => return Err(refusal.into()),
            Pause::Moved => {
                self.seen_account(session, account).await?;
                return Err(Refusal::conflict(
                    "the account has another user since: Ring was not asked, and nothing was destroyed. Look at the account, then ask again",
                ));
            }
        };
        // It may have been given to another user while Ring was asked.
        if session.has_ended() {
            return Err(Refusal::forbidden("the rights of this socket have changed meanwhile; ask again"));
        }
        let account = self.seen_account(session, account).await?.account;
        self.requests.forget(&account);
        let detail = match ring {
            AtRing::Paused => "disconnected: Ring has paused the app",
            AtRing::Removed => "disconnected: the user had removed the app",
            AtRing::NotPaused => "disconnected, though Ring is not known to have paused the app",
        };
        let deletion = self.store.links().by(by.clone()).forget_because(account, Some(detail)).await??;
        ok(&Disconnection { ring, why, deletion })
    }
}

/// Nothing was destroyed. 503 where asking again may help, else 409.
fn not_paused(why: NotPaused, may_be_paused: bool) -> answer::Answer {
    let seconds = why.retry_after().map(|wait| wait.as_millis().div_ceil(1000).max(1));
    let status = if seconds.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
    let document = json!({
        "error": why.advice(may_be_paused),
        "reason": why.as_str(),
        "may_be_paused": may_be_paused,
        "retry_after_s": seconds,
    });
    let mut answer = answer::json(status, document.to_string());
    if let Some(value) = seconds.and_then(|s| HeaderValue::from_str(&s.to_string()).ok()) {
        answer.headers_mut().insert(RETRY_AFTER, value);
    }
    answer
}
