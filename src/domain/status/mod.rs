//! How the daemon stands, as one document: the admin API sends it, `ringhookd status` shows it, the metrics are set from it.

mod configuration;
mod headline;
mod problems;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::link::LinkState;
use super::minutes::Minute;
use super::refresh::Health;
use super::time::Millis;
use super::verdict::Verdict;

pub use configuration::{Applied, ConfigurationReport, Outstanding, RefusedConfiguration, Reloaded};
pub use problems::{Problem, ProblemName, problems};

/// The answer of the admin API: what an operator has to do, worst first, and everything that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub problems: Vec<Problem>,
    #[serde(flatten)]
    pub status: Status,
}

impl Report {
    pub fn of(status: Status, now: Millis) -> Self {
        Self { problems: problems(&status, now), status }
    }
}

/// How the daemon stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub started_at: Millis,
    pub uptime_s: u64,
    pub configuration: ConfigurationReport,
    pub store: StoreReport,
    pub since_start: Totals,
    pub webhooks: WebhookReport,
    pub intake: IntakeReport,
    pub kept: Kept,
    pub seen_ids: SeenIds,
    /// By the state of their link.
    pub accounts: BTreeMap<LinkState, u64>,
    pub tokens: TokenReport,
    /// None before Ring was heard.
    pub ring_clock: Option<RingClockReport>,
    pub queues: Vec<QueueReport>,
    /// None while there are none.
    pub unmatched_posts: Option<UnmatchedPosts>,
    /// None where the public listener speaks plain HTTP.
    pub certificate: Option<CertificateReport>,
    /// Where an authority gives it.
    pub authority: Option<AuthorityReport>,
    pub webhook_keys: Vec<KeyProof>,
    pub log_lines_lost: u64,
}

/// What the store does with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreCondition {
    Ready,
    /// Webhooks are refused because the disk is nearly full.
    LowDisk,
    /// All is refused after an I/O error, until the file is open again.
    Failing,
    /// All is refused until a person has looked.
    Damaged,
}

/// How the store stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    pub state: StoreCondition,
    /// Since when it can't be used.
    pub since: Option<Millis>,
    pub why: Option<String>,
    pub name: String,
    pub environment: String,
    pub created: String,
    pub folder: String,
    pub file_bytes: u64,
    /// Of the file, about: what `ringhookd compact` would give back.
    pub free_bytes: u64,
    /// What `[store] max_bytes` bounds.
    pub kept_bytes: u64,
    pub max_bytes: u64,
}

/// Events since the start of the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub commits: u64,
    pub commit_failures: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub conflicts: u64,
    pub held: u64,
    pub released: u64,
    pub unrouted: u64,
    pub quarantined: u64,
    pub dead: u64,
    /// Kept records that their own bounds pushed out for good.
    pub dropped: u64,
    /// Records that failed their check.
    pub damaged: u64,
}

/// Webhooks since the start of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookReport {
    /// By what became of them; those of which there were any.
    pub outcomes: BTreeMap<Verdict, u64>,
    /// The last of each kind of refusal.
    pub refusals: BTreeMap<Verdict, LastRefusal>,
    /// In the last hour, the oldest minute first; the last is the one that runs.
    #[serde(default)]
    pub per_minute: Vec<Minute>,
}

/// The last webhook that was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefusal {
    pub at: Millis,
    pub why: String,
}

impl WebhookReport {
    /// The last refusal of all.
    pub fn last_refusal(&self) -> Option<(Verdict, &LastRefusal)> {
        let refusals = self.refusals.iter().map(|(&verdict, refusal)| (verdict, refusal));
        refusals.max_by_key(|(_, refusal)| refusal.at)
    }
}

/// Whether webhooks still come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeReport {
    pub last_webhook: Option<Millis>,
    /// In the last weeks; None before the first webhook.
    pub longest_wait_s: Option<u64>,
    /// A longer wait is a silence; None where none is.
    pub silent_after_s: Option<u64>,
    /// None while there is no silence.
    pub silent_since: Option<Millis>,
    /// Linked accounts of which nothing has come for longer than expected.
    pub silent_accounts: u64,
}

/// The certificate that the public listener shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    pub names: Vec<String>,
    pub not_before: Millis,
    pub not_after: Millis,
    pub days_left: u64,
    /// Why clients refuse it.
    pub faults: Vec<String>,
    /// The newer pair in the files, where it is not shown.
    pub refused: Option<RefusedPair>,
}

/// The orders of a certificate at an ACME authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityReport {
    /// The address of its directory.
    pub directory: String,
    pub names: Vec<String>,
    /// When the next one is ordered; nothing before the first is there.
    pub renew_at: Option<Millis>,
    /// The last order, if it failed.
    pub failed: Option<FailedOrder>,
}

/// An order that brought no certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOrder {
    pub at: Millis,
    pub why: String,
    /// In a row.
    pub times: u32,
    /// When the next is tried.
    pub next_at: Millis,
}

/// A certificate and a key that are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPair {
    pub at: Millis,
    pub why: String,
}

/// What is kept, now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub held: u64,
    pub dead: u64,
    pub unrouted: u64,
    pub quarantined: u64,
    pub log_bytes: u64,
    pub aside_bytes: u64,
}

/// How far back a duplicate is recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenIds {
    pub count: u64,
    pub since: Option<Millis>,
    pub window_s: Option<u64>,
    /// How far back it reaches, where that is less than Ring's retries and replays need.
    pub short_s: Option<u64>,
}

/// How the tokens are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct TokenReport {
    /// Whether the configuration says who we are at Ring; else nothing is refreshed.
    pub configured: bool,
    /// Nothing is refreshed because the store is an older copy.
    pub guarded: bool,
    /// OAuth refuses our own client id or secret.
    pub client_refused: bool,
    /// OAuth as a whole is taken to be down.
    pub oauth_down: bool,
    pub due: u64,
    pub under_way: u64,
    /// Refreshes whose answer is overdue, and awaited all the same.
    pub overdue: u64,
    /// Living accounts whose last refresh failed, or was refused.
    pub failing: u64,
    pub next_due_in_s: Option<u64>,
    /// When the first of all living links would lapse.
    pub nearest_lapse: Option<Millis>,
    pub nearest_lapse_days: Option<u64>,
    /// Answers of OAuth that the store has not taken.
    pub unrecorded: u64,
    pub codes_under_way: u64,
    /// Accounts by the state of their tokens.
    pub accounts: BTreeMap<Health, u64>,
}

impl TokenReport {
    pub fn of(&self, health: Health) -> u64 {
        self.accounts.get(&health).copied().unwrap_or_default()
    }
}

/// How far Ring's clock is ahead of this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingClockReport {
    pub ahead_ms: i64,
    /// None where only one side is known.
    pub within_ms: Option<u64>,
}

/// How a queue whose events go out by themselves stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It delivers what comes.
    Delivering,
    /// It delivers as much as its `events_per_second` allows, and more waits.
    Limited,
    /// The receiver can't take anything.
    SinkBusy,
    /// The store can't be read or written.
    StoreFailing,
    Stopped,
}

impl DeliveryState {
    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivering => "delivering",
            Self::Limited => "limited",
            Self::SinkBusy => "sink_busy",
            Self::StoreFailing => "store_failing",
            Self::Stopped => "stopped",
        }
    }
}

/// A queue, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    pub name: String,
    /// None of a queue that the configuration does not name any more.
    pub kind: Option<String>,
    pub configured: bool,
    /// None of an embedded queue.
    pub delivery: Option<DeliveryState>,
    /// Why it does not deliver.
    pub why: Option<String>,
    /// Since when.
    pub since: Option<Millis>,
    /// Since when an operator has nothing of it delivered.
    pub paused_since: Option<Millis>,
    pub waiting: u64,
    pub waiting_bytes: u64,
    pub leased: u64,
    pub delayed_accounts: u64,
    /// When its oldest event was received.
    pub oldest: Option<Millis>,
    pub max_age_s: Option<u64>,
    pub max_bytes: Option<u64>,
    pub since_start: QueueCounts,
    pub lately: QueueLately,
}

impl QueueReport {
    /// How it stands, in one word.
    pub fn state(&self) -> QueueState {
        match self.delivery {
            _ if !self.configured => QueueState::NotConfigured,
            _ if self.paused_since.is_some() => QueueState::Paused,
            None => QueueState::ForReaders,
            Some(DeliveryState::Delivering) => QueueState::Delivering,
            Some(DeliveryState::Limited) => QueueState::Limited,
            Some(DeliveryState::SinkBusy) => QueueState::SinkBusy,
            Some(DeliveryState::StoreFailing) => QueueState::StoreFailing,
            Some(DeliveryState::Stopped) => QueueState::Stopped,
        }
    }
}

/// The state of a queue, of whatever kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueState {
    ForReaders,
    Delivering,
    Limited,
    Paused,
    SinkBusy,
    StoreFailing,
    Stopped,
    NotConfigured,
}

impl QueueState {
    pub const ALL: [Self; 8] = [
        Self::ForReaders,
        Self::Delivering,
        Self::Limited,
        Self::Paused,
        Self::SinkBusy,
        Self::StoreFailing,
        Self::Stopped,
        Self::NotConfigured,
    ];

    /// The name that metrics show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForReaders => "for_readers",
            Self::Delivering => "delivering",
            Self::Limited => "limited",
            Self::Paused => "paused",
            Self::SinkBusy => "sink_busy",
            Self::StoreFailing => "store_failing",
            Self::Stopped => "stopped",
            Self::NotConfigured => "not_configured",
        }
    }
}

/// Events of one queue in the last minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLately {
    /// So many seconds are counted: fewer shortly after the start.
    pub over_s: u64,
    pub delivered: u64,
    /// Attempts.
    pub failed: u64,
    /// The last failed attempt since the start, however long ago.
    pub last_failure: Option<LastFailure>,
}

/// A failed attempt, after which the event is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    pub at: Millis,
    pub why: String,
}

/// Events of one queue since the start of the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounts {
    pub accepted: u64,
    pub delivered: u64,
    /// Attempts.
    pub failed: u64,
    pub dead: u64,
}

/// POSTs to paths of the public listener where nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedPosts {
    pub count: u64,
    pub last_at: Millis,
    pub last_path: String,
}

/// What is known of one webhook key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProof {
    pub fingerprint: String,
    pub set_at: Millis,
    /// When it last verified something.
    pub verified_at: Option<Millis>,
}

#[cfg(test)]
mod tests;
