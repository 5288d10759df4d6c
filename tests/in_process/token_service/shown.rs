//! What is shown of tokens, and how long an access token is lent: never better, and never longer, than OAuth said.

use std::time::Duration;

use ringhookd::domain::refresh::{Health, Proof};
use ringhookd::sim::Policy;

use crate::support::account;
use crate::support::tokens::{TokenHarness, soon};

const HOUR: Duration = Duration::from_hours(1);

fn is(harness: &TokenHarness, health: Health) -> bool {
    harness.tokens().status().overview.by_health[health as usize] == 1
}

async fn proof(harness: &TokenHarness) -> Proof {
    harness.store.links().account(account("a")).await.unwrap().unwrap().tokens.unwrap().proof
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_oauth_refuses_is_refused_at_once_and_after_a_start() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.hold_back().await;
    harness.import_pair("a", None, "RT1").await;
    assert_eq!(proof(&harness).await, Proof::Untried);
    harness.let_go().await;
    soon("it is refused", || is(&harness, Health::Refused)).await;
    assert_eq!(proof(&harness).await, Proof::Refused);
    assert_eq!(harness.tokens().status().overview.failing, 1);
    let number = harness.store.links().account(account("a")).await.unwrap().unwrap().number;
    assert!(harness.tokens().next_try(number).unwrap() > harness.wall());
    harness.close().await;
    harness.open().await;
    soon("it still is", || is(&harness, Health::Refused)).await;
    // The right one, put in over it.
    harness.import("a").await;
    harness.survives("a").await;
    soon("it is well", || is(&harness, Health::Fresh)).await;
    assert_eq!(proof(&harness).await, Proof::Honoured);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_20_hours_lends_no_access_token_beyond_its_life() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.import("a").await;
    let first = harness.lend("a").await.unwrap();
    harness.advance(HOUR).await;
    harness.set_back(20 * HOUR);
    let lent = harness.lend("a").await.unwrap();
    assert_eq!(lent.generation, first.generation);
    assert!(lent.expires_at.since(harness.wall()) <= 3 * HOUR, "{:?}", lent.expires_at.since(harness.wall()));
    harness.advance(3 * HOUR).await;
    harness.survives("a").await;
    assert!(harness.lend("a").await.unwrap().generation > first.generation, "the first is dead");
    // After a start nobody knows how old a token is that was given in what is the future now.
    let second = harness.lend("a").await.unwrap();
    harness.close().await;
    harness.set_back(20 * HOUR);
    harness.open().await;
    harness.survives("a").await;
    assert!(harness.lend("a").await.unwrap().generation > second.generation);
}
