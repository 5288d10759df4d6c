//! Queues as people see them, their pauses, and the removal of those that the configuration no longer names.

use serde_json::json;

use super::refusal::{Refusal, Reply};
use super::request::{no_such_queue, ok, queue_name};
use super::session::Session;
use super::{Admin, Facts};
use crate::clock;
use crate::domain::actor::Actor;
use crate::domain::ids::QueueName;
use crate::domain::recent::WINDOW;
use crate::domain::rights::Call;
use crate::domain::status::{LastFailure, QueueCounts, QueueLately, QueueReport};
use crate::logging::audit::{self, Entry, What};
use crate::store::{PauseChange, QueueView};

const QUEUE_CALLS: [Call; 3] = [Call::QueueRead, Call::QueueTail, Call::QueueManage];

impl Admin {
    /// The queues that something may be asked of through this session; all of them where status may.
    pub(super) fn list_queues(&self, session: &Session) -> Reply {
        let facts = self.facts();
        let shown = |view: &QueueView| {
            session.allows(Call::Status, None)
                || QUEUE_CALLS.iter().any(|c| session.allows(*c, Some(&view.name)))
        };
        let views = self.store.queues().list();
        let queues =
            views.iter().filter(|view| shown(view)).map(|view| self.shown_report(session, view, &facts));
        let queues: Vec<QueueReport> = queues.collect();
        if queues.is_empty()
            && !session.allows(Call::Status, None)
            && !QUEUE_CALLS.iter().any(|c| session.allows(*c, None))
        {
            return Err(Refusal::no_right(Call::QueueRead));
        }
        ok(&json!({"queues": queues}))
    }

    pub(super) fn queue_report(&self, view: &QueueView, facts: &Facts) -> QueueReport {
        let delivery = facts.deliveries.iter().find(|delivery| delivery.queue == view.name);
        let queues = self.queues.get();
        let configured = queues.iter().find(|queue| queue.name == view.name);
        QueueReport {
            name: view.name.to_string(),
            kind: configured.map(|queue| queue.kind.as_str().to_owned()),
            configured: view.configured,
            delivery: delivery.map(|delivery| delivery.state),
            why: delivery.and_then(|delivery| delivery.why.clone()),
            since: delivery.and_then(|delivery| delivery.since),
            paused_since: view.paused_since,
            waiting: view.waiting,
            waiting_bytes: view.waiting_bytes,
            leased: view.leased,
            delayed_accounts: view.delayed_accounts,
            oldest: view.oldest,
            max_age_s: configured.map(|queue| queue.max_age.as_secs()),
            max_bytes: configured.map(|queue| queue.max_bytes),
            since_start: QueueCounts {
                accepted: view.totals.accepted,
                delivered: view.totals.delivered,
                failed: view.totals.failed,
                dead: view.totals.dead,
            },
            lately: lately(view, facts),
        }
    }

    /// The same through this session: a receiver's words may be about the event of a user whom it does not see.
    fn shown_report(&self, session: &Session, view: &QueueView, facts: &Facts) -> QueueReport {
        let mut report = self.queue_report(view, facts);
        if !session.sees_all() {
            report.lately.last_failure = None;
        }
        report
    }

    fn is_configured(&self, name: &QueueName) -> bool {
        self.queues.get().iter().any(|queue| queue.name == *name)
    }

    /// Has a queue deliver nothing, or lets it go on. Either is fine where it is so already.
    pub(super) async fn pause_queue(&self, session: &Session, by: &Actor, name: &str, pause: bool) -> Reply {
        let name = queue_name(name)?;
        session.may(Call::QueueManage, Some(&name))?;
        session.must_see_all("a pause would hold up the events of others")?;
        let change = self.store.queues().by(by.clone()).set_paused(&name, pause).await?;
        let PauseChange { since, changed } = change.ok_or_else(no_such_queue)?;
        if changed {
            let what = if pause { What::QueuePaused } else { What::QueueResumed };
            audit::note(&Entry::new(what, by.clone()).with(format!("queue {name}")));
        }
        ok(&json!({"name": name.as_str(), "paused_since": since, "changed": changed}))
    }

    pub(super) async fn remove_queue(&self, session: &Session, by: &Actor, name: &str) -> Reply {
        let name = queue_name(name)?;
        session.may(Call::QueueManage, Some(&name))?;
        session.must_see_all("removing a queue would drop the events of others")?;
        if self.is_configured(&name) {
            return Err(Refusal::conflict(
                "the configuration names this queue; take it out there and reload, then remove what is left",
            ));
        }
        match self.store.queues().by(by.clone()).remove(&name).await? {
            Some(dropped) => {
                let detail = format!("queue {name}, {dropped} events");
                audit::note(&Entry::new(What::QueueRemoved, by.clone()).with(detail));
                ok(&json!({"removed": name.as_str(), "dropped": dropped}))
            }
            None => Err(no_such_queue()),
        }
    }
}

fn lately(view: &QueueView, facts: &Facts) -> QueueLately {
    let QueueView { lately, .. } = view;
    let failure = lately.failure.as_ref();
    QueueLately {
        over_s: clock::now().since(facts.started_at).min(WINDOW).as_secs(),
        delivered: lately.delivered,
        failed: lately.failed,
        last_failure: failure.map(|failure| LastFailure { at: failure.at, why: failure.why.clone() }),
    }
}
