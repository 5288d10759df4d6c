//! Answers of OAuth that are no whole JSON, before an OAuth that takes a token which comes again for stolen: the tokens are read out of
//! them where there is one reading, and where there is none the old token is left alone.

use std::time::Duration;

use crate::support::tokens::{TokenHarness, soon};
use ringhookd::domain::refresh::Health;
use ringhookd::sim::Place;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_out_of_an_answer_that_can_be_read_in_one_way_only() {
    for (fault, outcome) in
        [("oauth-stray-comma", "damaged"), ("oauth-unfinished", "damaged"), ("oauth-bom", "renewed")]
    {
        let harness = TokenHarness::strict().await;
        harness.fault(fault, 1);
        harness.import("a").await;
        harness.survives("a").await;
        assert_eq!((harness.ring.requests(Place::OAuth), harness.refreshes(outcome)), (1, 1), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_exchanged_by_such_an_answer() {
    let harness = TokenHarness::strict().await;
    harness.fault("oauth-stray-comma", 1);
    harness.take_code(&harness.ring.new_code("a")).await.unwrap();
    soon("it is exchanged", || harness.codes("exchanged") == 1).await;
    harness.all_have_arrived().await;
    harness.survives("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_two_readings_the_old_token_is_not_sent_again_for_days_not_even_after_a_start() {
    let mut harness = TokenHarness::strict().await;
    harness.fault("oauth-duplicate-keys", 1);
    let number = harness.import_number("a").await;
    soon("it can't be read", || harness.refreshes("unreadable") == 1).await;
    soon("it failed", || harness.tokens().status().overview.failing == 1).await;
    let in_days = |harness: &TokenHarness| {
        let next = harness.tokens().next_try(number);
        next.is_some_and(|at| at.since(harness.wall()) > Duration::from_hours(6 * 24))
    };
    assert!(in_days(&harness), "{:?}", harness.tokens().next_try(number));
    assert!(harness.tokens().waits_on_kept_answer(number), "people are told why");
    assert!(harness.lend("a").await.is_err(), "asking does not bring it forward");
    harness.close().await;
    harness.open().await;
    soon("the start has looked", || harness.refreshes("withheld") >= 1 && in_days(&harness)).await;
    assert!(harness.tokens().waits_on_kept_answer(number), "also after a start");
    assert_eq!(harness.ring.requests(Place::OAuth), 1);
    assert!(harness.ring.live("a").is_some(), "what OAuth gave lives");
    assert_ne!(harness.tokens().status().overview.by_health[Health::Fresh as usize], 1);
}
