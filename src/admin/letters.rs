//! Dead letters: what left a queue undelivered, what no queue wanted, what was not understood.

use crate::domain::actor::Actor;
use crate::http::Body;
use crate::logging::audit::{self, Entry, What};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::{self, Query, ok, queue_name};
use super::session::Session;
use crate::domain::ids::{AccountId, DeviceId, UserId};
use crate::domain::rights::Call;
use crate::http::answer;
use crate::store::{Class, Letter, LetterFilter, LetterId, LettersDone, StoreError};

/// As many as one step of the store goes over.
const MAX_IDS: usize = 500;

/// Which letters are meant; at least one of `ids`, `class`, `queue` and `all` must be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    ids: Option<Vec<String>>,
    class: Option<String>,
    queue: Option<String>,
    #[serde(default)]
    all: bool,
    /// `next` of the step before; from the start without it.
    after: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Replay,
    Drop,
}

impl Admin {
    /// `?class=&queue=&after=`: a page, which may be empty and yet have a `next` one.
    pub(super) async fn list_letters(&self, session: &Session, query: &Query) -> Reply {
        session.may(Call::DeadLettersRead, None)?;
        let text = |name| query.get(name, "a text", |v| Some(v.to_owned()));
        let (class, queue) = (text("class")?, text("queue")?);
        let filter = filter(Vec::new(), class.as_deref(), queue.as_deref())?;
        let after = text("after")?.as_deref().map(letter_id).transpose()?;
        let (letters, next) = self.seen_letters(session, filter, after).await?;
        let letters: Vec<_> = letters.iter().map(summary).collect();
        ok(&json!({"letters": letters, "next": next.map(|id| id.to_string())}))
    }

    pub(super) async fn show_letter(&self, session: &Session, id: &str) -> Reply {
        session.may(Call::DeadLettersRead, None)?;
        let filter = LetterFilter { ids: vec![letter_id(id)?], ..LetterFilter::default() };
        let (letters, _) = self.seen_letters(session, filter, None).await?;
        let letter = letters.first().ok_or_else(|| Refusal::missing("there is no such dead letter"))?;
        let shown = summary(letter).to_string();
        let event = letter.event.as_ref();
        let event = event.map(|event| event.cloudevent(letter.id.seq, letter.failures.max(1)));
        // Put together as text: the event's body would not pass through a value unchanged.
        let event = event.as_deref().unwrap_or("null");
        let document = format!("{},\"event\":{event}}}", shown.strip_suffix('}').unwrap_or_default());
        Ok(answer::json(StatusCode::OK, document))
    }

    pub(super) async fn replay_letters(&self, session: &Session, by: &Actor, body: Body) -> Reply {
        self.act(session, by, body, Action::Replay).await
    }

    pub(super) async fn drop_letters(&self, session: &Session, by: &Actor, body: Body) -> Reply {
        self.act(session, by, body, Action::Drop).await
    }

    /// One step: `next` says where to go on, null at the end.
    async fn act(&self, session: &Session, by: &Actor, body: Body, action: Action) -> Reply {
        session.may(Call::DeadLettersWrite, None)?;
        let which: Which = request::json(body).await?;
        let named = which.ids.is_some();
        if !named && which.class.is_none() && which.queue.is_none() && !which.all {
            return Err(Refusal::bad("say which: ids, class, queue, or all: true"));
        }
        let ids: Vec<_> =
            which.ids.unwrap_or_default().iter().map(|id| letter_id(id)).collect::<Result<_, _>>()?;
        if ids.len() > MAX_IDS {
            return Err(Refusal::bad(format!("at most {MAX_IDS} ids at a time")));
        }
        let asked = ids.len() as u64;
        let filter = filter(ids, which.class.as_deref(), which.queue.as_deref())?;
        let after = which.after.as_deref().map(letter_id).transpose()?;
        let mut done = if named && asked == 0 {
            LettersDone::default()
        } else if session.sees_all() {
            self.step(by, action, filter, after).await?
        } else {
            self.step_seen(session, by, action, filter, after).await?
        };
        if named {
            done.refused = asked - done.done.min(asked);
        }
        if done.done > 0 {
            let what = match action {
                Action::Replay => What::LettersReplayed,
                Action::Drop => What::LettersDropped,
            };
            audit::note(&Entry::new(what, by.clone()).with(format!("{} letters in this step", done.done)));
        }
        let next = done.next.map(|id| id.to_string());
        ok(&json!({"done": done.done, "refused": done.refused, "next": next}))
    }

    /// The same for a session that sees only some: a page is looked at, and what is seen of it is named.
    async fn step_seen(
        &self,
        session: &Session,
        by: &Actor,
        action: Action,
        filter: LetterFilter,
        after: Option<LetterId>,
    ) -> Result<LettersDone, Refusal> {
        let (seen, next) = self.seen_letters(session, filter, after).await?;
        if seen.is_empty() {
            return Ok(LettersDone { next, ..LettersDone::default() });
        }
        let named =
            LetterFilter { ids: seen.iter().map(|letter| letter.id).collect(), ..LetterFilter::default() };
        Ok(LettersDone { next, ..self.step(by, action, named, None).await? })
    }

    async fn step(
        &self,
        by: &Actor,
        action: Action,
        filter: LetterFilter,
        after: Option<LetterId>,
    ) -> Result<LettersDone, StoreError> {
        let queues = self.store.queues().by(by.clone());
        match action {
            Action::Replay => queues.replay_letters(filter, after).await,
            Action::Drop => queues.drop_letters(filter, after).await,
        }
    }

    async fn seen_letters(
        &self,
        session: &Session,
        filter: LetterFilter,
        after: Option<LetterId>,
    ) -> Result<(Vec<Letter>, Option<LetterId>), Refusal> {
        let (mut letters, next) = self.store.queues().letters(&filter, after).await?;
        // What can't be opened belongs to nobody that could be named.
        letters.retain(|letter| {
            letter.event.as_ref().map_or(session.sees_all(), |event| session.sees_event(event))
        });
        Ok((letters, next))
    }
}

fn letter_id(text: &str) -> Result<LetterId, Refusal> {
    text.parse().map_err(|()| Refusal::bad("a dead letter's id looks like dead-1700000000000-17-1"))
}

fn filter(ids: Vec<LetterId>, class: Option<&str>, queue: Option<&str>) -> Result<LetterFilter, Refusal> {
    let find = |name: &str| {
        let class = Class::ALL.into_iter().find(|class| class.name() == name);
        class.ok_or_else(|| Refusal::bad("class is one of dead, unrouted and quarantined"))
    };
    let class = class.map(find).transpose()?;
    Ok(LetterFilter { ids, class, queue: queue.map(queue_name).transpose()? })
}

fn summary(letter: &Letter) -> Value {
    let event = letter.event.as_ref();
    json!({
        "id": letter.id.to_string(),
        "class": letter.id.class.name(),
        "queue": letter.queue.as_ref().map(crate::domain::ids::QueueName::as_str),
        "buried_at": letter.id.buried_at.rfc3339(),
        "accepted_at": letter.accepted_at.rfc3339(),
        "failures": letter.failures,
        "why": letter.why,
        "bytes": letter.bytes,
        "key": event.map(|event| event.key.as_str()),
        "type": event.map(|event| event.kind.as_str()),
        "subtype": event.and_then(|event| event.sub_kind.as_deref()),
        "device": event.and_then(|event| event.device.as_ref()).map(DeviceId::as_str),
        "account": event.and_then(|event| event.account.as_ref()).map(AccountId::as_str),
        "user": event.and_then(|event| event.user.as_ref()).map(UserId::as_str),
    })
}
