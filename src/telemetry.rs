//! Every metric's name, once; rooms get typed handles, and the registry belongs to one [`Metrics`].

mod labels;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::domain::claim::Outcome;
use crate::domain::code::CodeEnd;
use crate::domain::envelope::Oddity;
use crate::domain::link::LinkState;
use crate::domain::refresh::Health;
use crate::domain::status::{ProblemName, QueueState};
use crate::domain::verdict::Verdict;

pub use self::labels::{
    AccessOutcome, CodeRequest, Evicted, Fate, Handshake, HttpRefusal, ListenerName, OffQueue, Refresh,
    StoreState,
};

macro_rules! labels {
    ($name:ident { $($key:ident: $type:ty),+ }) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name {
            $($key: $type),+
        }
    };
}

labels!(VerdictLabel { verdict: Verdict });
labels!(ListenerLabel { listener: ListenerName });
labels!(ListenerReasonLabel { listener: ListenerName, reason: HttpRefusal });
labels!(EvictedLabel { listener: ListenerName, state: Evicted });
labels!(HandshakeLabel { outcome: Handshake });
labels!(FieldLabel { field: Oddity });
labels!(QueueLabel { queue: String, fate: Fate });
labels!(QueueNameLabel { queue: String });
labels!(QueueStateLabel { queue: String, state: &'static str });
labels!(OffQueueLabel { kind: OffQueue });
labels!(StateLabel { state: StoreState });
labels!(RefreshLabel { outcome: Refresh });
labels!(AccessOutcomeLabel { outcome: AccessOutcome });
labels!(TokenLabel { state: Health });
labels!(LinkLabel { state: LinkState });
labels!(CodeLabel { outcome: CodeEnd });
labels!(CodeRequestLabel { outcome: CodeRequest });
labels!(ClaimLabel { outcome: &'static str });
labels!(ProblemLabel { name: ProblemName });
labels!(VersionLabel { version: &'static str });

/// All metrics of one daemon. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    webhooks: Family<VerdictLabel, Counter>,
    connections: Family<ListenerLabel, Gauge>,
    requests: Family<ListenerLabel, Gauge>,
    body_bytes: Family<ListenerLabel, Gauge>,
    http_refusals: Family<ListenerReasonLabel, Counter>,
    http_evictions: Family<EvictedLabel, Counter>,
    unusable_fields: Family<FieldLabel, Counter>,
    handshakes: Family<HandshakeLabel, Counter>,
    /// When the certificate of the public listener ends, in seconds since 1970. It has no series where there is none.
    certificate_end: Family<ListenerLabel, Gauge>,
    events: Family<QueueLabel, Counter>,
    waiting: Family<QueueNameLabel, Gauge>,
    waiting_bytes: Family<QueueNameLabel, Gauge>,
    oldest_age: Family<QueueNameLabel, Gauge>,
    stalled: Family<QueueNameLabel, Gauge>,
    delayed_accounts: Family<QueueNameLabel, Gauge>,
    queue_state: Family<QueueStateLabel, Gauge>,
    problems: Family<ProblemLabel, Gauge>,
    build: Family<VersionLabel, Gauge>,
    off_queue: Family<OffQueueLabel, Gauge>,
    store_state: Family<StateLabel, Gauge>,
    /// Bytes of the store's file that hold nothing, about.
    pub file_free_bytes: Gauge,
    /// When the last webhook came, in seconds since 1970.
    pub last_webhook: Gauge,
    /// The longest wait for one that is no silence, in seconds.
    pub silent_after: Gauge,
    /// Linked accounts of which none has come for longer than expected.
    pub silent_accounts: Gauge,
    /// Bytes of receipts.
    pub receipt_bytes: Gauge,
    refreshes: Family<RefreshLabel, Counter>,
    repeats: Family<RefreshLabel, Counter>,
    loans: Family<AccessOutcomeLabel, Counter>,
    tokens: Family<TokenLabel, Gauge>,
    accounts: Family<LinkLabel, Gauge>,
    codes: Family<CodeLabel, Counter>,
    code_requests: Family<CodeRequestLabel, Counter>,
    claims: Family<ClaimLabel, Counter>,
    link_changes: Family<TokenLabel, Counter>,
    /// Authorization codes that are not at their end.
    pub codes_under_way: Gauge,
    /// How far Ring's clock is ahead of the machine's, in seconds.
    pub ring_clock_ahead: Gauge<f64, AtomicU64>,
    /// Until the first of all living links would lapse, in seconds.
    pub nearest_lapse: Gauge,
    /// 1 while nothing is refreshed since the store is an older copy.
    pub guarded: Gauge,
    /// Answers of OAuth that are in memory, or in the guard folder, and not in the store.
    pub unrecorded: Gauge,
    /// When the daemon started, in seconds since 1970.
    pub started_at: Gauge,
    /// Sizes in bytes: of the file, of what is kept, and what that may be at most.
    pub store_file: Gauge,
    pub store_kept: Gauge,
    pub store_max: Gauge,
    /// From a webhook's head to its answer that it is durable, in seconds.
    pub answer_seconds: Histogram,
    /// Wall time of a group commit, in seconds.
    pub commit_seconds: Histogram,
    /// Webhooks in a group commit.
    pub batch_events: Histogram,
    /// Signatures without the `sha256=` prefix, accepted.
    pub bare_signatures: Counter,
    /// POSTs to paths of the public listener where nothing is.
    pub unmatched_posts: Counter,
    /// Requests of the public listener by a method that their path does not take.
    pub wrong_methods: Counter,
    /// Calls of the admin API without the token of their address.
    pub unknown_callers: Counter,
    /// Panics that were caught, anywhere.
    pub panics: Counter,
    log_lines_lost: Counter,
}

/// A registry whose metrics stay reachable by the handles that are passed in.
struct Names(Registry);

impl Names {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.0.register(name, help, metric.clone());
    }

    fn add_in<M: Metric + Clone>(&mut self, unit: Unit, name: &str, help: &str, metric: &M) {
        self.0.register_with_unit(name, help, unit, metric.clone());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            webhooks: Family::default(),
            connections: Family::default(),
            requests: Family::default(),
            body_bytes: Family::default(),
            http_refusals: Family::default(),
            http_evictions: Family::default(),
            unusable_fields: Family::default(),
            handshakes: Family::default(),
            certificate_end: Family::default(),
            events: Family::default(),
            waiting: Family::default(),
            waiting_bytes: Family::default(),
            oldest_age: Family::default(),
            stalled: Family::default(),
            delayed_accounts: Family::default(),
            queue_state: Family::default(),
            problems: Family::default(),
            build: Family::default(),
            off_queue: Family::default(),
            store_state: Family::default(),
            file_free_bytes: Gauge::default(),
            last_webhook: Gauge::default(),
            silent_after: Gauge::default(),
            silent_accounts: Gauge::default(),
            receipt_bytes: Gauge::default(),
            refreshes: Family::default(),
            repeats: Family::default(),
            loans: Family::default(),
            tokens: Family::default(),
            accounts: Family::default(),
            codes: Family::default(),
            code_requests: Family::default(),
            claims: Family::default(),
            link_changes: Family::default(),
            codes_under_way: Gauge::default(),
            ring_clock_ahead: Gauge::default(),
            nearest_lapse: Gauge::default(),
            guarded: Gauge::default(),
            unrecorded: Gauge::default(),
            started_at: Gauge::default(),
            store_file: Gauge::default(),
            store_kept: Gauge::default(),
            store_max: Gauge::default(),
            answer_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            // 0.25 ms to 4 s: an fdatasync is half a millisecond, the answer's budget 4 s.
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            bare_signatures: Counter::default(),
            unmatched_posts: Counter::default(),
            wrong_methods: Counter::default(),
            unknown_callers: Counter::default(),
            panics: Counter::default(),
            log_lines_lost: Counter::default(),
        };
        metrics.registry = Arc::new(metrics.named());
        metrics.show_zeros();
        metrics
    }
}

impl Metrics {
    /// The names. Counters get their `_total`, and units their suffix, when rendered.
    fn named(&self) -> Registry {
        let mut names = Names(Registry::with_prefix("ringhookd"));
        names.add("webhooks", "Webhooks by what became of them", &self.webhooks);
        names.add("bare_signatures", "Signatures accepted without prefix", &self.bare_signatures);
        names.add("unusable_fields", "Fields of genuine webhooks read as missing", &self.unusable_fields);
        names.add("http_connections", "Open connections", &self.connections);
        names.add("http_requests_in_flight", "Requests being handled", &self.requests);
        let help = "Memory held by request bodies";
        names.add_in(Unit::Bytes, "http_bodies_in_flight", help, &self.body_bytes);
        names.add("http_refusals", "Refused before or instead of a handler", &self.http_refusals);
        let help = "Connections closed because others needed their place or memory";
        names.add("http_evictions", help, &self.http_evictions);
        self.name_tls(&mut names);
        let help = "From a webhook's head to its answer that it is durable";
        names.add_in(Unit::Seconds, "answer_duration", help, &self.answer_seconds);
        let help = "Wall time of a group commit";
        names.add_in(Unit::Seconds, "commit_duration", help, &self.commit_seconds);
        names.add("commit_events", "Webhooks in a group commit", &self.batch_events);
        self.name_queues(&mut names);
        names.add("off_queue_records", "Records held, dead, unrouted or quarantined", &self.off_queue);
        let help = "Size of the store's file";
        names.add_in(Unit::Bytes, "store_file", help, &self.store_file);
        names.add_in(Unit::Bytes, "store_kept", "What the store keeps", &self.store_kept);
        names.add_in(Unit::Bytes, "store_max", "What it may keep at most", &self.store_max);
        names.add("store_state", "1 for the state that the store is in", &self.store_state);
        let help = "Of the store's file, what holds nothing, about";
        names.add_in(Unit::Bytes, "store_free", help, &self.file_free_bytes);
        let help = "When the last webhook came, since 1970";
        names.add_in(Unit::Seconds, "last_webhook", help, &self.last_webhook);
        let help = "The longest wait for a webhook that is no silence; 0 where none is";
        names.add_in(Unit::Seconds, "silent_after", help, &self.silent_after);
        let help = "Linked accounts of which no webhook has come for longer than expected";
        names.add("silent_accounts", help, &self.silent_accounts);
        let help = "Of the store's file, receipts";
        names.add("receipt_bytes", help, &self.receipt_bytes);
        names.add("refreshes", "Refreshes of tokens by how they came out", &self.refreshes);
        let help = "Of them with a token that was sent before, and whose answer was lost";
        names.add("refresh_repeats", help, &self.repeats);
        names.add("token_requests", "Access tokens that workers asked for", &self.loans);
        names.add("tokens", "Accounts by the state of their tokens", &self.tokens);
        names.add("link_changes", "Changes of a link's token state, by the new one", &self.link_changes);
        names.add("accounts", "Accounts by the state of their link", &self.accounts);
        self.name_codes(&mut names);
        let help = "How far the clock of Ring is ahead of this machine's";
        names.add_in(Unit::Seconds, "ring_clock_ahead", help, &self.ring_clock_ahead);
        let help = "Until the first of all living links would lapse";
        names.add_in(Unit::Seconds, "nearest_lapse", help, &self.nearest_lapse);
        let help = "1 while nothing is refreshed since the store is an older copy";
        names.add("restore_guard", help, &self.guarded);
        names.add("unrecorded_answers", "Answers of OAuth that the store has not taken", &self.unrecorded);
        names.add("unmatched_posts", "POSTs to paths where nothing is", &self.unmatched_posts);
        let help = "Requests by a method that their path does not take";
        names.add("wrong_methods", help, &self.wrong_methods);
        let help = "Calls of the admin API without the token of their address";
        names.add("unknown_callers", help, &self.unknown_callers);
        names.add("problems", "What needs an operator, by name", &self.problems);
        names.add("build_info", "1 for the version that runs", &self.build);
        let help = "When the daemon started, since 1970";
        names.add_in(Unit::Seconds, "start_time", help, &self.started_at);
        names.add("panics", "Panics caught", &self.panics);
        names.add("log_lines_lost", "Log lines not written", &self.log_lines_lost);
        names.0
    }

    fn name_queues(&self, names: &mut Names) {
        names.add("queue_events", "Events by queue and what became of them", &self.events);
        names.add("queue_waiting_events", "Events that wait in a queue", &self.waiting);
        let help = "Their size";
        names.add_in(Unit::Bytes, "queue_waiting", help, &self.waiting_bytes);
        let help = "How long the oldest event has waited in a queue";
        names.add_in(Unit::Seconds, "queue_oldest_age", help, &self.oldest_age);
        names.add("queue_stalled", "1 while a queue delivers nothing", &self.stalled);
        let help = "Accounts that wait after a failure";
        names.add("queue_delayed_accounts", help, &self.delayed_accounts);
        names.add("queue_state", "1 for the state that a queue is in", &self.queue_state);
    }

    fn name_codes(&self, names: &mut Names) {
        names.add("codes_under_way", "Authorization codes not at their end", &self.codes_under_way);
        names.add("code_requests", "Calls of the token exchange URL", &self.code_requests);
        names.add("codes", "Authorization codes by what became of them", &self.codes);
        names.add("claims", "Claims of accounts by what they were answered", &self.claims);
    }

    fn name_tls(&self, names: &mut Names) {
        names.add("tls_handshakes", "TLS handshakes by how they came out", &self.handshakes);
        let help = "When the certificate of the public listener ends, since 1970";
        names.add_in(Unit::Seconds, "certificate_not_after", help, &self.certificate_end);
    }

    /// Known label values exist from the start, so that a rate over the first one is right.
    fn show_zeros(&self) {
        for verdict in Verdict::ALL {
            drop(self.webhooks.get_or_create(&VerdictLabel { verdict }));
        }
        for &field in Oddity::ALL {
            drop(self.unusable_fields.get_or_create(&FieldLabel { field }));
        }
        for &outcome in Handshake::ALL {
            drop(self.handshakes.get_or_create(&HandshakeLabel { outcome }));
        }
        for &kind in OffQueue::ALL {
            drop(self.off_queue.get_or_create(&OffQueueLabel { kind }));
        }
        for &outcome in Refresh::ALL {
            drop(self.refreshes.get_or_create(&RefreshLabel { outcome }));
            drop(self.repeats.get_or_create(&RefreshLabel { outcome }));
        }
        for &outcome in AccessOutcome::ALL {
            drop(self.loans.get_or_create(&AccessOutcomeLabel { outcome }));
        }
        for outcome in CodeEnd::ALL {
            drop(self.codes.get_or_create(&CodeLabel { outcome }));
        }
        for &outcome in CodeRequest::ALL {
            drop(self.code_requests.get_or_create(&CodeRequestLabel { outcome }));
        }
        for outcome in Outcome::NAMES {
            drop(self.claims.get_or_create(&ClaimLabel { outcome }));
        }
        for &name in ProblemName::ALL {
            drop(self.problems.get_or_create(&ProblemLabel { name }));
        }
        self.build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        for state in Health::ALL {
            drop(self.link_changes.get_or_create(&TokenLabel { state }));
        }
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string fails only where a metric's own encoder does, and ours do not.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    pub fn webhook(&self, verdict: Verdict) {
        self.webhooks.get_or_create(&VerdictLabel { verdict }).inc();
    }

    /// How many webhooks became this since the start.
    pub fn webhooks(&self, verdict: Verdict) -> u64 {
        self.webhooks.get_or_create(&VerdictLabel { verdict }).get()
    }

    /// What a listener reports to.
    pub fn http(&self, listener: ListenerName) -> HttpMetrics {
        let label = ListenerLabel { listener };
        for &reason in HttpRefusal::ALL {
            drop(self.http_refusals.get_or_create(&ListenerReasonLabel { listener, reason }));
        }
        for &state in Evicted::ALL {
            drop(self.http_evictions.get_or_create(&EvictedLabel { listener, state }));
        }
        HttpMetrics {
            listener,
            connections: self.connections.get_or_create_owned(&label),
            requests: self.requests.get_or_create_owned(&label),
            body_bytes: self.body_bytes.get_or_create_owned(&label),
            refusals: self.http_refusals.clone(),
            evictions: self.http_evictions.clone(),
            panics: self.panics.clone(),
        }
    }

    /// A field of a genuine webhook was there and unusable.
    pub fn unusable_field(&self, field: Oddity) {
        self.unusable_fields.get_or_create(&FieldLabel { field }).inc();
    }

    /// A TLS handshake came out so.
    pub fn handshake(&self, outcome: Handshake) {
        self.handshakes.get_or_create(&HandshakeLabel { outcome }).inc();
    }

    /// When the certificate of the public listener ends, in seconds since 1970.
    pub fn certificate_end(&self) -> Gauge {
        self.certificate_end.get_or_create_owned(&ListenerLabel { listener: ListenerName::Public })
    }

    /// Takes over a queue's totals, which only grow.
    pub fn queue(&self, queue: &str, totals: [(Fate, u64); 4]) {
        for (fate, total) in totals {
            let label = QueueLabel { queue: queue.to_owned(), fate };
            self.events.get_or_create(&label).inner().fetch_max(total, Ordering::Relaxed);
        }
    }

    /// How a queue stands.
    pub fn queue_gauges(&self, queue: &str) -> QueueGauges {
        let label = QueueNameLabel { queue: queue.to_owned() };
        QueueGauges {
            waiting: self.waiting.get_or_create_owned(&label),
            waiting_bytes: self.waiting_bytes.get_or_create_owned(&label),
            oldest_age: self.oldest_age.get_or_create_owned(&label),
            stalled: self.stalled.get_or_create_owned(&label),
            delayed_accounts: self.delayed_accounts.get_or_create_owned(&label),
        }
    }

    /// A queue is in this state now.
    pub fn queue_is(&self, queue: &str, now: QueueState) {
        for state in QueueState::ALL {
            let label = QueueStateLabel { queue: queue.to_owned(), state: state.as_str() };
            self.queue_state.get_or_create(&label).set(i64::from(state == now));
        }
    }

    /// Problems of one name.
    pub fn problems(&self, name: ProblemName) -> Gauge {
        self.problems.get_or_create_owned(&ProblemLabel { name })
    }

    pub fn off_queue(&self, kind: OffQueue) -> Gauge {
        self.off_queue.get_or_create_owned(&OffQueueLabel { kind })
    }

    pub fn refreshed(&self, outcome: Refresh) {
        self.refreshes.get_or_create(&RefreshLabel { outcome }).inc();
    }

    /// A token was sent that had been sent before.
    pub fn repeated(&self, outcome: Refresh) {
        self.repeats.get_or_create(&RefreshLabel { outcome }).inc();
    }

    pub fn access_asked(&self, outcome: AccessOutcome) {
        self.loans.get_or_create(&AccessOutcomeLabel { outcome }).inc();
    }

    /// A link's token state is this now.
    pub fn link_is(&self, state: Health) {
        self.link_changes.get_or_create(&TokenLabel { state }).inc();
    }

    /// Accounts in a state of their link.
    pub fn accounts(&self, state: LinkState) -> Gauge {
        self.accounts.get_or_create_owned(&LinkLabel { state })
    }

    pub fn code(&self, outcome: CodeEnd) {
        self.codes.get_or_create(&CodeLabel { outcome }).inc();
    }

    pub fn code_request(&self, outcome: CodeRequest) {
        self.code_requests.get_or_create(&CodeRequestLabel { outcome }).inc();
    }

    pub fn claim(&self, outcome: Outcome) {
        let outcome = outcome.as_str();
        self.claims.get_or_create(&ClaimLabel { outcome }).inc();
    }

    /// Accounts in a token state.
    pub fn tokens(&self, state: Health) -> Gauge {
        self.tokens.get_or_create_owned(&TokenLabel { state })
    }

    pub fn store_is(&self, now: StoreState) {
        for &state in StoreState::ALL {
            self.store_state.get_or_create(&StateLabel { state }).set(i64::from(state == now));
        }
    }

    /// Takes over the count that the log keeps itself, which only grows.
    pub fn log_lines_lost(&self, lines: u64) {
        self.log_lines_lost.inner().fetch_max(lines, Ordering::Relaxed);
    }
}

/// One queue's metrics that go up and down.
#[derive(Debug)]
pub struct QueueGauges {
    pub waiting: Gauge,
    pub waiting_bytes: Gauge,
    /// Of the oldest event, in seconds; 0 where none waits.
    pub oldest_age: Gauge,
    /// 1 while nothing is delivered.
    pub stalled: Gauge,
    /// Accounts that wait after a failure.
    pub delayed_accounts: Gauge,
}

/// One listener's metrics.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    listener: ListenerName,
    pub connections: Gauge,
    pub requests: Gauge,
    pub body_bytes: Gauge,
    refusals: Family<ListenerReasonLabel, Counter>,
    evictions: Family<EvictedLabel, Counter>,
    panics: Counter,
}

impl HttpMetrics {
    pub fn refused(&self, reason: HttpRefusal) {
        if reason == HttpRefusal::Panic {
            self.panics.inc();
        }
        self.refusals.get_or_create(&ListenerReasonLabel { listener: self.listener, reason }).inc();
    }

    pub fn refusals(&self, reason: HttpRefusal) -> u64 {
        self.refusals.get_or_create(&ListenerReasonLabel { listener: self.listener, reason }).get()
    }

    pub fn evicted(&self, state: Evicted) {
        self.evictions.get_or_create(&EvictedLabel { listener: self.listener, state }).inc();
    }

    pub fn evictions(&self, state: Evicted) -> u64 {
        self.evictions.get_or_create(&EvictedLabel { listener: self.listener, state }).get()
    }
}

/// Counts into a gauge while it lives.
#[derive(Debug)]
pub struct Up(Gauge);

impl Up {
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_units_and_labels_come_out_as_openmetrics() {
        let metrics = Metrics::default();
        metrics.webhook(Verdict::Accepted);
        metrics.webhook(Verdict::Forged);
        metrics.commit_seconds.observe(0.000_3);
        let totals = [(Fate::Accepted, 4), (Fate::Delivered, 1), (Fate::Failed, 0), (Fate::Dead, 2)];
        metrics.queue("orders", totals);
        metrics.queue_gauges("orders").waiting.set(1);
        metrics.store_is(StoreState::LowDisk);
        metrics.log_lines_lost(3);
        let http = metrics.http(ListenerName::Public);
        http.refused(HttpRefusal::Panic);
        http.body_bytes.set(7);
        let text = metrics.render();
        for line in [
            "ringhookd_webhooks_total{verdict=\"accepted\"} 1\n",
            "ringhookd_webhooks_total{verdict=\"duplicate\"} 0\n",
            "ringhookd_webhooks_total{verdict=\"forged\"} 1\n",
            "ringhookd_queue_waiting_events{queue=\"orders\"} 1\n",
            "ringhookd_http_bodies_in_flight_bytes{listener=\"public\"} 7\n",
            "ringhookd_http_refusals_total{listener=\"public\",reason=\"panic\"} 1\n",
            "ringhookd_panics_total 1\n",
            "ringhookd_commit_duration_seconds_bucket{le=\"0.0005\"} 1\n",
            "ringhookd_queue_events_total{queue=\"orders\",fate=\"dead\"} 2\n",
            "ringhookd_store_state{state=\"low_disk\"} 1\n",
            "ringhookd_store_state{state=\"open\"} 0\n",
            "ringhookd_log_lines_lost_total 3\n",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_gauge_comes_down_with_what_it_counts() {
        let gauge = Gauge::default();
        let up = Up::new(&gauge);
        assert_eq!(gauge.get(), 1);
        drop(up);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn two_daemons_in_one_process_do_not_share() {
        let one = Metrics::default();
        one.panics.inc();
        assert!(Metrics::default().render().contains("ringhookd_panics_total 0\n"));
    }
}
