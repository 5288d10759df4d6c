//! Acts of callers are noted where they are no commit of their own, and listed. A restricted session sees acts on its own accounts alone.

use serde_json::{Value, json};

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{Query, account_id, ok};
use super::session::Session;
use crate::domain::act::Act;
use crate::domain::actor::{Actor, Caller};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::rights::Call;
use crate::domain::time::Millis;
use crate::logging::audit::{self, Entry, What};
use crate::store::{ActFilter, ActView};

const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
impl Admin {
    /// Notes an act that is no commit of its own, durably, before it is answered; and tells the log.
    pub(super) async fn note_act(
        &self,
        by: &Actor,
        (act, what): (Act, What),
        account: Option<&AccountId>,
        detail: Option<String>,
    ) -> Result<(), Refusal> {
        self.store.audit().note(by, act, account.cloned(), detail.clone()).await?;
        audit::note(&Entry { account: account.cloned(), detail, ..Entry::new(what, by.clone()) });
        Ok(())
    }

    /// A refusal for want of a right is noted, a few times a minute. One that can't be noted is a refusal all the same.
    pub(super) async fn note_refusal(&self, by: &Actor, words: &str) {
        let Actor::Socket(Caller { socket, .. }) = by else { return };
        let Some(left_out) = self.refused.pass(socket) else { return };
        let others = if left_out > 0 { format!(" ({left_out} others before it)") } else { String::new() };
        let detail = Some(format!("{words}{others}"));
        let _ = self.note_act(by, (Act::Refused, What::CallRefused), None, detail).await;
    }

    /// Counts a call without the token of its address, and notes it as a refusal. A disk that hangs holds up no answer to a stranger.
    pub(super) async fn note_unknown_caller(&self, by: &Actor) {
        self.metrics.unknown_callers.inc();
        tokio::select! {
            biased;
            () = self.note_refusal(by, "a call without the token of this address") => {}
            () = self.store.stands_still() => {}
        }
    }

    /// `?since=&account=&limit=&before=`: acts, the newest first, and in `next` what `before` shall be for the page behind it.
    pub(super) async fn list_acts(&self, session: &Session, query: &Query) -> Reply {
        session.may(Call::Audit, None)?;
        let limit = query.get("limit", "a number", |v| v.parse().ok())?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let before = query.get("before", "the `next` of the page before", |v| v.parse().ok())?;
        let since = query.get("since", "a time as RFC 3339 has it", Millis::of_rfc3339)?;
        let account = query.get("account", "a text", |v| Some(v.to_owned()))?;
        let account = account.as_deref().map(account_id).transpose()?;
        let scope = session.scope(&self.store, None).await?;
        let (acts, next) =
            self.store.audit().newest(ActFilter { since, account, scope }, before, limit).await?;
        ok(&json!({"acts": acts.iter().map(shown).collect::<Vec<_>>(), "next": next}))
    }
}

pub(super) fn shown(view: &ActView) -> Value {
    let by = view.by.as_ref().map(|Caller { socket, token, uid, gid, pid }| {
        json!({"socket": socket.as_ref(), "token": token.as_deref(), "uid": uid, "gid": gid, "pid": pid})
    });
    json!({
        "number": view.number,
        "at": view.at.rfc3339(),
        "act": view.act.as_str(),
        "by": by,
        "account": view.account.as_ref().map(AccountId::as_str),
        "forgotten": view.forgotten,
        "user": view.user.as_ref().map(UserId::as_str),
        "former": view.former.as_ref().map(UserId::as_str),
        "detail": view.detail,
    })
}
