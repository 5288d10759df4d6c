//! An OAuth that answers rightly and late, kills a replaced token at once and the whole link of one that comes again: whoever asks
//! is told soon, and no link and no code is lost.

use std::time::Duration;

use ringhookd::domain::access_token::Reason;
use ringhookd::sim::{Place, Plan};

use crate::support::account;
use crate::support::tokens::{TokenHarness, soon};

/// Every answer of OAuth is late, by several times the room's limit.
fn make_late(harness: &TokenHarness) {
    for fault in ["oauth-slow-before:150ms", "oauth-slow-after:250ms"] {
        harness.ring.inject(Plan { fault: fault.parse().unwrap(), times: None, account: None });
    }
}

/// OAuth works on what comes, and does not answer while anybody waits.
fn silence(harness: &TokenHarness) {
    harness.ring.inject(Plan { fault: "oauth-slow-after:1h".parse().unwrap(), times: None, account: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_sixty_links_is_lost_and_each_is_refreshed_once() {
    let harness = TokenHarness::strict().await;
    make_late(&harness);
    let ids: Vec<String> = (0..60).map(|n| format!("account-{n}")).collect();
    for id in &ids {
        harness.import(id).await;
    }
    soon("answers are late", || harness.tokens().status().overview.late > 0).await;
    soon("all are refreshed", || ids.iter().all(|id| harness.ring.counts(id).granted == 1)).await;
    soon("all answers are heard", || harness.tokens().status().overview.in_flight == 0).await;
    for id in &ids {
        harness.survives(id).await;
    }
    assert_eq!(harness.ring.requests(Place::OAuth), 60, "no token is sent twice");
    assert_eq!(harness.ring.most_in_flight(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_code_is_lost_and_each_is_sent_once() {
    let harness = TokenHarness::strict().await;
    make_late(&harness);
    for n in 0..8 {
        harness.take_code(&harness.ring.new_code(&format!("account-{n}"))).await.unwrap();
    }
    soon("all are exchanged", || harness.codes("exchanged") == 8).await;
    harness.all_have_arrived().await;
    assert_eq!(harness.ring.requests(Place::OAuth), 8);
    harness.ring.clear_faults();
    for n in 0..8 {
        harness.survives(&format!("account-{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_due_are_not_sent_to_an_oauth_that_is_silent() {
    let harness = TokenHarness::strict().await;
    harness.hold_back().await;
    silence(&harness);
    for n in 0..60 {
        harness.import(&format!("account-{n}")).await;
    }
    harness.let_go().await;
    soon("OAuth is taken to be down", || harness.tokens().status().overview.oauth_down).await;
    let sent = u64::try_from(harness.tokens().status().overview.in_flight).unwrap();
    soon("what was on its way is there", || harness.ring.requests(Place::OAuth) == sent).await;
    assert!(sent <= 32, "{sent} are put at risk, of which none was needed more than five");
    let denied = harness.lend("account-59").await.unwrap_err();
    assert!(matches!(denied.reason, Reason::OauthDown | Reason::UnderWay), "{denied:?}");
    // Longer than the pause before a probe.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(harness.ring.requests(Place::OAuth), sent, "no probe, since an answer may still come");
    harness.stop_within(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_an_answer_that_is_late() {
    let mut harness = TokenHarness::strict().await;
    harness.fault("oauth-slow-after:700ms", 1);
    harness.import("a").await;
    soon("OAuth has replaced the token", || harness.ring.counts("a").granted == 1).await;
    harness.close().await;
    harness.open().await;
    harness.survives("a").await;
    assert_eq!(harness.ring.requests(Place::OAuth), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_whose_time_is_over_leaves_the_journal_open_and_the_next_start_sends_the_token_again() {
    let mut harness = TokenHarness::strict().await;
    harness.fault("oauth-slow-before:1h", 1);
    let number = harness.import_number("a").await;
    soon("it is sent", || harness.ring.requests(Place::OAuth) == 1).await;
    harness.stop_within(Duration::ZERO).await;
    let unsettled = harness.store.links().token_record(number).await.unwrap().unwrap().record.unsettled;
    assert!(unsettled, "whether it was replaced is unknown");
    harness.store.close();
    harness.open().await;
    harness.survives("a").await;
    assert!(harness.store.links().access(account("a")).await.unwrap().unwrap().token.is_some());
}
