//! The life of one event, and the requests that came last. A restricted session sees the events of its own accounts and users, and no
//! request that left no event.

use serde_json::{Value, json};

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{Query, ok};
use super::session::Session;
use crate::config::QueueKind;
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::receipt::{Destination, Ending};
use crate::domain::rights::Call;
use crate::domain::time::Millis;
use crate::logging::text;
use crate::requests::Noted;
use crate::store::{Cursor, LetterId, Life, Place, PlaceState, Receipt, Wanted};

const PAGE: usize = 50;
const MAX_PAGE: usize = 500;

impl Admin {
    /// By the event's key, its sequence, or the id of its dead letter.
    pub(super) async fn inspect(&self, session: &Session, id: &str) -> Reply {
        session.may(Call::Inspect, None)?;
        let scope = session.scope(&self.store, None).await?;
        let receipts = self.store.receipts();
        let mut life = receipts.life(Wanted::Key(id.to_owned()), scope.clone()).await?;
        if life.is_none()
            && let Some(seq) = sequence(id)
        {
            life = receipts.life(Wanted::Sequence(seq), scope).await?;
        }
        let key = life.as_ref().map_or(id, |life| &life.receipt.key);
        let requests =
            if session.sees_all() { self.requests.about(&text(key).to_string()) } else { Vec::new() };
        if life.is_none() && requests.is_empty() {
            return Err(Refusal::missing(
                "no receipt of such an event is left; [receipts] says how long one is",
            ));
        }
        let event = life.map(|life| self.shown_life(&life));
        ok(&json!({"event": event, "requests": requests.iter().map(request).collect::<Vec<_>>()}))
    }

    /// `?limit=&before=`: accepted events, the newest first, and in `next` what `before` shall be for the page behind it. Requests that
    /// left no event are in the first page.
    pub(super) async fn list_receipts(&self, session: &Session, query: &Query) -> Reply {
        session.may(Call::Inspect, None)?;
        let limit = query.get("limit", "a number", |v| v.parse().ok())?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let before = query.get("before", "the `next` of the page before", cursor)?;
        let scope = session.scope(&self.store, None).await?;
        let (events, next) = self.store.receipts().newest(before, limit, scope).await?;
        let noted =
            if before.is_none() && session.sees_all() { self.requests.newest(limit) } else { Vec::new() };
        ok(&json!({
            "events": events.iter().map(receipt).collect::<Vec<_>>(),
            "requests": noted.iter().map(request).collect::<Vec<_>>(),
            "next": next.map(|(row, step)| format!("{row}-{step}")),
        }))
    }

    fn shown_life(&self, Life { receipt: of, places, renewed }: &Life) -> Value {
        let mut shown = receipt(of);
        shown["places"] = places.iter().map(|place| self.shown_place(place)).collect();
        let renewal = |(at, why, seq): &(Millis, crate::domain::receipt::Renewal, u64)| json!({"at": at.rfc3339(), "why": why.as_str(), "sequence": seq});
        shown["renewed"] = renewed.iter().map(renewal).collect();
        shown
    }

    fn shown_place(&self, place: &Place) -> Value {
        let Place { queue, seq, state, attempts, left, letter } = place;
        let attempt = |attempt: &crate::store::Attempt| json!({"attempt": attempt.number, "at": attempt.at.rfc3339(), "why": attempt.why});
        let due = match state {
            PlaceState::Delayed(until) => Some(until.rfc3339()),
            _ => None,
        };
        let ended = left.as_ref().map(|(how, at, by, why)| {
            let by = if by.is_empty() { self.receiver(queue.as_ref(), *how) } else { by.clone() };
            json!({"how": how.as_str(), "at": at.rfc3339(), "by": by, "why": Some(why).filter(|why| !why.is_empty())})
        });
        json!({
            "queue": queue.as_ref().map(QueueName::as_str),
            "sequence": seq,
            "state": state.as_str(),
            "due": due,
            "attempts": attempts.iter().map(attempt).collect::<Vec<_>>(),
            "ended": ended,
            "letter": letter.map(|letter| letter.to_string()),
        })
    }

    /// Who has an event from a queue that the daemon delivers itself.
    fn receiver(&self, queue: Option<&QueueName>, how: Ending) -> String {
        let queues = self.queues.get();
        let configured = |name: &QueueName| queues.iter().find(|queue| queue.name == *name);
        let kind = queue.and_then(configured).map(|queue| &queue.kind);
        match kind {
            Some(kind) if how == Ending::Delivered && !matches!(kind, QueueKind::Embedded { .. }) => {
                format!("the receiver of kind {}", kind.as_str())
            }
            _ => "the daemon".into(),
        }
    }
}

/// A sequence, or a dead letter's id, which has one.
fn sequence(id: &str) -> Option<u64> {
    id.parse().ok().or_else(|| id.parse::<LetterId>().ok().map(|letter| letter.seq))
}

fn cursor(text: &str) -> Option<Cursor> {
    let (row, step) = text.split_once('-')?;
    Some((row.parse().ok()?, step.parse().ok()?))
}

pub(super) fn receipt(receipt: &Receipt) -> Value {
    let verdict = if receipt.to == Destination::Quarantined { "quarantined" } else { "accepted" };
    json!({
        "id": receipt.key,
        "sequence": receipt.seq,
        "received_at": receipt.received_at.rfc3339(),
        "kept_at": receipt.kept_at.rfc3339(),
        "type": Some(&receipt.kind).filter(|kind| !kind.is_empty()),
        "from": receipt.from.map(|address| address.to_string()),
        "forwarded_for": receipt.forwarded_for.map(|address| address.to_string()),
        "verified_by": receipt.verified_by,
        "verdict": verdict,
        "outcome": receipt.to.as_str(),
        "account": receipt.account.as_ref().map(AccountId::as_str),
        "user": receipt.user.as_ref().map(UserId::as_str),
        "queues": receipt.queues.iter().flatten().map(QueueName::as_str).collect::<Vec<_>>(),
    })
}

fn request(Noted { request, first_at, last_at, count, others }: &Noted) -> Value {
    json!({
        "outcome": request.outcome,
        "status": request.status,
        "method": request.method,
        "path": request.path,
        "from": request.from.map(|address| address.to_string()),
        "forwarded_for": request.forwarded_for.map(|address| address.to_string()),
        "id": request.id,
        "account": request.account.as_ref().map(AccountId::as_str),
        "why": request.why,
        "first_at": first_at.rfc3339(),
        "last_at": last_at.rfc3339(),
        "count": count,
        "others": others,
    })
}
