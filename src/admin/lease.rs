//! Reading an embedded queue: lease, settle, extend.
//!
//! ```text
//! lease ──answer taken──▶ settle (ack, nack, return) · extend
//!   └──reader gone──▶ given back at once
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::http::Body;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::refusal::{Refusal, Reply};
use super::request::{self, no_such_queue, ok, queue_name, user_id};
use super::session::Session;
use super::{Admin, MAX_WAIT};
use crate::clock;
use crate::config::QueueKind;
use crate::domain::actor::Actor;
use crate::domain::format::Format;
use crate::domain::ids::{QueueName, UserId};
use crate::domain::json_line::one_line;
use crate::domain::rights::Call;
use crate::http::{Answer, answer};
use crate::store::{Lease, LeaseRequest, Outcome, Queues};

const MAX_EVENTS: usize = 1000;
const MAX_BYTES: u64 = 8 << 20;
const MAX_VISIBILITY: Duration = Duration::from_hours(12);
/// How long an event waits after a nack that does not say.
const NACK_DELAY_MS: u64 = 1000;
/// Between two looks at a queue whose change is overdue: the store does it in a moment.
const LEAST_NAP: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseBody {
    max: Option<usize>,
    /// Sum of the kept sizes; one event is always given.
    max_bytes: Option<u64>,
    /// The queue's own without it.
    visibility_ms: Option<u64>,
    /// How long to wait when nothing is there.
    wait_ms: Option<u64>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleBody {
    lease: String,
    #[serde(default)]
    ack: Vec<u64>,
    #[serde(default)]
    nack: Vec<Nack>,
    #[serde(default, rename = "return")]
    give_back: Vec<Return>,
}

/// Given back at once, or for later.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "return has numbers, or {\"seq\", \"delay_ms\"}")]
enum Return {
    Now(u64),
    Later { seq: u64, delay_ms: u64 },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nack {
    seq: u64,
    delay_ms: Option<u64>,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    lease: String,
    visibility_ms: Option<u64>,
}

/// What a reader wants, checked.
#[derive(Debug, Clone)]
struct Wish {
    max_events: usize,
    max_bytes: u64,
    visibility: Duration,
    user: Option<UserId>,
    format: Format,
}

/// A lease that goes back when this is dropped.
#[derive(Debug)]
struct Held {
    queues: Queues,
    queue: QueueName,
    lease: Option<u64>,
}

impl Held {
    /// It is the reader's from now on.
    fn keep(mut self) {
        self.lease = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            self.queues.release(&self.queue, lease);
        }
    }
}

impl Admin {
    /// Leases events, and waits for some when there are none; `lease` is null when none came.
    pub(super) async fn lease(self: &Arc<Self>, session: &Arc<Session>, name: &str, body: Body) -> Reply {
        let queue = queue_name(name)?;
        session.may(Call::QueueRead, Some(&queue))?;
        let facts = self.readable(&queue)?;
        let body: LeaseBody = request::json(body).await?;
        let wait = Duration::from_millis(body.wait_ms.unwrap_or(0)).min(MAX_WAIT);
        let wish = wish(&body, facts, session)?;
        match self.wait_for(session, &queue, &wish, clock::ticks() + wait).await? {
            Some((held, document)) => Ok(hand_over(held, document)),
            // As of an empty queue, so that consumers wait for its end; those that want to say so are told.
            None => match self.store.queues().paused_since(&queue) {
                Some(since) => ok(&json!({"lease": null, "events": [], "paused_since": since})),
                None => ok(&json!({"lease": null, "events": []})),
            },
        }
    }

    async fn wait_for(
        self: &Arc<Self>,
        session: &Arc<Session>,
        queue: &QueueName,
        wish: &Wish,
        deadline: Instant,
    ) -> Result<Option<(Held, String)>, Refusal> {
        let wake = self.store.queues().wake(queue).ok_or_else(no_such_queue)?;
        let mut stopping = self.stopping.subscribe();
        loop {
            // Before the look, so that what arrives behind it is not missed.
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            // It may have been taken out of the configuration meanwhile.
            self.readable(queue)?;
            if session.has_ended() {
                return Ok(None);
            }
            if let Some(taken) = self.take(session, queue, wish).await? {
                return Ok(Some(taken));
            }
            let change =
                self.store.queues().next_change(queue).map(|at| at.since(clock::now()).max(LEAST_NAP));
            let nap = change.map_or(deadline, |nap| deadline.min(clock::ticks() + nap));
            tokio::select! {
                () = woken => {}
                () = sleep_until(nap) => {}
                () = session.ended() => return Ok(None),
                _ = stopping.wait_for(|stopping| *stopping) => return Ok(None),
            }
            if clock::ticks() >= deadline {
                return self.take(session, queue, wish).await;
            }
        }
    }

    /// A reader who leaves meanwhile leaves nothing behind: the store takes the lease back until it has given it, and the guard
    /// from then on.
    async fn take(
        self: &Arc<Self>,
        session: &Arc<Session>,
        queue: &QueueName,
        wish: &Wish,
    ) -> Result<Option<(Held, String)>, Refusal> {
        let scope = session.scope(&self.store, wish.user.as_ref()).await?;
        let now = clock::now();
        let &Wish { max_events, max_bytes, visibility, format, .. } = wish;
        let request = LeaseRequest { max_events, max_bytes, until: now.plus(visibility), scope };
        let Some(lease) = self.store.queues().lease(queue, &request, now).await? else { return Ok(None) };
        let held = Held { queues: self.store.queues().clone(), queue: queue.clone(), lease: Some(lease.id) };
        if lease.events.is_empty() {
            // None could be opened; the store settles them.
            held.keep();
            return Ok(None);
        }
        // In this order: who takes the session's leases back either finds this one, or has said so before.
        session.leases().add(self.store.queues(), queue, lease.id);
        if session.has_ended() {
            return Ok(None);
        }
        let name = self.seal.name(session, queue, lease.id);
        // Megabytes of text are not made where webhooks wait.
        let written = spawn_blocking(move || document(&name, &lease, format)).await;
        let document = written.map_err(|_| Refusal::internal("writing the events ended in a panic"))?;
        Ok(Some((held, document)))
    }

    /// Records outcomes. What the lease has lost meanwhile is not settled, and comes again.
    pub(super) async fn settle(&self, session: &Session, by: &Actor, name: &str, body: Body) -> Reply {
        let queue = queue_name(name)?;
        session.may(Call::QueueRead, Some(&queue))?;
        let SettleBody { lease, ack, nack, give_back } = request::json(body).await?;
        if ack.len() + nack.len() + give_back.len() > MAX_EVENTS {
            return Err(Refusal::bad(format!("a lease has at most {MAX_EVENTS} events to settle")));
        }
        let lease = self.seal.open(session, &queue, &lease)?;
        let now = clock::now();
        let due = |delay_ms: u64| now.plus(Duration::from_millis(delay_ms).min(MAX_VISIBILITY));
        let failed = |nack: Nack| {
            let why = nack.why.unwrap_or_else(|| "the reader said no".into());
            (nack.seq, Outcome::Failed { due: due(nack.delay_ms.unwrap_or(NACK_DELAY_MS)), why })
        };
        let returned = |back: Return| match back {
            Return::Now(seq) => (seq, Outcome::Returned),
            Return::Later { seq, delay_ms } => (seq, Outcome::Postponed { due: due(delay_ms) }),
        };
        let outcomes = ack.into_iter().map(|seq| (seq, Outcome::Done));
        let outcomes = outcomes.chain(nack.into_iter().map(failed));
        let outcomes: Vec<_> = outcomes.chain(give_back.into_iter().map(returned)).collect();
        let asked = outcomes.len();
        let settled = self.store.queues().by(by.clone()).settle(&queue, lease, outcomes).await?;
        ok(&json!({"settled": settled, "lost": asked.saturating_sub(settled)}))
    }

    pub(super) async fn extend(&self, session: &Session, name: &str, body: Body) -> Reply {
        let queue = queue_name(name)?;
        session.may(Call::QueueRead, Some(&queue))?;
        let (_, own) = self.readable(&queue)?;
        let ExtendBody { lease, visibility_ms } = request::json(body).await?;
        let lease = self.seal.open(session, &queue, &lease)?;
        let until = clock::now().plus(visibility(visibility_ms, own));
        if self.store.queues().extend(&queue, lease, until) {
            return ok(&json!({"until": until.rfc3339()}));
        }
        Err(Refusal::conflict("the lease has run out, or all of it is settled"))
    }

    /// The form of a configured queue that is read here, and how long its leases last.
    fn readable(&self, queue: &QueueName) -> Result<(Format, Duration), Refusal> {
        let queues = self.queues.get();
        let Some(configured) = queues.iter().find(|configured| configured.name == *queue) else {
            return Err(match self.store.queues().wake(queue) {
                Some(_) => Refusal::conflict(
                    "the configuration does not name this queue any more: put it back to read it, or remove it",
                ),
                None => no_such_queue(),
            });
        };
        let QueueKind::Embedded { visibility } = configured.kind else {
            return Err(Refusal::conflict(format!(
                "the queue is of kind {}: the daemon delivers its events, and they are not read here",
                configured.kind.as_str()
            )));
        };
        Ok((configured.format, visibility))
    }
}

fn wish(body: &LeaseBody, (format, own): (Format, Duration), session: &Session) -> Result<Wish, Refusal> {
    let user = body.user.as_deref().map(user_id).transpose()?;
    if let Some(user) = &user
        && !session.sees_user(user)
    {
        return Err(Refusal::forbidden("this socket does not see this user's events"));
    }
    Ok(Wish {
        max_events: body.max.unwrap_or(10).clamp(1, MAX_EVENTS),
        max_bytes: body.max_bytes.unwrap_or(1 << 20).clamp(1, MAX_BYTES),
        visibility: visibility(body.visibility_ms, own),
        user,
        format,
    })
}

fn visibility(asked_ms: Option<u64>, own: Duration) -> Duration {
    let asked = asked_ms.map_or(own, Duration::from_millis);
    asked.clamp(Duration::from_millis(1), MAX_VISIBILITY)
}

fn document(name: &str, lease: &Lease, format: Format) -> String {
    let mut out = format!("{{\"lease\":\"{name}\",\"events\":[");
    for (n, leased) in lease.events.iter().enumerate() {
        let (seq, attempt) = (leased.seq, leased.attempt);
        let event = format.line(&leased.event, seq, attempt);
        let comma = if n == 0 { "" } else { "," };
        let account = leased.event.account.as_ref();
        let account =
            account.map(|account| format!("\"account\":{},", one_line(json!(account.as_str()).to_string())));
        let account = account.unwrap_or_default();
        let head = format!("{{\"seq\":{seq},\"attempt\":{attempt},{account}\"event\":");
        out.extend([comma, &head, &event, "}"]);
    }
    out.push_str("]}");
    out
}

/// Answers with the document, and keeps the lease only if all of it is taken. The last byte goes on its own: it is asked
/// for only once the rest is written, so a reader that is gone by then is noticed.
fn hand_over(held: Held, mut document: String) -> Answer {
    let (pieces, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let last = document.split_off(document.len() - 1);
        for piece in [document, last] {
            if pieces.send(Bytes::from(piece)).await.is_err() {
                return;
            }
        }
        if pieces.reserve().await.is_ok() {
            held.keep();
        }
    });
    answer::stream("application/json", receiver)
}
