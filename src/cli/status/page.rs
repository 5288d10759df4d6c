//! The status as a page for people: what to do first, then links, webhooks, tokens, queues and keys.

use std::time::Duration;

use crate::cli::output::aligned;
use crate::domain::status::{Problem, QueueLately, QueueReport, QueueState, Report, Status, StoreCondition};
use crate::domain::time::Millis;
use crate::domain::units::{count, size, span};

/// The page, a line each. The first says that all is well, or what is wrong most of all.
pub(super) fn lines(report: &Report, now: Millis) -> Vec<String> {
    let Report { problems, status } = report;
    let mut lines: Vec<String> = problems.iter().map(problem).collect();
    if problems.is_empty() {
        lines.push("all well".into());
    }
    lines.push(String::new());
    lines.extend(aligned(&facts(status, now)));
    let queues: Vec<_> = status.queues.iter().map(|queue| queue_row(queue, now)).collect();
    let keys = status
        .webhook_keys
        .iter()
        .map(|key| vec![key.fingerprint.clone(), ago(Some(key.set_at), now), ago(key.verified_at, now)]);
    let keys = keys.collect();
    let titles =
        ["QUEUE", "KIND", "WAITING", "SIZE", "OLDEST", "RATE", "FAILED", "DEAD SINCE START", "STATE"];
    for (titles, rows) in [(&titles[..], queues), (&["WEBHOOK KEY", "SET", "LAST VERIFIED"], keys)] {
        if !rows.is_empty() {
            let titles = titles.iter().map(|title| (*title).to_owned()).collect();
            lines.push(String::new());
            lines.extend(aligned(&[vec![titles], rows].concat()));
        }
    }
    lines
}

fn problem(problem: &Problem) -> String {
    format!("{}: {} {}", problem.name.as_str(), problem.words, problem.action)
}

/// The name of a fact, and the fact.
fn facts(status: &Status, now: Millis) -> Vec<Vec<String>> {
    let mut facts: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, fact: String| facts.push(vec![name.to_owned(), fact]);
    let up = span(now.since(status.started_at));
    add("ringhookd", format!("{} has run for {up}", status.version));
    add("store", store(status));
    let lapse =
        status.tokens.nearest_lapse.map(|at| format!("; the first would lapse in {}", span(at.since(now))));
    let links = status.accounts.iter().map(|(state, count)| (state.name(), *count));
    add("links", listed(links) + &lapse.unwrap_or_default());
    if let Some(certificate) = &status.certificate {
        let (names, end) = (certificate.names.join(", "), certificate.not_after);
        add(
            "certificate",
            format!("for {names}, until {}, {} from now", end.rfc3339(), span(end.since(now))),
        );
    }
    let webhooks = status.webhooks.outcomes.iter().map(|(outcome, count)| (outcome.as_str(), *count));
    add("webhooks", listed(webhooks));
    add("last webhook", last_webhook(status, now));
    if let Some((verdict, refusal)) = status.webhooks.last_refusal() {
        let at = ago(Some(refusal.at), now);
        add("last refusal", format!("{}, {at}: {}", verdict.as_str(), refusal.why));
    }
    if let Some(posts) = &status.unmatched_posts {
        let at = ago(Some(posts.last_at), now);
        add("unknown paths", format!("{}, the last {at} to {}", count(posts.count, "POST"), posts.last_path));
    }
    add("tokens", tokens(status));
    let kept = &status.kept;
    let kept = [
        ("held", kept.held),
        ("dead", kept.dead),
        ("unrouted", kept.unrouted),
        ("quarantined", kept.quarantined),
    ];
    add("off queue", listed(kept.into_iter()));
    let ids = &status.seen_ids;
    let since = ids.since.map(|at| format!(", the oldest {} ago", span(now.since(at)))).unwrap_or_default();
    add("request ids", format!("{} remembered{since}", ids.count));
    if let Some(clock) = status.ring_clock {
        let ahead = if clock.ahead_ms < 0 { "behind" } else { "ahead of" };
        add("Ring's clock", format!("{} ms {ahead} this machine's", clock.ahead_ms.unsigned_abs()));
    }
    if status.log_lines_lost > 0 {
        add("log lines lost", status.log_lines_lost.to_string());
    }
    facts
}

fn last_webhook(status: &Status, now: Millis) -> String {
    let intake = &status.intake;
    let Some(last) = intake.last_webhook else { return "none yet".into() };
    let limit = intake.silent_after_s.map(|limit| span(Duration::from_secs(limit)));
    let limit = limit.map(|limit| format!("; a wait of over {limit} is told")).unwrap_or_default();
    let silent = Some(intake.silent_accounts).filter(|silent| *silent > 0);
    let silent = silent.map(|silent| format!("; {} silent", count(silent, "account"))).unwrap_or_default();
    format!("{}{limit}{silent}", ago(Some(last), now))
}

fn store(status: &Status) -> String {
    let store = &status.store;
    let state = match store.state {
        StoreCondition::Ready => "ready",
        StoreCondition::LowDisk => "low disk",
        StoreCondition::Failing => "failing",
        StoreCondition::Damaged => "damaged",
    };
    format!(
        "{state}, {} ({}); keeps {} of {} at most, in a file of {} of which about {} is free",
        store.name,
        store.environment,
        size(store.kept_bytes),
        size(store.max_bytes),
        size(store.file_bytes),
        size(store.free_bytes)
    )
}

fn tokens(status: &Status) -> String {
    let tokens = &status.tokens;
    let mut said = vec![listed(tokens.accounts.iter().map(|(state, count)| (state.as_str(), *count)))];
    let work = [
        ("due", tokens.due),
        ("under way", tokens.under_way),
        ("failing", tokens.failing),
        ("codes under way", tokens.codes_under_way),
    ];
    if work.iter().any(|(_, count)| *count > 0) {
        said.push(listed(work.into_iter()));
    }
    if let Some(wait) = tokens.next_due_in_s.filter(|_| tokens.configured) {
        said.push(format!("the next refresh in {}", span(Duration::from_secs(wait))));
    }
    said.join("; ")
}

fn queue_row(queue: &QueueReport, now: Millis) -> Vec<String> {
    let stalled = || {
        let since = queue.since.map(|at| format!(" for {}", span(now.since(at)))).unwrap_or_default();
        let why = queue.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("stalled{since}{why}")
    };
    let paused = || span(queue.paused_since.map(|at| now.since(at)).unwrap_or_default());
    let state = match queue.state() {
        QueueState::NotConfigured => "not configured".to_owned(),
        QueueState::Paused => format!("paused for {}", paused()),
        QueueState::ForReaders => "for readers".to_owned(),
        QueueState::Delivering => "delivering".to_owned(),
        QueueState::Limited => format!("delivering, {}", queue.why.as_deref().unwrap_or("limited")),
        QueueState::SinkBusy | QueueState::StoreFailing => stalled(),
        QueueState::Stopped => "stopped".to_owned(),
    };
    let QueueLately { over_s, delivered, failed, last_failure } = &queue.lately;
    let failing = last_failure.as_ref().filter(|_| queue.delayed_accounts > 0).map(|failure| {
        let accounts = count(queue.delayed_accounts, "account");
        format!("; {accounts} wait after a failure: {}", failure.why)
    });
    vec![
        queue.name.clone(),
        queue.kind.clone().unwrap_or_else(|| "-".into()),
        queue.waiting.to_string(),
        size(queue.waiting_bytes),
        ago(queue.oldest, now),
        rate(*delivered, *over_s),
        failed.to_string(),
        queue.since_start.dead.to_string(),
        state + &failing.unwrap_or_default(),
    ]
}

/// As much of a number as a glance wants: `12/s`, `3.4/min`.
fn rate(events: u64, over_s: u64) -> String {
    let over_s = over_s.max(1);
    if events == 0 {
        "-".to_owned()
    } else if events >= over_s {
        format!("{}/s", events / over_s)
    } else {
        let tenths = events * 600 / over_s;
        format!("{}.{}/min", tenths / 10, tenths % 10)
    }
}

fn ago(at: Option<Millis>, now: Millis) -> String {
    at.map_or_else(|| "-".into(), |at| format!("{} ago", span(now.since(at))))
}

/// `3 linked, 1 unclaimed`, without those of which there are none.
fn listed<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let some: Vec<_> = counts.filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
    if some.is_empty() { "none".into() } else { some.join(", ") }
}
