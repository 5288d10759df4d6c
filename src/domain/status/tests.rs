//! A well daemon has no problem, each problem has its sign, and names on the wire are those that people see.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

const NOW: Millis = Millis(1_790_000_000_000);
const MINUTE: u64 = 60_000;
const DAY: Duration = Duration::from_hours(24);
/// Of which there is one at a time, beside another sign here.
const ALONE: [&str; 4] = ["no_queue", "certificate_missing", "certificate_urgent", "certificate_due"];

fn ago(minutes: u64) -> Millis {
    Millis(NOW.0 - minutes * MINUTE)
}

fn queue(name: &str) -> QueueReport {
    QueueReport {
        name: name.into(),
        kind: Some("http".into()),
        configured: true,
        delivery: Some(DeliveryState::Delivering),
        why: None,
        since: None,
        paused_since: None,
        waiting: 3,
        waiting_bytes: 3_000,
        leased: 1,
        delayed_accounts: 0,
        oldest: Some(ago(60)),
        max_age_s: Some(30 * 86_400),
        max_bytes: Some(1 << 30),
        since_start: QueueCounts::default(),
        lately: QueueLately::default(),
    }
}

/// Of a daemon that works, and has worked through a few things.
fn well() -> Status {
    Status {
        version: "1.2.3".into(),
        started_at: ago(300),
        uptime_s: 18_000,
        configuration: ConfigurationReport::default(),
        store: StoreReport {
            state: StoreCondition::Ready,
            since: None,
            why: None,
            name: "s".into(),
            environment: "test".into(),
            created: "2026-01-01T00:00:00Z".into(),
            folder: "/srv/store".into(),
            file_bytes: 1 << 24,
            free_bytes: 1 << 22,
            kept_bytes: 1 << 20,
            max_bytes: 1 << 30,
        },
        since_start: Totals { accepted: 9, dead: 3, ..Totals::default() },
        webhooks: WebhookReport {
            outcomes: [(Verdict::Accepted, 9), (Verdict::Forged, 2)].into(),
            refusals: [
                (Verdict::Forged, LastRefusal { at: ago(1), why: "forged".into() }),
                (Verdict::Unproven, LastRefusal { at: ago(5), why: "unproven".into() }),
                (Verdict::NotDurable, LastRefusal { at: ago(20), why: "slow".into() }),
            ]
            .into(),
            per_minute: Vec::new(),
        },
        intake: IntakeReport {
            last_webhook: Some(ago(90)),
            longest_wait_s: Some(36_000),
            silent_after_s: Some(108_000),
            silent_since: None,
            silent_accounts: 0,
        },
        kept: Kept { held: 4, unrouted: 2, ..Kept::default() },
        seen_ids: SeenIds::default(),
        accounts: [(LinkState::Linked, 2), (LinkState::Removed, 1), (LinkState::Refused, 0)].into(),
        tokens: TokenReport {
            configured: true,
            failing: 1,
            due: 1,
            nearest_lapse: Some(NOW.plus(Duration::from_hours(24 * 29))),
            accounts: [(Health::Fresh, 2), (Health::Untried, 1), (Health::Lapsing, 0)].into(),
            ..TokenReport::default()
        },
        ring_clock: Some(RingClockReport { ahead_ms: 5_400, within_ms: Some(500) }),
        queues: vec![queue("all")],
        unmatched_posts: Some(UnmatchedPosts { count: 2, last_at: ago(1), last_path: "/x".into() }),
        certificate: Some(CertificateReport {
            names: vec!["hooks.example.com".into()],
            not_before: ago(60 * 24 * 300),
            not_after: NOW.plus(DAY * 30),
            days_left: 30,
            faults: Vec::new(),
            refused: None,
        }),
        authority: None,
        webhook_keys: vec![KeyProof { fingerprint: "f".into(), set_at: ago(300), verified_at: Some(ago(4)) }],
        log_lines_lost: 0,
    }
}

fn names(change: impl FnOnce(&mut Status)) -> Vec<&'static str> {
    let mut status = well();
    change(&mut status);
    problems(&status, NOW).iter().map(|problem| problem.name.as_str()).collect()
}

fn first(change: impl FnOnce(&mut Status)) -> Problem {
    let mut status = well();
    change(&mut status);
    problems(&status, NOW).swap_remove(0)
}

#[test]
fn a_well_daemon_has_no_problem() {
    assert_eq!(problems(&well(), NOW), []);
}

#[test]
fn a_line_says_the_worst_and_has_no_line_break() {
    let headline = |change: fn(&mut Status)| {
        let mut status = well();
        change(&mut status);
        Report::of(status, NOW).headline()
    };
    assert_eq!(headline(|_| {}), "all well: 2 links, 3 events waiting");
    assert!(headline(|s| s.tokens.oauth_down = true).starts_with("oauth_down: "));
    let two = headline(|s| {
        s.store.state = StoreCondition::Failing;
        s.store.why = Some(format!("a line\nREADY=1\n{}", "é".repeat(500)));
        s.tokens.oauth_down = true;
    });
    assert!(
        two.starts_with("store_failing (1 other problem): ") && two.contains("a line READY=1 é"),
        "{two}"
    );
    assert_eq!(two.chars().count(), 200);
    let refused = headline(|s| {
        s.store.state = StoreCondition::Failing;
        s.configuration.refused = Some(RefusedConfiguration { at: ago(2), problems: Vec::new() });
    });
    assert!(refused.starts_with("store_failing (1 other problem, configuration_refused): "), "{refused}");
}

fn one<K: Ord>(counts: &mut BTreeMap<K, u64>, of: K) {
    counts.insert(of, 1);
}

fn certificate(status: &mut Status) -> &mut CertificateReport {
    status.certificate.as_mut().unwrap()
}

fn authority() -> AuthorityReport {
    AuthorityReport {
        directory: "https://acme.example.com/directory".into(),
        names: vec!["hooks.example.com".into()],
        renew_at: None,
        failed: None,
    }
}

type Sign = (&'static str, fn(&mut Status));

/// What makes each problem, in the order of names: the worst first.
const SIGNS: &[Sign] = &[
    ("store_damaged", |s| s.store.state = StoreCondition::Damaged),
    ("store_failing", |s| s.store.state = StoreCondition::Failing),
    ("disk_low", |s| s.store.state = StoreCondition::LowDisk),
    ("store_full", |s| s.store.kept_bytes = s.store.max_bytes / 10 * 9),
    ("certificate_expired", |s| certificate(s).not_after = ago(90)),
    ("certificate_wrong", |s| certificate(s).faults.push("it is not for hooks.example.com".into())),
    ("certificate_missing", |s| {
        s.certificate = None;
        s.authority = Some(authority());
    }),
    ("keys_unproven", |s| s.webhook_keys[0].verified_at = Some(ago(6))),
    ("unrecorded_answers", |s| s.tokens.unrecorded = 1),
    ("restore_guard", |s| s.tokens.guarded = true),
    ("client_refused", |s| s.tokens.client_refused = true),
    ("refresh_off", |s| s.tokens.configured = false),
    ("links_lapsing", |s| one(&mut s.tokens.accounts, Health::Lapsing)),
    ("intake_silent", |s| s.intake.silent_since = Some(ago(540))),
    ("certificate_urgent", |s| certificate(s).not_after = NOW.plus(DAY * 6)),
    ("queue_stalled", |s| s.queues[0].delivery = Some(DeliveryState::SinkBusy)),
    ("queue_near_bound", |s| s.queues[0].waiting_bytes = 1 << 30),
    ("configuration_refused", |s| {
        let problems =
            vec!["config.toml:3: listen: is no address".into(), "config.toml:4: x: is unknown".into()];
        s.configuration.refused = Some(RefusedConfiguration { at: ago(2), problems });
    }),
    ("webhooks_slow", |s| {
        s.webhooks.refusals.insert(Verdict::NotDurable, LastRefusal { at: ago(14), why: String::new() });
    }),
    ("certificate_refused", |s| {
        certificate(s).refused = Some(RefusedPair { at: ago(5), why: "the key does not match".into() });
    }),
    ("certificate_order_failed", |s| {
        let next_at = NOW.plus(Duration::from_mins(8));
        let failed = FailedOrder { at: ago(3), why: "no such name (dns)".into(), times: 2, next_at };
        s.authority = Some(AuthorityReport { failed: Some(failed), ..authority() });
    }),
    ("certificate_due", |s| certificate(s).not_after = NOW.plus(DAY * 20)),
    ("tokens_refused", |s| one(&mut s.tokens.accounts, Health::Refused)),
    ("oauth_down", |s| s.tokens.oauth_down = true),
    ("refreshes_late", |s| one(&mut s.tokens.accounts, Health::Late)),
    ("links_ended", |s| one(&mut s.tokens.accounts, Health::Revoked)),
    ("confirmations_refused", |s| one(&mut s.accounts, LinkState::Refused)),
    ("records_damaged", |s| s.since_start.damaged = 1),
    ("dead_letters", |s| s.kept.dead = 1),
    ("quarantined", |s| s.kept.quarantined = 1),
    ("queue_paused", |s| s.queues.push(QueueReport { paused_since: Some(ago(90)), ..queue("quiet") })),
    ("no_queue", |s| s.queues.clear()),
    ("restart_needed", |s| {
        let why = "the address is bound when the daemon starts".into();
        s.configuration.needs_restart = vec![Outstanding { key: "listen".into(), why }];
    }),
    ("queue_left_over", |s| s.queues.push(QueueReport { configured: false, ..queue("old") })),
    ("clock_wrong", |s| s.ring_clock = Some(RingClockReport { ahead_ms: -5_600, within_ms: Some(500) })),
    ("ids_forgotten_early", |s| s.seen_ids.short_s = Some(7_200)),
    ("accounts_silent", |s| s.intake.silent_accounts = 1),
    ("address_wrong", |s| s.webhook_keys[0].verified_at = None),
];

#[test]
fn each_problem_has_its_sign_and_the_worst_comes_first() {
    for (name, sign) in SIGNS {
        let found = names(sign);
        // Keys that have verified nothing are a sign of two.
        let beside =
            if *name == "address_wrong" { &["keys_unproven", "address_wrong"][..] } else { &[*name] };
        assert_eq!(found, beside);
    }
    let of_signs: Vec<_> = SIGNS.iter().map(|(name, _)| *name).collect();
    let all: Vec<_> = ProblemName::ALL.iter().map(|name| name.as_str()).collect();
    assert_eq!(of_signs, all, "each name has a sign here");
    // All at once but for what excludes each other: in the order of names.
    let together = names(|s| {
        SIGNS.iter().skip(2).filter(|(name, _)| !ALONE.contains(name)).for_each(|(_, sign)| sign(s));
    });
    let expected: Vec<_> = all[2..].iter().copied().filter(|name| !ALONE.contains(name)).collect();
    assert_eq!(together, expected);
}

#[test]
fn accounts_are_silent_where_they_are_one_in_ten() {
    let silent = |of: u64| {
        names(|s| {
            s.intake.silent_accounts = 1;
            s.accounts.insert(LinkState::Linked, of);
        })
    };
    assert_eq!((silent(10), silent(11)), (vec!["accounts_silent"], vec![]));
    let words = first(|s| s.intake.silent_since = Some(ago(540))).words;
    assert_eq!(words, "No webhook has arrived for 9 h; the longest wait of the last weeks was 10 h.");
}

#[test]
fn every_problem_says_in_sentences_what_is_wrong_and_what_to_do() {
    for (name, sign) in SIGNS {
        let problem = first(sign);
        for sentence in [&problem.words, &problem.action] {
            let good = sentence.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
            assert!(good && sentence.ends_with('.') && !sentence.contains("  "), "{name}: {sentence}");
        }
    }
}

#[test]
fn the_words_have_the_numbers_the_reason_and_the_time() {
    let stalled = first(|s| {
        s.queues[0].delivery = Some(DeliveryState::SinkBusy);
        s.queues[0].why = Some("connection refused".into());
        s.queues[0].since = Some(ago(3));
    });
    assert_eq!(stalled.queue.as_deref(), Some("all"));
    let paused = |s: &mut Status| {
        s.queues[0].paused_since = Some(ago(90));
        s.queues[0].delivery = Some(DeliveryState::SinkBusy);
    };
    assert_eq!(names(paused), ["queue_paused"], "nothing is known of its receiver");
    assert_eq!(
        first(paused).words,
        "Queue all has been paused for 90 min, and 3 events wait. Its bounds hold meanwhile."
    );
    assert_eq!(
        stalled.words,
        "Queue all has delivered nothing for 3 min, and 3 events wait: connection refused."
    );
    let refused = first(|s| {
        let problems = vec!["c.toml:3: listen: is no address.".into(), "c.toml:4: x: is unknown".into()];
        s.configuration.refused = Some(RefusedConfiguration { at: ago(2), problems });
    });
    assert_eq!(
        refused.words,
        "The configuration on disk was refused 2 min ago, and the one before it stays in force: c.toml:3: listen: is no address \
         (and 1 other problem)."
    );
    let lapsing = first(|s| {
        s.tokens.accounts.insert(Health::Lapsing, 2);
        s.tokens.nearest_lapse = Some(NOW.plus(Duration::from_hours(99)));
    });
    assert_eq!(
        lapsing.words,
        "2 links could not be refreshed and near their end; the first link lapses in 4 days."
    );
    let full = first(|s| s.store.kept_bytes = s.store.max_bytes);
    assert!(full.words.starts_with("The store keeps 1.0 GiB of its 1.0 GiB;"), "{}", full.words);
    let low = first(|s| {
        s.store.state = StoreCondition::LowDisk;
        s.store.why = Some("12 bytes are free".into());
    });
    assert!(low.words.ends_with(": 12 bytes are free.") && low.action.contains("/srv/store"), "{low:?}");
}

#[test]
fn what_was_long_ago_or_is_usual_is_no_problem() {
    type Change = fn(&mut Status);
    let usual: [Change; 8] = [
        |s| s.store.kept_bytes = s.store.max_bytes / 10 * 7,
        |s| s.queues[0].oldest = Some(ago(23 * 24 * 60)),
        |s| s.tokens = TokenReport::default(),
        |s| s.ring_clock = Some(RingClockReport { ahead_ms: -90_000, within_ms: None }),
        |s| s.ring_clock = None,
        |s| s.queues.push(QueueReport { configured: false, waiting: 0, oldest: None, ..queue("old") }),
        |s| s.queues[0].delivery = None,
        |s| s.unmatched_posts = None,
    ];
    for (at, change) in usual.into_iter().enumerate() {
        assert_eq!(names(change), [""; 0], "{at}");
    }
    // An unproven key that has verified a webhook since, or a quarter of an hour without another.
    assert_eq!(names(|s| s.webhook_keys[0].verified_at = Some(ago(5))), [""; 0]);
    let old = |s: &mut Status| {
        s.webhook_keys[0].verified_at = Some(ago(30));
        s.webhooks.refusals.insert(Verdict::Unproven, LastRefusal { at: ago(16), why: String::new() });
    };
    assert_eq!(names(old), [""; 0]);
}

#[test]
fn the_last_refusal_of_all_is_the_newest() {
    let status = well();
    let (verdict, refusal) = status.webhooks.last_refusal().unwrap();
    assert_eq!((verdict, refusal.why.as_str()), (Verdict::Forged, "forged"));
    assert_eq!(WebhookReport::default().last_refusal(), None);
}

#[test]
fn a_report_comes_back_from_its_json() {
    let report = Report::of(Status { kept: Kept { dead: 1, ..Kept::default() }, ..well() }, NOW);
    let document = serde_json::to_value(&report).unwrap();
    assert_eq!(document["problems"][0]["name"], "dead_letters");
    assert_eq!(document["webhooks"]["outcomes"], json!({"accepted": 9, "forged": 2}));
    assert_eq!(document["started_at"], NOW.minus(Duration::from_hours(5)).rfc3339());
    assert_eq!(serde_json::from_value::<Report>(document).unwrap(), report);
}

#[test]
fn names_on_the_wire_are_those_that_people_see() {
    fn same<T: Serialize + DeserializeOwned + PartialEq + Copy>(all: &[T], name: impl Fn(T) -> &'static str) {
        for &one in all {
            assert_eq!(serde_json::to_value(one).unwrap(), name(one));
            assert!(serde_json::from_value::<T>(json!(name(one))).unwrap() == one);
        }
    }
    same(&Verdict::ALL, Verdict::as_str);
    same(&Health::ALL, Health::as_str);
    same(&LinkState::ALL, LinkState::name);
    same(ProblemName::ALL, ProblemName::as_str);
    let states = [
        DeliveryState::Delivering,
        DeliveryState::SinkBusy,
        DeliveryState::StoreFailing,
        DeliveryState::Stopped,
    ];
    same(&states, DeliveryState::as_str);
}
