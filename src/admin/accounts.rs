//! Accounts: listed, shown, given to a user, forgotten. An account that a session does not see is missing for it.

use std::sync::Arc;

use crate::http::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, Query, account_id, ok, user_id};
use super::session::Session;
use crate::clock;
use crate::domain::actor::Actor;
use crate::domain::confirm::Step;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::refresh::{LIFE, Proof};
use crate::domain::rights::Call;
use crate::domain::time::Millis;
use crate::store::{AccountRefusal, AccountView};

const PAGE: usize = 200;
const MAX_PAGE: usize = 1000;
const MAX_URGENT: usize = 20_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetUser {
    user: String,
    /// Also when another user has the account.
    #[serde(default)]
    replace: bool,
}

impl Admin {
    /// `?after=&limit=&order=urgency`: a page, and in `next` what `after` shall be for the one behind it. A page of a restricted session
    /// may be empty and yet have a next one.
    pub(super) async fn list_accounts(&self, session: &Session, query: &Query) -> Reply {
        session.may(Call::AccountsRead, None)?;
        if query.get("order", "urgency", |v| (v == "urgency").then_some(()))?.is_some() {
            return self.list_urgent(session, query).await;
        }
        let after = query.get("after", "the `next` of the page before", |v| v.parse().ok())?.unwrap_or(0);
        let limit = query.get("limit", "a number", |v| v.parse().ok())?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let (page, next) = self.store.links().accounts(after, limit).await?;
        let seen = page.iter().filter(|view| session.shows(view));
        ok(&json!({"accounts": seen.map(|view| self.shown_account(view)).collect::<Vec<_>>(), "next": next}))
    }

    /// One page of those with tokens, those that need a person first. A session that sees only some gets what it sees of the first
    /// [`MAX_URGENT`].
    async fn list_urgent(&self, session: &Session, query: &Query) -> Reply {
        let limit = query.get("limit", "a number", |v| v.parse().ok())?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let most = if session.sees_all() { limit } else { MAX_URGENT };
        let tokens = Arc::clone(&self.tokens);
        let numbers = tokio::task::spawn_blocking(move || tokens.most_urgent(most)).await;
        let numbers = numbers.map_err(|error| Refusal::internal(error.to_string()))?;
        let mut shown = Vec::new();
        for step in numbers.chunks(MAX_PAGE) {
            let page = self.store.links().accounts_of(step.to_vec()).await?;
            let seen = page.iter().filter(|view| session.shows(view));
            shown.extend(seen.map(|view| self.shown_account(view)).take(limit - shown.len()));
            if shown.len() == limit {
                break;
            }
        }
        ok(&json!({"accounts": shown, "next": None::<u32>}))
    }

    pub(super) async fn show_account(&self, session: &Session, id: &str) -> Reply {
        session.may(Call::AccountsRead, None)?;
        let view = self.seen_account(session, account_id(id)?).await?;
        ok(&self.shown_account(&view))
    }

    pub(super) async fn set_user(&self, session: &Session, by: &Actor, id: &str, body: Body) -> Reply {
        session.may(Call::AccountsWrite, None)?;
        let SetUser { user, replace } = request::json(body).await?;
        let user = user_id(&user)?;
        let view = self.seen_account(session, account_id(id)?).await?;
        if view.user.is_none() && !session.sees_all() {
            return Err(Refusal::unproven());
        }
        let account = view.account;
        session.may_give(&account, Some(&user))?;
        let bound = self.store.links().by(by.clone()).set_user(account, user, replace).await??;
        ok(&json!({"released": bound.released}))
    }

    /// Destroys keys, tokens and events of the account, and tells the queues that may have got them. The answer is the receipt.
    pub(super) async fn forget_account(&self, session: &Session, by: &Actor, id: &str) -> Reply {
        session.may(Call::AccountsWrite, None)?;
        let account = self.seen_account(session, account_id(id)?).await?.account;
        self.requests.forget(&account);
        ok(&self.store.links().by(by.clone()).forget(account).await??)
    }

    pub(super) fn shown_account(&self, view: &AccountView) -> Value {
        let refused = view.tokens.is_some_and(|tokens| tokens.proof == Proof::Refused);
        let waits = self.tokens.waits_on_kept_answer(view.number);
        let error = refused.then_some(REFUSED).or(waits.then_some(UNREADABLE));
        shown(view, error, self.tokens.next_try(view.number))
    }

    pub(super) async fn seen_account(
        &self,
        session: &Session,
        account: AccountId,
    ) -> Result<AccountView, Refusal> {
        let view = self.store.links().account(account).await?;
        let seen = view.filter(|view| session.shows(view));
        seen.ok_or_else(|| AccountRefusal::Unknown.into())
    }
}

/// OAuth's word for a token that it does not honour, as RFC 6749 has it.
const REFUSED: &str = "invalid_grant";
/// OAuth's last answer can't be read and may hold the new tokens, so that the old one is not sent for a while.
const UNREADABLE: &str = "unreadable_answer";

fn shown(view: &AccountView, token_error: Option<&str>, next_try: Option<Millis>) -> Value {
    let lapses_at = view.tokens.map(|tokens| tokens.span.renewed_at.plus(LIFE));
    let expires_at = view.tokens.map(|tokens| tokens.span.expires_at).filter(|at| at.0 != 0);
    json!({
        "account_id": view.account.as_str(),
        "user": view.user.as_ref().map(UserId::as_str),
        "former_user": view.former_user.as_ref().map(UserId::as_str),
        "claim": view.claim.map(Step::as_str),
        "state": view.state.name(),
        "created_at": view.created_at.rfc3339(),
        "linked_at": view.linked_at.map(Millis::rfc3339),
        "disconnecting_since": view.disconnecting_since.map(Millis::rfc3339),
        "has_tokens": view.tokens.is_some(),
        "token_state": view.tokens.map(|tokens| tokens.state.health().with(tokens.proof).as_str()),
        "token_error": token_error,
        "next_try_at": next_try.map(Millis::rfc3339),
        "renewed_at": view.tokens.map(|tokens| tokens.span.renewed_at.rfc3339()),
        "expires_at": expires_at.map(Millis::rfc3339),
        "lapses_at": lapses_at.map(Millis::rfc3339),
        "days_left": lapses_at.map(|at| at.since(clock::now()).as_secs() / 86_400),
    })
}
