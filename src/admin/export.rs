//! Everything that is kept of one user's account, as one JSON document: for a request of access to one's data. No token is in it. It is
//! read and sent a page at a time. What the account's other users had is not in it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::refusal::{Refusal, Reply};
use super::request::{Query, account_id, user_id};
use super::session::Session;
use super::{Admin, audit, inspect};
use crate::clock;
use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::link::NOBODY;
use crate::domain::rights::Call;
use crate::http::answer;
use crate::logging::audit::What;
use crate::store::{AccountRefusal, ActFilter, EXPORT_START, KeptAt, KeptEvent, Scope, StoreError, Whose};

/// Receipts and acts of one look.
const PAGE: usize = 200;
/// Pieces that wait for the reader.
const BUFFERED: usize = 1;

impl Admin {
    /// `?user=`: what is kept of that user, who may be a former one of the account; without it, of the user who has the account now.
    pub(super) async fn export_account(
        self: &Arc<Self>,
        session: &Arc<Session>,
        by: &Actor,
        id: &str,
        query: &Query,
    ) -> Reply {
        session.may(Call::AccountsExport, None)?;
        let account = account_id(id)?;
        let wanted = query.get("user", "a user", |v| Some(v.to_owned()))?;
        let wanted = wanted.as_deref().map(user_id).transpose()?;
        let view = self.store.links().account(account.clone()).await?;
        let view = view.ok_or(AccountRefusal::Unknown)?;
        let user = wanted.or_else(|| view.user.clone());
        // Of the account's present state a former user is told nothing.
        let is_present = user == view.user;
        let is_seen =
            if is_present { session.shows(&view) } else { session.sees(Some(&account), user.as_ref()) };
        if !is_seen {
            return Err(AccountRefusal::Unknown.into());
        }
        let users: Vec<UserId> = user.iter().cloned().collect();
        let scope = self.store.queues().scope(Some(&users), Some(std::slice::from_ref(&account))).await?;
        let number = match (&user, scope.users.iter().flatten().next()) {
            (None, _) => NOBODY,
            (Some(_), Some(&number)) => number,
            (Some(_), None) => {
                return Err(Refusal::missing("there is no such user: `ringhookd accounts list` shows users"));
            }
        };
        let scope = Scope { users: Some([number].into()), ..scope };
        let present = async {
            Ok::<_, StoreError>((
                self.shown_account(&view),
                self.store.links().devices_of(view.number).await?,
            ))
        };
        let (shown, devices) = if is_present {
            let (shown, devices) = present.await?;
            (shown, Some(devices))
        } else {
            (json!({"account_id": account.as_str()}), None)
        };
        let head = json!({
            "made_at": clock::now().rfc3339(),
            "account": shown,
            "user": user.as_ref().map(UserId::as_str),
            "devices": devices,
        });
        self.note_act(by, (Act::ExportAccount, What::AccountExported), Some(&account), None).await?;
        let (pieces, receiver) = mpsc::channel(BUFFERED);
        let export = Export {
            admin: Arc::clone(self),
            session: Arc::clone(session),
            account,
            whose: Whose { account: view.number, user: number },
            scope,
            stopping: self.stopping.subscribe(),
            pieces,
            is_first: true,
        };
        tokio::spawn(export.run(head));
        Ok(answer::stream("application/json", receiver))
    }
}

/// An export is broken off: its reader went, the daemon stops, the rights of the socket changed, or the store could not be read.
struct Ended;

struct Export {
    admin: Arc<Admin>,
    session: Arc<Session>,
    account: AccountId,
    whose: Whose,
    scope: Scope,
    stopping: watch::Receiver<bool>,
    pieces: mpsc::Sender<Bytes>,
    /// Nothing stands in the present list yet.
    is_first: bool,
}

impl Export {
    /// A document that was broken off has no last field, and is no JSON.
    async fn run(mut self, head: Value) {
        if self.write(&head.to_string()).await.is_err() {
            tracing::warn!("an export of an account was broken off");
        }
    }

    async fn write(&mut self, head: &str) -> Result<(), Ended> {
        self.send(head.strip_suffix('}').unwrap_or(head).to_owned()).await?;
        self.begin("", "events").await?;
        let mut from = Some(EXPORT_START);
        while let Some(at) = from {
            let page = self.admin.store.links().kept(self.whose, at).await;
            let (events, next) = read(page)?;
            self.items(events.iter().map(kept)).await?;
            from = next;
        }
        self.begin("]", "receipts").await?;
        let mut before = None;
        loop {
            let page = self.admin.store.receipts().newest(before, PAGE, self.scope.clone()).await;
            let (receipts, next) = read(page)?;
            self.items(receipts.iter().map(|receipt| inspect::receipt(receipt).to_string())).await?;
            let Some(next) = next else { break };
            before = Some(next);
        }
        self.begin("]", "acts").await?;
        let mut before = None;
        loop {
            let (account, scope) = (Some(self.account.clone()), self.scope.clone());
            let filter = ActFilter { account, scope, since: None };
            let (acts, next) = read(self.admin.store.audit().newest(filter, before, PAGE).await)?;
            self.items(acts.iter().map(|act| audit::shown(act).to_string())).await?;
            let Some(next) = next else { break };
            before = Some(next);
        }
        self.send("],\"complete\":true}\n".to_owned()).await
    }

    /// Ends one list and begins the next.
    async fn begin(&mut self, end: &str, name: &str) -> Result<(), Ended> {
        self.is_first = true;
        self.send(format!("{end},\"{name}\":[")).await
    }

    async fn items(&mut self, items: impl Iterator<Item = String>) -> Result<(), Ended> {
        let mut piece = String::new();
        for item in items {
            piece.push_str(if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" });
            piece.push_str(&item);
        }
        // Looked at for a page without any as well, because many such pages may follow.
        if self.session.has_ended() || *self.stopping.borrow() || self.pieces.is_closed() {
            return Err(Ended);
        }
        if piece.is_empty() { Ok(()) } else { self.send(piece).await }
    }

    async fn send(&mut self, piece: String) -> Result<(), Ended> {
        if self.session.has_ended() {
            return Err(Ended);
        }
        tokio::select! {
            sent = self.pieces.send(piece.into()) => sent.map_err(|_| Ended),
            () = self.session.ended() => Err(Ended),
            _ = self.stopping.wait_for(|stopping| *stopping) => Err(Ended),
        }
    }
}

fn read<T>(page: Result<T, StoreError>) -> Result<T, Ended> {
    page.map_err(|error| {
        tracing::warn!(%error, "an export can't read the store");
        Ended
    })
}

/// The event goes in as its line stands: read and written anew, a number in its body could come out otherwise.
fn kept(KeptEvent { seq, at, event }: &KeptEvent) -> String {
    let place = match at {
        KeptAt::Held { since } => json!({"kept_in": "held", "since": since.rfc3339()}),
        KeptAt::Queue { name } => json!({"kept_in": "queue", "queue": name.as_str()}),
        KeptAt::Letter { id, queue, why } => json!({
            "kept_in": id.class.name(),
            "id": id.to_string(),
            "queue": queue.as_ref().map(QueueName::as_str),
            "why": why,
        }),
    };
    let place = place.to_string();
    let event = event.as_ref().map_or_else(|| "null".to_owned(), |event| event.cloudevent(*seq, 1));
    format!("{},\"sequence\":{seq},\"event\":{event}}}", place.strip_suffix('}').unwrap_or(&place))
}
