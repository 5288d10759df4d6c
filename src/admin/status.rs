//! How the daemon stands: gathered here once, for the call, the metrics and the probes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Reply;
use super::request::ok;
use super::session::Session;
use super::{Admin, Facts};
use crate::domain::refresh::Health;
use crate::domain::rights::Call;
use crate::domain::status::{
    IntakeReport, Kept, Report, RingClockReport, SeenIds, Status, StoreCondition, StoreReport, TokenReport,
    Totals, UnmatchedPosts, WebhookReport,
};
use crate::domain::time::Millis;
use crate::domain::verdict::Verdict;
use crate::store::{Health as StoreHealth, LinkState};
use crate::{clock, logging};

impl Admin {
    pub(super) fn status(&self, session: &Session) -> Reply {
        session.may(Call::Status, None)?;
        let mut report = self.report();
        if !session.sees_all() {
            report.status.queues.iter_mut().for_each(|queue| queue.lately.last_failure = None);
        }
        ok(&report)
    }

    pub(super) fn render_metrics(&self, session: &Session) -> Reply {
        session.may(Call::Metrics, None)?;
        Ok(self.rendered_metrics())
    }

    /// Everything that is known, and what an operator has to do about it.
    pub(super) fn report(&self) -> Report {
        let now = clock::now();
        Report::of(self.standing(now), now)
    }

    /// The same in a line.
    pub fn headline(&self) -> String {
        self.report().headline()
    }

    fn standing(&self, now: Millis) -> Status {
        let facts = self.facts();
        Status {
            version: env!("RINGHOOKD_VERSION").to_owned(),
            started_at: facts.started_at,
            uptime_s: now.since(facts.started_at).as_secs(),
            configuration: facts.configuration.clone(),
            store: self.store_report(),
            since_start: self.totals(),
            webhooks: self.webhook_report(&facts),
            intake: self.intake_report(),
            kept: self.kept(),
            seen_ids: self.seen_ids(now),
            accounts: self.account_counts(),
            tokens: self.token_report(now),
            ring_clock: self
                .store
                .ring_clock()
                .offset()
                .map(|offset| RingClockReport { ahead_ms: offset.likely_ms, within_ms: offset.within_ms }),
            queues: self.store.queues().list().iter().map(|view| self.queue_report(view, &facts)).collect(),
            unmatched_posts: facts.last_unmatched.map(|last| UnmatchedPosts {
                count: facts.unmatched_posts,
                last_at: last.at,
                last_path: last.path,
            }),
            certificate: facts.certificate,
            authority: facts.authority,
            webhook_keys: facts.webhook_keys,
            log_lines_lost: logging::lines_lost(),
        }
    }

    fn store_report(&self) -> StoreReport {
        let (state, since, why) = match self.store.health() {
            StoreHealth::Ready => (StoreCondition::Ready, None, None),
            StoreHealth::LowDisk { free } => {
                let why = format!("{free} bytes are free, less than [store] min_free");
                (StoreCondition::LowDisk, None, Some(why))
            }
            StoreHealth::Failing { since, why } => (StoreCondition::Failing, Some(since), Some(why)),
            StoreHealth::Damaged { since, why } => (StoreCondition::Damaged, Some(since), Some(why)),
        };
        let (identity, counters) = (self.store.identity(), self.store.stats());
        StoreReport {
            state,
            since,
            why,
            name: identity.store.clone(),
            environment: identity.environment.clone(),
            created: identity.created.clone(),
            folder: self.store.folder().display().to_string(),
            file_bytes: get(&counters.file_bytes),
            free_bytes: counters.free_bytes(),
            kept_bytes: get(&counters.log_bytes) + get(&counters.aside_bytes),
            max_bytes: self.store.max_bytes(),
        }
    }

    fn totals(&self) -> Totals {
        let stats = self.store.stats();
        Totals {
            commits: get(&stats.commits),
            commit_failures: get(&stats.commit_failures),
            accepted: get(&stats.accepted),
            duplicates: get(&stats.duplicates),
            conflicts: get(&stats.conflicts),
            held: get(&stats.held),
            released: get(&stats.released),
            unrouted: get(&stats.unrouted),
            quarantined: get(&stats.quarantined),
            dead: get(&stats.dead),
            dropped: get(&stats.dropped),
            damaged: get(&stats.damaged),
        }
    }

    fn webhook_report(&self, facts: &Facts) -> WebhookReport {
        let outcomes = Verdict::ALL.into_iter().map(|verdict| (verdict, self.metrics.webhooks(verdict)));
        WebhookReport {
            outcomes: outcomes.filter(|(_, webhooks)| *webhooks > 0).collect(),
            refusals: facts.refusals.clone(),
            per_minute: facts.per_minute.clone(),
        }
    }

    fn intake_report(&self) -> IntakeReport {
        let stats = self.store.stats();
        let some = |counter: &AtomicU64| Some(get(counter)).filter(|number| *number > 0);
        let seconds = |counter: &AtomicU64| some(counter).map(|ms| ms / 1000);
        IntakeReport {
            last_webhook: some(&stats.last_webhook).map(Millis),
            longest_wait_s: seconds(&stats.longest_wait),
            silent_after_s: seconds(&stats.silent_after),
            silent_since: some(&stats.silent_since).map(Millis),
            silent_accounts: get(&stats.silent_accounts),
        }
    }

    fn kept(&self) -> Kept {
        let stats = self.store.stats();
        Kept {
            held: get(&stats.held_events),
            dead: get(&stats.dead_events),
            unrouted: get(&stats.unrouted_events),
            quarantined: get(&stats.quarantined_events),
            log_bytes: get(&stats.log_bytes),
            aside_bytes: get(&stats.aside_bytes),
        }
    }

    fn seen_ids(&self, now: Millis) -> SeenIds {
        let stats = self.store.stats();
        let since = Some(Millis(get(&stats.ids_since))).filter(|at| at.0 != 0);
        SeenIds {
            count: get(&stats.ids),
            since,
            window_s: since.map(|at| now.since(at).as_secs()),
            short_s: self.store.short_memory(now).map(|covered| covered.as_secs()),
        }
    }

    fn account_counts(&self) -> BTreeMap<LinkState, u64> {
        let counts = LinkState::ALL.into_iter().zip(&self.store.stats().accounts);
        // What is forgotten is no account any more.
        let counts = counts.filter(|(state, _)| *state != LinkState::Forgotten);
        counts.map(|(state, count)| (state, get(count))).collect()
    }

    fn token_report(&self, now: Millis) -> TokenReport {
        let status = self.tokens.status();
        let overview = status.overview;
        TokenReport {
            configured: status.configured,
            guarded: status.guarded,
            client_refused: overview.client_paused,
            oauth_down: overview.oauth_down,
            due: overview.due as u64,
            under_way: overview.in_flight as u64,
            overdue: overview.late as u64,
            failing: overview.failing as u64,
            next_due_in_s: overview.next_due.map(|wait| wait.as_secs()),
            nearest_lapse: overview.nearest_lapse,
            nearest_lapse_days: overview.nearest_lapse.map(|at| at.since(now).as_secs() / 86_400),
            unrecorded: status.unrecorded as u64,
            codes_under_way: status.codes as u64,
            accounts: Health::ALL.into_iter().zip(overview.by_health.map(|count| count as u64)).collect(),
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
