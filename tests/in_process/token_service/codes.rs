//! Authorization codes: exchanged within their minute whatever goes wrong, once, and what they bring is kept alive.

use std::time::Duration;

use ringhookd::domain::code::Grant;
use ringhookd::domain::refresh::Policy as Schedule;
use ringhookd::domain::secret::Secret;
use ringhookd::sim::{Place, Policy};
use ringhookd::tokens::Settings;

use crate::support::account;
use crate::support::tokens::{TokenHarness, soon};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_nobody_claims_is_kept_alive_like_any_other() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.take_code(&harness.ring.new_code("a")).await.unwrap();
    soon("the code is exchanged", || harness.codes("exchanged") == 1).await;
    harness.all_have_arrived().await;
    for day in 1..40 {
        harness.advance(DAY + Duration::from_hours(1)).await;
        soon("it is refreshed", || harness.ring.counts("a").granted > day).await;
    }
    harness.survives("a").await;
    let view = harness.store.links().account(account("a")).await.unwrap().unwrap();
    assert_eq!((view.user, view.state.name()), (None, "unclaimed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_oauth_has_not_worked_on_is_sent_again() {
    for fault in ["oauth-503", "oauth-429:1", "oauth-invalid-client", "oauth-lost-request"] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        harness.fault(fault, 1);
        harness.take_code(&harness.ring.new_code("a")).await.unwrap();
        soon("the code is exchanged", || harness.codes("exchanged") == 1).await;
        harness.all_have_arrived().await;
        harness.survives("a").await;
        assert!(!harness.tokens().status().overview.client_paused, "{fault}: a stranger may have made it up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_asked_for_once_more_and_then_the_code_is_lost() {
    for fault in ["oauth-lost-answer", "oauth-503-after-work"] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        harness.fault(fault, 1);
        harness.take_code(&harness.ring.new_code("a")).await.unwrap();
        soon("the code is lost", || harness.codes("lost") == 1).await;
        assert_eq!(harness.ring.requests(Place::OAuth), 2, "{fault}");
        assert!(harness.store.links().account(account("a")).await.unwrap().is_none());
        // The user removes the app and adds it again.
        harness.take_code(&harness.ring.new_code("a")).await.unwrap();
        soon("the next one is exchanged", || harness.codes("exchanged") == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_answers_in_a_row_that_nobody_heard_are_the_end_of_a_code() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.fault("oauth-lost-request", 9);
    harness.take_code(&harness.ring.new_code("a")).await.unwrap();
    soon("the code is lost", || harness.codes("lost") == 1).await;
    assert_eq!(harness.ring.requests(Place::OAuth), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_tokens_that_can_be_kept_is_said_to_be_lost() {
    for fault in ["oauth-truncated", "oauth-no-refresh-token", "oauth-html"] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        harness.fault(fault, 1);
        harness.take_code(&harness.ring.new_code("a")).await.unwrap();
        soon("the code is lost", || harness.codes("lost") == 1).await;
        assert_eq!(harness.ring.requests(Place::OAuth), 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_minute_passed_while_nobody_ran_is_not_sent() {
    let mut harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.hold_back().await;
    let (code, other) = (harness.ring.new_code("a"), harness.ring.new_code("b"));
    harness.take_code(&code).await.unwrap();
    harness.close().await;
    harness.advance(Duration::from_secs(61)).await;
    harness.open().await;
    soon("the code has expired", || harness.codes("expired") == 1).await;
    assert_eq!(harness.ring.requests(Place::OAuth), 0);
    harness.take_code(&code).await.unwrap();
    harness.take_code(&other).await.unwrap();
    soon("the other has its answer", || harness.codes("refused") == 1).await;
    assert_eq!(harness.ring.requests(Place::OAuth), 1, "the expired one was not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_the_tokens_are_is_asked_until_ring_tells() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.fault("users-me-500", 2);
    harness.take_code(&harness.ring.new_code("a")).await.unwrap();
    soon("the code is exchanged", || harness.codes("exchanged") == 1).await;
    harness.all_have_arrived().await;
    harness.survives("a").await;
    assert_eq!(harness.ring.counts("a").granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_waits_for_any_more_is_exchanged_all_the_same() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    let code = harness.ring.new_code("a");
    {
        let taking = harness.take_code(&code);
        // Asked once and dropped: it is on its way to the disk.
        let _ = tokio::time::timeout(Duration::ZERO, taking).await;
    }
    soon("the code is exchanged", || harness.codes("exchanged") == 1).await;
    assert_eq!(harness.ring.requests(Place::OAuth), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_comes_while_the_service_opens_is_sent_once() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.hold_back().await;
    harness.fault("oauth-slow-before:500ms", 9);
    harness.take_code(&harness.ring.new_code("a")).await.unwrap();
    harness.let_go().await;
    soon("the code is exchanged", || harness.codes("exchanged") == 1).await;
    harness.all_have_arrived().await;
    assert_eq!((harness.ring.requests(Place::OAuth), harness.codes("refused")), (1, 0));
    soon("nothing more is expected", || !harness.tokens().expects_accounts()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_who_sign_in_at_once_have_their_codes_taken_at_the_first_try() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    for n in 0..30 {
        harness.take_code(&harness.ring.new_code(&format!("account-{n}"))).await.unwrap();
    }
    soon("all are exchanged", || harness.codes("exchanged") == 30).await;
    // Asked once and left: what is refused is so at once.
    let is_refused = async |n: u32| {
        let code = format!("made-up-{n}");
        matches!(tokio::time::timeout(Duration::ZERO, harness.take_code(&code)).await, Ok(Err(_)))
    };
    let mut taken = 0;
    while !is_refused(taken).await {
        taken += 1;
        assert!(taken < 1000, "there is a bound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_expected_while_a_code_that_was_sent_back_may_come() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    assert!(!harness.tokens().expects_accounts());
    harness.tokens().sent_code_back();
    assert!(harness.tokens().expects_accounts());
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_oauth_throttles_wait_and_hold_up_nobody_for_longer_than_it_says() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    harness.fault("oauth-429:2", 1);
    for n in 0..5 {
        harness.take_code(&format!("made-up-{n}")).await.unwrap();
    }
    soon("one was throttled", || harness.ring.fired("oauth-429") == 1).await;
    harness.import("a").await;
    harness.survives("a").await;
    soon("all codes have their answer", || harness.codes("refused") == 5).await;
    assert_eq!(harness.ring.requests(Place::OAuth), 7, "one pause for all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_codes_the_living_tokens_are_kept_whichever_was_exchanged_last() {
    for fault in ["oauth-503", "oauth-slow-after:1s"] {
        let harness = TokenHarness::new(Policy::DeadAtOnce).await;
        harness.fault(fault, 1);
        let (first, second) = (harness.ring.new_code("a"), harness.ring.new_code("a"));
        harness.take_code(&first).await.unwrap();
        soon("OAuth has seen the first", || harness.ring.requests(Place::OAuth) == 1).await;
        harness.take_code(&second).await.unwrap();
        soon("both are exchanged", || harness.codes("exchanged") == 2).await;
        harness.survives("a").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_codes_the_dead_tokens_are_never_sent_where_that_would_end_the_living_ones() {
    // The first code is exchanged again after the second, so its tokens are the living ones; or its answer comes after the second's,
    // and its tokens are dead.
    for fault in ["oauth-503", "oauth-slow-after:1s"] {
        let mut harness = TokenHarness::strict().await;
        harness.fault(fault, 1);
        let (first, second) = (harness.ring.new_code("a"), harness.ring.new_code("a"));
        harness.take_code(&first).await.unwrap();
        soon("OAuth has seen the first", || harness.ring.requests(Place::OAuth) == 1).await;
        harness.take_code(&second).await.unwrap();
        soon("both are exchanged", || harness.codes("exchanged") == 2).await;
        harness.survives("a").await;
        harness.refresh_again("a").await;
        harness.close().await;
        harness.open().await;
        for _ in 0..3 {
            let before = harness.ring.counts("a").granted;
            harness.advance(DAY + Duration::from_hours(1)).await;
            soon("it is refreshed", || harness.ring.counts("a").granted > before).await;
            harness.survives("a").await;
        }
        let view = harness.store.links().account(account("a")).await.unwrap().unwrap();
        assert_eq!(view.state.name(), "unclaimed", "{fault}");
    }
}

/// The first answer of a run tells the time, and so may set a clock right that is a minute ahead, while a code is under way.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_codes_that_was_sent_last_which_was_sent_last_also_where_the_clock_is_set_back_between_them() {
    let harness = TokenHarness::strict().await;
    harness.fault("oauth-slow-after:1s", 1);
    let (first, second) = (harness.ring.new_code("a"), harness.ring.new_code("a"));
    harness.take_code(&first).await.unwrap();
    soon("OAuth has seen the first", || harness.ring.requests(Place::OAuth) == 1).await;
    harness.set_back(Duration::from_mins(1));
    harness.take_code(&second).await.unwrap();
    soon("both are exchanged", || harness.codes("exchanged") == 2).await;
    harness.survives("a").await;
    harness.refresh_again("a").await;
    harness.survives("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_rate_holds_for_the_codes_that_come_next() {
    let harness = TokenHarness::new(Policy::DeadAtOnce).await;
    // The rate of before would take 50 at once.
    let (late_after, answer_timeout) = (Duration::from_secs(2), Duration::from_mins(2));
    let policy = Schedule::default();
    let settings =
        Settings { policy, late_after, answer_timeout, codes_per_second: 90, has_other_client: false };
    harness.tokens().set(settings).await;
    let mut coming = tokio::task::JoinSet::new();
    for n in 0..200 {
        let tokens = std::sync::Arc::clone(harness.tokens());
        let grant = Grant { code: Secret::new(format!("made-up-{n}")), verifier: None };
        coming.spawn(async move { tokens.take_code(grant).await.is_ok() });
    }
    assert!(coming.join_all().await.into_iter().all(|is_taken| is_taken));
}
