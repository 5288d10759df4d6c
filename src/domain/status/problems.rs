//! The problems of a daemon, and the way out of each: one pure function over its status.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DeliveryState, QueueReport, Status, StoreCondition};
use crate::domain::certificate::{Standing, standing};
use crate::domain::link::LinkState;
use crate::domain::refresh::Health;
use crate::domain::time::Millis;
use crate::domain::units::{count, size, span};
use crate::domain::verdict::Verdict;

/// A refusal that is older says nothing about the present.
const RECENT: Duration = Duration::from_mins(15);
/// A queue or a store is near its bound at so many percent of it.
const NEAR: u64 = 80;
/// Accounts that are silent are a problem where they are at least one in so many.
const SILENT_SHARE: u64 = 10;
/// A clock that is so wrong is worth a word.
const CLOCK_WRONG_MS: u64 = 5_000;

/// Something that needs an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub name: ProblemName,
    /// The queue that it is about.
    pub queue: Option<String>,
    /// What is wrong, as a sentence.
    pub words: String,
    /// What to do, as a sentence.
    pub action: String,
}

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// The stable names of problems, the worst first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ProblemName {
            $($(#[$doc])* $variant,)+
        }

        impl ProblemName {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that people and metrics see.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

names! {
    StoreDamaged = "store_damaged",
    StoreFailing = "store_failing",
    DiskLow = "disk_low",
    StoreFull = "store_full",
    /// Ring refuses to send.
    CertificateExpired = "certificate_expired",
    CertificateWrong = "certificate_wrong",
    /// No authority has given one yet.
    CertificateMissing = "certificate_missing",
    /// No key makes the signatures that come.
    KeysUnproven = "keys_unproven",
    UnrecordedAnswers = "unrecorded_answers",
    RestoreGuard = "restore_guard",
    ClientRefused = "client_refused",
    /// Tokens are there, and the configuration does not say who refreshes them.
    RefreshOff = "refresh_off",
    LinksLapsing = "links_lapsing",
    /// No webhook has arrived for longer than expected.
    IntakeSilent = "intake_silent",
    /// It ends within days.
    CertificateUrgent = "certificate_urgent",
    QueueStalled = "queue_stalled",
    /// Its events are about to become dead letters.
    QueueNearBound = "queue_near_bound",
    /// The file on disk is not what is in force.
    ConfigurationRefused = "configuration_refused",
    WebhooksSlow = "webhooks_slow",
    /// The newer one can't be taken.
    CertificateRefused = "certificate_refused",
    CertificateOrderFailed = "certificate_order_failed",
    /// It should have been renewed.
    CertificateDue = "certificate_due",
    TokensRefused = "tokens_refused",
    OauthDown = "oauth_down",
    RefreshesLate = "refreshes_late",
    LinksEnded = "links_ended",
    ConfirmationsRefused = "confirmations_refused",
    RecordsDamaged = "records_damaged",
    DeadLetters = "dead_letters",
    Quarantined = "quarantined",
    /// An operator has nothing of it delivered.
    QueuePaused = "queue_paused",
    NoQueue = "no_queue",
    /// The file has changes that can't be taken over while the daemon runs.
    RestartNeeded = "restart_needed",
    /// Events wait in a queue that the configuration does not name any more.
    QueueLeftOver = "queue_left_over",
    ClockWrong = "clock_wrong",
    IdsForgottenEarly = "ids_forgotten_early",
    /// Of many linked accounts no webhook has arrived for longer than expected.
    AccountsSilent = "accounts_silent",
    /// Webhooks may go to a path where nothing is.
    AddressWrong = "address_wrong",
}

/// Everything that needs an operator, the worst first.
pub fn problems(status: &Status, now: Millis) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    found.store(status, now);
    found.configuration(status, now);
    found.certificate(status, now);
    found.webhooks(status, now);
    found.intake(status, now);
    found.tokens(status, now);
    found.token_states(status, now);
    found.links(status);
    found.queues(status, now);
    found.kept(status);
    let Found(mut problems) = found;
    problems.sort_by_key(|problem| problem.name);
    problems
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, name: ProblemName, words: impl Into<String>, action: impl Into<String>) {
        self.0.push(Problem { name, queue: None, words: words.into(), action: action.into() });
    }

    fn add_of(&mut self, queue: &QueueReport, name: ProblemName, words: String, action: impl Into<String>) {
        self.0.push(Problem { name, queue: Some(queue.name.clone()), words, action: action.into() });
    }

    fn store(&mut self, status: &Status, now: Millis) {
        let store = &status.store;
        let why = store.why.as_deref().unwrap_or("it does not say why");
        let since = store.since.map(|at| format!(" for {}", span(now.since(at)))).unwrap_or_default();
        match store.state {
            StoreCondition::Ready => {}
            StoreCondition::LowDisk => self.add(
                ProblemName::DiskLow,
                format!("The disk is nearly full, and webhooks are answered 503: {why}."),
                format!("Free space on the disk of {}.", store.folder),
            ),
            StoreCondition::Failing => self.add(
                ProblemName::StoreFailing,
                format!("The store has not been usable{since}, and webhooks are answered 503: {why}."),
                format!("See to the disk of {}. The store goes on by itself.", store.folder),
            ),
            StoreCondition::Damaged => self.add(
                ProblemName::StoreDamaged,
                format!("The store has been damaged{since}, and webhooks are answered 503: {why}."),
                format!("Stop the daemon, keep a copy of {}, and see to the disk.", store.folder),
            ),
        }
        if is_near(store.kept_bytes, store.max_bytes) {
            let (kept, most) = (size(store.kept_bytes), size(store.max_bytes));
            self.add(
                ProblemName::StoreFull,
                format!("The store keeps {kept} of its {most}; when it is full, webhooks are answered 503."),
                "Let the queues be read, drop dead letters, or raise [store] max_bytes.",
            );
        }
        if let Some(covered) = status.seen_ids.short_s {
            let covered = span(Duration::from_secs(covered));
            self.add(
                ProblemName::IdsForgottenEarly,
                format!("Request ids are remembered for {covered} only, and Ring may send an event again for 76 h: duplicates can come."),
                "Raise [seen] max_ids.",
            );
        }
        if let Some(clock) = status.ring_clock
            && let Some(within) = clock.within_ms
            && clock.ahead_ms.unsigned_abs() > CLOCK_WRONG_MS.saturating_add(within)
        {
            let by = span(Duration::from_millis(clock.ahead_ms.unsigned_abs()));
            let behind = if clock.ahead_ms > 0 { "behind" } else { "ahead of" };
            self.add(
                ProblemName::ClockWrong,
                format!("This machine's clock is {by} {behind} Ring's."),
                "Set the clock, and let it be kept right (NTP).",
            );
        }
    }

    fn intake(&mut self, status: &Status, now: Millis) {
        let intake = &status.intake;
        if let Some(since) = intake.silent_since {
            let silence = span(now.since(since));
            let longest = span(Duration::from_secs(intake.longest_wait_s.unwrap_or_default()));
            self.add(
                ProblemName::IntakeSilent,
                format!(
                    "No webhook has arrived for {silence}; the longest wait of the last weeks was {longest}."
                ),
                "See whether Ring can reach this machine: the name, the certificate, the proxy in front.",
            );
        }
        let linked = status.accounts.get(&LinkState::Linked).copied().unwrap_or_default();
        // Of many accounts there is always one that is on holiday.
        if intake.silent_accounts > 0 && intake.silent_accounts.saturating_mul(SILENT_SHARE) >= linked {
            let silent = count(intake.silent_accounts, "linked account");
            self.add(
                ProblemName::AccountsSilent,
                format!("No webhook of {silent} of {linked} has arrived for longer than expected."),
                "See in the log which they are, and whether their devices are online in the Ring app.",
            );
        }
    }

    fn configuration(&mut self, status: &Status, now: Millis) {
        let configuration = &status.configuration;
        if let Some(refused) = &configuration.refused {
            let (first, more) = match refused.problems.as_slice() {
                [] => ("it does not say why", 0),
                [first, more @ ..] => (first.as_str(), more.len()),
            };
            let more = if more > 0 {
                format!(" (and {})", count(more as u64, "other problem"))
            } else {
                String::new()
            };
            let (ago, first) = (span(now.since(refused.at)), first.trim_end_matches('.'));
            self.add(
                ProblemName::ConfigurationRefused,
                format!("The configuration on disk was refused {ago} ago, and the one before it stays in force: {first}{more}."),
                "Mend the file, and read it anew (`ringhookd reload`). A restart would be refused too.",
            );
        }
        if !configuration.needs_restart.is_empty() {
            let keys: Vec<&str> = configuration.needs_restart.iter().map(|one| one.key.as_str()).collect();
            self.add(
                ProblemName::RestartNeeded,
                format!("A restart is outstanding, because the daemon can't take over while it runs: {}.", keys.join(", ")),
                "Restart the daemon (`systemctl restart ringhookd`), or put the former values back and reload.",
            );
        }
    }

    fn certificate(&mut self, status: &Status, now: Millis) {
        self.orders(status, now);
        let Some(certificate) = &status.certificate else { return };
        let (names, end) = (certificate.names.join(", "), certificate.not_after);
        let renew = match status.authority {
            None => "Renew it: a new one in [tls] certificate_file and key_file is taken by itself.",
            Some(_) => "A new one is ordered by itself, see certificate_order_failed.",
        };
        let ends = format!("The certificate for {names} ends in {}.", span(end.since(now)));
        match standing(certificate.not_before, end, now) {
            // The latter is among its faults.
            Standing::Fine | Standing::NotYetValid => {}
            Standing::Due => self.add(ProblemName::CertificateDue, ends, renew),
            Standing::Urgent => self.add(ProblemName::CertificateUrgent, ends, renew),
            Standing::Expired => self.add(
                ProblemName::CertificateExpired,
                format!(
                    "The certificate for {names} has expired {} ago, and Ring sends nothing.",
                    span(now.since(end))
                ),
                renew,
            ),
        }
        if !certificate.faults.is_empty() {
            self.add(
                ProblemName::CertificateWrong,
                format!("Clients refuse the certificate: {}.", certificate.faults.join("; ")),
                "Put the right one into [tls] certificate_file and key_file.",
            );
        }
        if let Some(refused) = &certificate.refused {
            let since = span(now.since(refused.at));
            self.add(
                ProblemName::CertificateRefused,
                format!("The certificate in the files has been refused for {since}, and the old one is shown: {}.", refused.why),
                "Mend the files; they are looked at by themselves, and by `ringhookd reload`.",
            );
        }
    }

    /// At an authority.
    fn orders(&mut self, status: &Status, now: Millis) {
        let Some(authority) = &status.authority else { return };
        let names = authority.names.join(", ");
        if status.certificate.is_none() {
            self.add(
                ProblemName::CertificateMissing,
                format!("There is no certificate for {names} yet, and Ring sends nothing."),
                "One is ordered by itself; where that fails, certificate_order_failed says why.",
            );
        }
        if let Some(failed) = &authority.failed {
            let (ago, next) = (span(now.since(failed.at)), span(failed.next_at.since(now)));
            let times = count(failed.times.into(), "time");
            self.add(
                ProblemName::CertificateOrderFailed,
                format!(
                    "No certificate for {names} could be had from {}, {times} in a row, the last {ago} ago: {}.",
                    authority.directory,
                    failed.why.trim_end_matches('.')
                ),
                format!("Mend that. The next try is in {next}, and at once with `ringhookd reload`."),
            );
        }
    }

    fn webhooks(&mut self, status: &Status, now: Millis) {
        let verified = status.webhook_keys.iter().filter_map(|key| key.verified_at).max();
        let recent = |verdict| {
            let refusal = status.webhooks.refusals.get(&verdict);
            refusal.filter(|refusal| now.since(refusal.at) <= RECENT)
        };
        if let Some(refusal) = recent(Verdict::Unproven)
            && verified.is_none_or(|at| at < refusal.at)
        {
            self.add(
                ProblemName::KeysUnproven,
                format!(
                    "No key made the signature of a webhook {} ago, and no key has verified one since: webhooks are answered 503.",
                    span(now.since(refusal.at))
                ),
                "Compare hmac_key_files with the key that Ring shows, and reload (`ringhookd reload`).",
            );
        }
        if let Some(refusal) = recent(Verdict::NotDurable) {
            self.add(
                ProblemName::WebhooksSlow,
                format!(
                    "A webhook was answered 503 {} ago because it could not be made durable in time.",
                    span(now.since(refusal.at))
                ),
                "See whether the disk is slow or the machine is overloaded. Ring sends it again.",
            );
        }
        if let Some(posts) = status.unmatched_posts.as_ref().filter(|_| verified.is_none()) {
            self.add(
                ProblemName::AddressWrong,
                format!(
                    "No webhook has come yet, and {} went to paths where nothing is, the last to {}.",
                    count(posts.count, "POST"),
                    posts.last_path
                ),
                "Compare the webhook URL that is registered at Ring with [webhook] path.",
            );
        }
        if status.queues.iter().all(|queue| !queue.configured) {
            self.add(
                ProblemName::NoQueue,
                "The configuration has no [[queue]]: events are only kept for [unrouted] max_age.",
                "Configure a queue, reload, and replay the unrouted events (`ringhookd dead-letters replay`).",
            );
        }
    }

    fn tokens(&mut self, status: &Status, now: Millis) {
        let tokens = &status.tokens;
        if tokens.unrecorded > 0 {
            self.add(
                ProblemName::UnrecordedAnswers,
                format!(
                    "The store can't take {} of OAuth's; the new tokens are in memory and in the guard folder.",
                    count(tokens.unrecorded, "answer")
                ),
                "Free the store's disk, and do not kill the daemon before.",
            );
        }
        if tokens.guarded {
            self.add(
                ProblemName::RestoreGuard,
                "No token is refreshed because the store is an older copy than the one that was in use.",
                "Find the newest copy of the store; if it is this one, say `ringhookd accept-restored`.",
            );
        }
        if tokens.client_refused {
            self.add(
                ProblemName::ClientRefused,
                "No token is refreshed because OAuth refuses our own client id or secret.",
                "Mend [ring] client_id and client_secret_file, and restart. No link is lost by it.",
            );
        }
        let has_tokens = tokens.accounts.values().any(|&accounts| accounts > 0);
        if has_tokens && !tokens.configured {
            self.add(
                ProblemName::RefreshOff,
                "No token is refreshed because the configuration has no [ring] client_id.",
                "Configure [ring], and restart.",
            );
        }
        if tokens.oauth_down {
            self.add(
                ProblemName::OauthDown,
                format!(
                    "Ring's OAuth can't be reached, or fails; {}.",
                    next_lapse(tokens.nearest_lapse, now)
                ),
                "Nothing if it passes. Else see whether this machine reaches [ring] oauth_url.",
            );
        }
    }

    fn token_states(&mut self, status: &Status, now: Millis) {
        let tokens = &status.tokens;
        let lapsing = tokens.of(Health::Lapsing);
        if lapsing > 0 {
            self.add(
                ProblemName::LinksLapsing,
                format!(
                    "{} could not be refreshed and near their end; {}.",
                    count(lapsing, "link"),
                    next_lapse(tokens.nearest_lapse, now)
                ),
                "See `ringhookd accounts list` for their errors, and whether OAuth can be reached.",
            );
        }
        let refused = tokens.of(Health::Refused);
        if refused > 0 {
            self.add(
                ProblemName::TokensRefused,
                format!("OAuth refuses the tokens of {} (invalid_grant).", count(refused, "account")),
                "See `ringhookd accounts list`. Unless the next try is better, the user has to add the app in Ring again.",
            );
        }
        let late = tokens.of(Health::Late);
        if late > 0 {
            self.add(
                ProblemName::RefreshesLate,
                format!("The refresh of {} has been due for over an hour.", count(late, "account")),
                "See `ringhookd accounts list` for the errors. It is tried again by itself.",
            );
        }
    }

    fn links(&mut self, status: &Status) {
        let ended = status.tokens.of(Health::Lapsed) + status.tokens.of(Health::Revoked);
        if ended > 0 {
            self.add(
                ProblemName::LinksEnded,
                format!("{} ended: no token of theirs is honoured any more.", has(ended, "link")),
                "Let their users add the app in Ring again, or forget them (`ringhookd accounts forget`).",
            );
        }
        let refused = status.accounts.get(&LinkState::Refused).copied().unwrap_or_default();
        if refused > 0 {
            self.add(
                ProblemName::ConfirmationsRefused,
                format!("Ring refused to confirm {}.", count(refused, "link")),
                "See `ringhookd accounts show` for Ring's word; the user may link again.",
            );
        }
    }

    fn queues(&mut self, status: &Status, now: Millis) {
        for queue in &status.queues {
            let name = &queue.name;
            let waiting = count(queue.waiting, "event");
            let since = queue.since.map(|at| format!(" for {}", span(now.since(at)))).unwrap_or_default();
            let why = queue.why.as_deref().unwrap_or("it does not say why");
            // Of a paused queue nothing is known of its receiver since.
            match queue.delivery.filter(|_| queue.paused_since.is_none()) {
                Some(DeliveryState::SinkBusy) => self.add_of(
                    queue,
                    ProblemName::QueueStalled,
                    format!("Queue {name} has delivered nothing{since}, and {waiting} wait: {why}."),
                    "See to its receiver. Delivery goes on by itself; nothing is lost before the queue's bounds.",
                ),
                Some(DeliveryState::StoreFailing) => self.add_of(
                    queue,
                    ProblemName::QueueStalled,
                    format!("Queue {name} has delivered nothing{since} because the store can't be used: {why}."),
                    "See to the store's disk.",
                ),
                Some(DeliveryState::Stopped) => self.add_of(
                    queue,
                    ProblemName::QueueStalled,
                    format!("The delivery of queue {name} has ended, and {waiting} wait."),
                    "Restart the daemon, and report what its log says.",
                ),
                Some(DeliveryState::Delivering | DeliveryState::Limited) | None => {}
            }
            if let Some(since) = queue.paused_since {
                let paused = span(now.since(since));
                self.add_of(
                    queue,
                    ProblemName::QueuePaused,
                    format!("Queue {name} has been paused for {paused}, and {waiting} wait. Its bounds hold meanwhile."),
                    format!("Let it go on when that is meant (`ringhookd queue resume {name}`)."),
                );
            }
            let age = queue.oldest.map(|oldest| now.since(oldest));
            let is_old = age.zip(queue.max_age_s).is_some_and(|(age, most)| is_near(age.as_secs(), most));
            if is_old || queue.max_bytes.is_some_and(|most| is_near(queue.waiting_bytes, most)) {
                let (bytes, age) = (size(queue.waiting_bytes), span(age.unwrap_or_default()));
                self.add_of(
                    queue,
                    ProblemName::QueueNearBound,
                    format!("Queue {name} is near its bounds: {waiting} of {bytes} wait, the oldest for {age}. Beyond them events become dead letters."),
                    "Let it be read, or raise its max_age and max_bytes.",
                );
            }
            if !queue.configured && queue.waiting > 0 {
                self.add_of(
                    queue,
                    ProblemName::QueueLeftOver,
                    format!("{waiting} wait in queue {name}, which the configuration does not name."),
                    format!("Configure it again, or drop them (`ringhookd queue remove {name}`)."),
                );
            }
        }
    }

    fn kept(&mut self, status: &Status) {
        let (kept, total) = (&status.kept, &status.since_start);
        if kept.dead > 0 {
            self.add(
                ProblemName::DeadLetters,
                format!("{} could not be delivered and became dead letters.", count(kept.dead, "event")),
                "See `ringhookd dead-letters list`, mend the cause, then replay or drop them.",
            );
        }
        if kept.quarantined > 0 {
            self.add(
                ProblemName::Quarantined,
                format!("{} could not be understood, though the signature was right.", count(kept.quarantined, "webhook")),
                "See `ringhookd dead-letters list --class quarantined`; a newer ringhookd may understand them.",
            );
        }
        if total.damaged > 0 {
            self.add(
                ProblemName::RecordsDamaged,
                format!("{} of the store failed the check since the start.", count(total.damaged, "record")),
                "See to the disk and the memory of this machine. What is damaged is never delivered.",
            );
        }
    }
}

/// The beginning of a sentence: `1 link has`, `2 links have`.
fn has(number: u64, of: &str) -> String {
    format!("{} {}", count(number, of), if number == 1 { "has" } else { "have" })
}

fn next_lapse(at: Option<Millis>, now: Millis) -> String {
    match at {
        Some(at) if at > now => format!("the first link lapses in {}", span(at.since(now))),
        Some(_) => "the first link may have lapsed".into(),
        None => "there is no link yet".into(),
    }
}

/// Whether `used` is so much of `most` that somebody has to know.
fn is_near(used: u64, most: u64) -> bool {
    used > 0 && u128::from(used) * 100 >= u128::from(most) * u128::from(NEAR)
}
