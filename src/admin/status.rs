//! How the daemon stands: status for people, metrics for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};

use super::refusal::Reply;
use super::request::ok;
use super::session::Session;
use super::{Admin, Facts, KeyProof};
use crate::clock;
use crate::domain::refresh::Health;
use crate::domain::rights::Call;
use crate::domain::time::Millis;
use crate::http::answer;
use crate::store::{Health as StoreHealth, LinkState};
use crate::tokens::TokenStatus;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Admin {
    pub(super) fn status(&self, session: &Session) -> Reply {
        session.may(Call::Status, None)?;
        let facts = self.facts();
        let now = clock::now();
        ok(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": facts.started_at.rfc3339(),
            "uptime_s": now.since(facts.started_at).as_secs(),
            "store": self.store_state(),
            "since_start": self.counted(),
            "kept": self.kept(),
            "seen_ids": self.seen_ids(now),
            "accounts": self.account_counts(),
            "tokens": token_facts(&self.tokens.status(), now),
            "ring_clock": self.ring_clock(),
            "queues": self.queue_views(session, &facts),
            "unmatched_posts": unmatched(&facts),
            "webhook_keys": facts.webhook_keys.iter().map(key_proof).collect::<Vec<_>>(),
        }))
    }

    pub(super) fn render_metrics(&self, session: &Session) -> Reply {
        session.may(Call::Metrics, None)?;
        self.refresh_metrics();
        let mut answer = answer::text(StatusCode::OK, self.metrics.render());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
        Ok(answer)
    }

    fn store_state(&self) -> Value {
        let (state, since, why) = match self.store.health() {
            StoreHealth::Ready => ("ready", None, None),
            StoreHealth::LowDisk { free } => {
                let why =
                    format!("{free} bytes are free, less than [store] min_free: webhooks are answered 503");
                ("low_disk", None, Some(why))
            }
            StoreHealth::Failing { since, why } => ("failing", Some(since), Some(why)),
            StoreHealth::Damaged { since, why } => ("damaged", Some(since), Some(why)),
        };
        let identity = self.store.identity();
        json!({
            "state": state,
            "since": since.map(Millis::rfc3339),
            "why": why,
            "name": identity.store,
            "environment": identity.environment,
            "created": identity.created,
            "file_bytes": get(&self.store.stats().file_bytes),
        })
    }

    fn counted(&self) -> Value {
        let stats = self.store.stats();
        json!({
            "commits": get(&stats.commits),
            "commit_failures": get(&stats.commit_failures),
            "accepted": get(&stats.accepted),
            "duplicates": get(&stats.duplicates),
            "conflicts": get(&stats.conflicts),
            "held": get(&stats.held),
            "released": get(&stats.released),
            "unrouted": get(&stats.unrouted),
            "quarantined": get(&stats.quarantined),
            "dead": get(&stats.dead),
            "dropped": get(&stats.dropped),
            "damaged": get(&stats.damaged),
        })
    }

    fn kept(&self) -> Value {
        let stats = self.store.stats();
        json!({
            "held": get(&stats.held_events),
            "dead": get(&stats.dead_events),
            "unrouted": get(&stats.unrouted_events),
            "quarantined": get(&stats.quarantined_events),
            "log_bytes": get(&stats.log_bytes),
            "aside_bytes": get(&stats.aside_bytes),
        })
    }

    /// How far back a duplicate is recognised.
    fn seen_ids(&self, now: Millis) -> Value {
        let stats = self.store.stats();
        let since = Some(Millis(get(&stats.ids_since))).filter(|at| at.0 != 0);
        let alarm = self.store.short_memory(now).map(|covered| {
            format!(
                "the oldest ids leave early: {} h are covered, Ring's retries and replays need 76 h: raise [seen] max_ids",
                covered.as_secs() / 3600
            )
        });
        json!({
            "count": get(&stats.ids),
            "since": since.map(Millis::rfc3339),
            "window_s": since.map(|at| now.since(at).as_secs()),
            "alarm": alarm,
        })
    }

    /// How far Ring's clock is ahead of this machine's; null before Ring was heard.
    fn ring_clock(&self) -> Value {
        let offset = self.store.ring_clock().offset();
        offset.map_or(
            Value::Null,
            |offset| json!({"ahead_ms": offset.likely_ms, "within_ms": offset.within_ms}),
        )
    }

    fn account_counts(&self) -> Value {
        let counts = LinkState::ALL.into_iter().zip(&self.store.stats().accounts);
        // What is forgotten is no account any more.
        let counts = counts.filter(|(state, _)| *state != LinkState::Forgotten);
        counts
            .map(|(state, count)| (state.name().to_owned(), get(count).into()))
            .collect::<Map<_, _>>()
            .into()
    }
}

pub(super) fn key_proof(proof: &KeyProof) -> Value {
    json!({
        "fingerprint": proof.fingerprint,
        "set_at": proof.set_at.rfc3339(),
        "verified_at": proof.verified_at.map(Millis::rfc3339),
    })
}

/// None while there are none.
fn unmatched(facts: &Facts) -> Option<Value> {
    let last = facts.last_unmatched.as_ref()?;
    Some(json!({"count": facts.unmatched_posts, "last_at": last.at.rfc3339(), "last_path": last.path}))
}

fn token_facts(facts: &TokenStatus, now: Millis) -> Value {
    let overview = &facts.overview;
    let count = |health: Health| overview.by_health[health as usize];
    let state = match facts {
        TokenStatus { guarded: true, .. } => {
            "held back: the store is an older copy, see `ringhookd restore accept`"
        }
        TokenStatus { configured: false, .. } => "not refreshed: the configuration has no [ring] client_id",
        _ if overview.client_paused => "halted: OAuth refuses our own client id or secret",
        _ if overview.oauth_down => "OAuth is down; it is tried again",
        _ if facts.unrecorded > 0 => {
            "the store can't take new tokens; they are in memory and in the guard folder"
        }
        _ if count(Health::Refused) > 0 => {
            "OAuth refuses the tokens of some accounts (invalid_grant): see `ringhookd accounts list`"
        }
        _ if count(Health::Untried) > 0 => "some tokens were put in and have not been used yet",
        _ => "well",
    };
    let mut document = json!({
        "state": state,
        "due": overview.due,
        "under_way": overview.in_flight,
        "late": overview.late,
        "failing": overview.failing,
        "next_due_in_s": overview.next_due.map(|wait| wait.as_secs()),
        "nearest_lapse": overview.nearest_lapse.map(Millis::rfc3339),
        "nearest_lapse_days": overview.nearest_lapse.map(|at| at.since(now).as_secs() / 86_400),
        "unrecorded": facts.unrecorded,
        "codes_under_way": facts.codes,
    });
    for (health, count) in Health::ALL.iter().zip(overview.by_health) {
        document[health.as_str()] = count.into();
    }
    document
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
