//! How links end, and how they do not: refusals that are believed, and those that are not.

use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::refresh::{End, Notice};
use ringhookd::sim::{Plan, Policy};

use crate::support::tokens::{PATIENCE, TokenHarness, soon};
use crate::support::{account, drain, event_of, later};

const MINUTE: Duration = Duration::from_mins(1);
const LONG_GRACE: Policy = Policy::Grace(Duration::from_hours(9));

async fn state(harness: &TokenHarness, id: &str) -> (Option<End>, Notice) {
    let end = harness.store.links().access(account(id)).await.unwrap().unwrap().end;
    let view = harness.store.links().account(account(id)).await.unwrap().unwrap();
    (end, view.tokens.unwrap().state)
}

/// Waits until that was told.
async fn until(harness: &TokenHarness, id: &str, expected: (Option<End>, Notice)) {
    let deadline = clock::ticks() + PATIENCE;
    while state(harness, id).await != expected {
        assert!(clock::ticks() < deadline, "{:?}, not {expected:?}", state(harness, id).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn requests_of(harness: &TokenHarness, id: &str) -> Vec<Option<u32>> {
    let exchanges = harness.ring.exchanges();
    // Ring does not know whose a revoked token was; "other" is never revoked.
    let is = |account: Option<&str>| account == Some(id) || (account.is_none() && id == "a");
    let of = exchanges.iter().filter(|exchange| is(exchange.account.as_deref()));
    of.map(|exchange| exchange.generation).collect()
}

/// Brings an account's refresh forward, whatever comes of it, and waits until OAuth was asked.
async fn ask(harness: &TokenHarness, id: &str) {
    let before = requests_of(harness, id).len();
    let present = harness.store.links().access(account(id)).await.unwrap().unwrap().generation;
    let _ = harness.lend_newer(id, present).await;
    soon("OAuth is asked", || requests_of(harness, id).len() > before).await;
}

/// Lets time pass until the account is tried again, while OAuth honours another one.
async fn next_try(harness: &TokenHarness, id: &str, after: Duration) {
    let before = requests_of(harness, id).len();
    harness.advance(after).await;
    ask(harness, "other").await;
    soon("it is tried again", || requests_of(harness, id).len() > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_link_is_told_once_after_an_hour_and_again_when_it_is_well() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.import("other").await;
    harness.lend("a").await.unwrap();
    harness.lend("other").await.unwrap();
    harness.advance(MINUTE).await;
    // Not through our eyes: the user removed the app, and the event is still on its way.
    harness.ring.revoke("a");
    ask(&harness, "a").await;
    assert_eq!(state(&harness, "a").await.0, None, "once is not enough");
    next_try(&harness, "a", 31 * MINUTE).await;
    assert_eq!(state(&harness, "a").await.0, None, "nor twice within the hour");
    next_try(&harness, "a", 31 * MINUTE).await;
    // The token before it is tried, once: this one was never accepted.
    soon("the predecessor is tried", || requests_of(&harness, "a").len() == 5).await;
    next_try(&harness, "a", 31 * MINUTE).await;
    next_try(&harness, "a", 31 * MINUTE).await;
    until(&harness, "a", (Some(End::Revoked), Notice::Revoked)).await;
    let denied = harness.lend_newer("a", u64::MAX).await.unwrap_err();
    assert_eq!((denied.reason.as_str(), denied.retry_after), ("revoked", None));

    harness.import("a").await;
    harness.lend("a").await.unwrap();
    until(&harness, "a", (None, Notice::Fresh)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_before_is_tried_once_where_the_present_one_was_never_good() {
    let harness = TokenHarness::new(LONG_GRACE).await;
    harness.import("a").await;
    harness.import("other").await;
    harness.lend("a").await.unwrap();
    harness.lend("other").await.unwrap();
    harness.advance(MINUTE).await;
    let fault = "oauth-invalid-grant".parse().unwrap();
    harness.ring.inject(Plan { fault, times: Some(3), account: Some("a".into()) });
    ask(&harness, "a").await;
    next_try(&harness, "a", 31 * MINUTE).await;
    next_try(&harness, "a", 31 * MINUTE).await;
    soon("the one before is honoured", || harness.ring.counts("a").granted == 2).await;
    assert_eq!(requests_of(&harness, "a"), [Some(1), Some(2), Some(2), Some(2), Some(1)]);
    harness.survives("a").await;
    assert_eq!(state(&harness, "a").await.0, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_weeks_is_warned_about_and_its_end_is_told() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    harness.ring.inject(Plan { fault: "oauth-503".parse().unwrap(), times: None, account: None });
    let mut passed = Duration::ZERO;
    for (days, notice) in
        [(2, Notice::Late), (21, Notice::Lapsing(1)), (26, Notice::Lapsing(2)), (29, Notice::Lapsing(3))]
    {
        let then = days * 24 * 60 * MINUTE;
        harness.advance(then.saturating_sub(passed)).await;
        passed = then;
        until(&harness, "a", (None, notice)).await;
    }
    harness.ring.clear_faults();
    harness.advance(31 * MINUTE).await;
    until(&harness, "a", (None, Notice::Fresh)).await;
    for counted in ["late\"} 1", "lapsing\"} 3", "fresh\"} 1", "lapsed\"} 0"] {
        let line = format!("ringhookd_link_changes_total{{state=\"{counted}");
        // Counted just after it is on disk.
        soon(&line, || harness.metrics.render().contains(&line)).await;
    }
    let alerts = drain(&harness.store, "alerts", 99).await;
    let states: Vec<_> = alerts.iter().map(|alert| alert.event.kind.as_str()).collect();
    let expected = ["linked", "late", "lapsing", "lapsing", "lapsing", "fresh"];
    assert_eq!(states, expected.map(|state| format!("link.{state}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauth_that_refuses_everybody_ends_nobody() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let ids: Vec<String> = (0..8).map(|n| format!("account-{n}")).collect();
    for id in &ids {
        harness.import(id).await;
        harness.lend(id).await.unwrap();
    }
    harness.advance(25 * 60 * MINUTE).await;
    let fault = "oauth-invalid-grant".parse().unwrap();
    harness.ring.inject(Plan { fault, times: None, account: None });
    for round in 1..=6 {
        let before = harness.ring.exchanges().len();
        harness.advance(31 * MINUTE).await;
        soon("they are tried again", || harness.ring.exchanges().len() >= before + ids.len()).await;
        println!("round {round}: {} requests", harness.ring.exchanges().len());
    }
    for id in &ids {
        assert_eq!(state(&harness, id).await.0, None, "{id}");
    }
    harness.ring.clear_faults();
    harness.advance(31 * MINUTE).await;
    for id in &ids {
        harness.survives(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_removal_does_not_end_a_link_that_was_made_anew() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    let removal = |id: &str, time| {
        let mut removal = event_of(id, Some("a"), "app_integration_removed", None);
        removal.event.time = Some(time);
        removal
    };
    harness.store.inbox().accept(removal("1", later(MINUTE))).await.unwrap();
    assert_eq!(harness.lend("a").await.unwrap_err().reason.as_str(), "no_tokens");
    harness.import("a").await;
    harness.lend("a").await.unwrap();
    harness.store.inbox().accept(removal("2", later(Duration::ZERO).minus(MINUTE))).await.unwrap();
    harness.store.inbox().accept(removal("1", later(MINUTE))).await.unwrap();
    harness.survives("a").await;
}
