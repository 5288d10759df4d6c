//! Queues as people see them, and the removal of those that the configuration no longer names.

use serde_json::{Value, json};

use super::refusal::{Refusal, Reply};
use super::request::{no_such_queue, ok, queue_name};
use super::session::Session;
use super::{Admin, Facts};
use crate::config::Queue;
use crate::domain::actor::Actor;
use crate::domain::ids::QueueName;
use crate::domain::rights::Call;
use crate::domain::time::Millis;
use crate::logging::audit::{self, Entry, What};
use crate::store::QueueView;

const QUEUE_CALLS: [Call; 3] = [Call::QueueRead, Call::QueueTail, Call::QueueManage];

impl Admin {
    /// The queues that something may be asked of through this session; all of them where status may.
    pub(super) fn list_queues(&self, session: &Session) -> Reply {
        let views = self.queue_views(session, &self.facts());
        if views.is_empty()
            && !session.allows(Call::Status, None)
            && !QUEUE_CALLS.iter().any(|c| session.allows(*c, None))
        {
            return Err(Refusal::no_right(Call::QueueRead));
        }
        ok(&json!({"queues": views}))
    }

    pub(super) fn queue_views(&self, session: &Session, facts: &Facts) -> Vec<Value> {
        let shown = |view: &QueueView| {
            session.allows(Call::Status, None)
                || QUEUE_CALLS.iter().any(|c| session.allows(*c, Some(&view.name)))
        };
        self.store
            .queues()
            .list()
            .iter()
            .filter(|view| shown(view))
            .map(|view| self.queue_view(view, facts))
            .collect()
    }

    fn queue_view(&self, view: &QueueView, facts: &Facts) -> Value {
        let delivery = facts.deliveries.iter().find(|delivery| delivery.queue == view.name);
        json!({
            "name": view.name.as_str(),
            "kind": self.configured(&view.name).map(|queue| queue.kind.as_str()),
            "configured": view.configured,
            "delivery": delivery.map(|delivery| delivery.state),
            "why": delivery.and_then(|delivery| delivery.why.as_deref()),
            "waiting": view.waiting,
            "waiting_bytes": view.waiting_bytes,
            "leased": view.leased,
            "delayed_accounts": view.delayed_accounts,
            "oldest": view.oldest.map(Millis::rfc3339),
            "since_start": {
                "accepted": view.totals.accepted,
                "delivered": view.totals.delivered,
                "failed": view.totals.failed,
                "dead": view.totals.dead,
            },
        })
    }

    pub(super) fn configured(&self, name: &QueueName) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.name == *name)
    }

    pub(super) async fn remove_queue(&self, session: &Session, by: &Actor, name: &str) -> Reply {
        let name = queue_name(name)?;
        session.may(Call::QueueManage, Some(&name))?;
        session.must_see_all("removing a queue would drop the events of others")?;
        if self.configured(&name).is_some() {
            return Err(Refusal::conflict(
                "the configuration names this queue; take it out there and restart, then remove what is left",
            ));
        }
        match self.store.queues().remove(&name).await? {
            Some(dropped) => {
                let detail = format!("queue {name}, {dropped} events");
                audit::note(&Entry::new(What::QueueRemoved, by.clone()).with(detail));
                ok(&json!({"removed": name.as_str(), "dropped": dropped}))
            }
            None => Err(no_such_queue()),
        }
    }
}
