//! Paths on which an account could come into wrong hands: a socket that names it, and a machine whose clock is wrong.

use std::time::Duration;

use ringhookd::sim::Options;
use serde_json::{Value, json};

use crate::support::linking::LinkHarness;

const A: &str = "ava1.ring.account.A";

#[tokio::test]
async fn a_restricted_socket_binds_an_account_only_with_tokens_that_ring_says_are_the_accounts() {
    let doors = "[[socket]]\npath = \"FOLDER/bob.sock\"\ncalls = [\"*\"]\nusers = [\"bob\"]\n\
                 [[socket]]\npath = \"FOLDER/only.sock\"\ncalls = [\"*\"]\naccounts = [\"known\"]\n";
    let harness = LinkHarness::with(doors, Options::default()).await;
    let import = async |socket: &str, entry: Value| {
        let (status, done) =
            harness.call(socket, "POST", "/v1/accounts?replace=true", &entry.to_string()).await;
        assert_eq!(status, 200, "{done}");
        done["imported"].as_u64().unwrap()
    };
    let made_up = |id: &str| json!({"account_id": id, "user": "bob", "refresh_token": "made-up"});
    assert_eq!(import("bob.sock", json!({"account_id": A, "user": "bob"})).await, 0);
    assert_eq!(import("bob.sock", made_up(A)).await, 0);
    assert_eq!(harness.state(A).await, "unknown");
    harness.event("device_added", "known").await;
    assert_eq!(import("only.sock", json!({"account_id": "known", "user": "bob"})).await, 0);
    let (status, _) = harness
        .call("only.sock", "POST", "/v1/accounts/known/user", &json!({"user": "bob"}).to_string())
        .await;
    assert_eq!((status, harness.state("known").await.as_str()), (403, "unclaimed"));

    // Ring brings the real user's code.
    harness.add_app(A).await;
    let held = harness.event("device_added", A).await;
    assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
    assert_eq!((harness.events("ann").await, harness.events("bob").await), (vec![held], vec![]));
    // Not even with tokens, if they are another account's.
    let other = harness.ring.add_account("B");
    let entry = json!({"account_id": A, "user": "bob", "refresh_token": other.refresh});
    assert_eq!(import("bob.sock", entry).await, 0);
    assert_eq!(
        (&harness.show(A).await["user"], &harness.show("B").await["user"]),
        (&json!("ann"), &Value::Null)
    );
    let token = harness.call("bob.sock", "POST", &format!("/v1/accounts/{A}/token"), "{}").await;
    assert_eq!(token.0, 404);

    let own = harness.ring.add_account("C");
    let entry = json!({"account_id": "C", "user": "bob", "refresh_token": own.refresh});
    assert_eq!(import("bob.sock", entry).await, 1);
    assert_eq!(harness.show("C").await["user"], "bob");
}

#[tokio::test]
async fn a_machine_whose_clock_is_a_minute_wrong_gives_each_user_what_is_theirs() {
    let minute = Duration::from_mins(1);
    for is_behind in [true, false] {
        let harness = LinkHarness::new().await;
        if is_behind {
            harness.ring.advance(minute);
        } else {
            harness.ring.clock().set_back(minute);
        }
        let ring_now = || harness.ring.clock().now();
        // Further apart than Ring's `Date` is exact.
        let pass = async || tokio::time::sleep(Duration::from_secs(3)).await;
        harness.add_app(A).await;
        assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
        pass().await;
        let removed = ring_now();
        pass().await;
        harness.add_app(A).await;
        harness.soon("the new tokens are there", async || harness.ring.counts(A).granted >= 2).await;
        pass().await;
        // Tokens are dated by the clock as their own answer has set it right, so none look as if they were of the future, and
        // nothing is refreshed for that.
        assert_eq!(harness.ring.counts(A).granted, 2, "{is_behind}");
        let (_, given) = harness.admin("POST", &format!("/v1/accounts/{A}/token"), &json!({})).await;
        let left = given["expires_in"].as_u64().unwrap();
        assert!((14_000..=14_400).contains(&left), "{is_behind}: {given}");
        // Late: it ends Ann's link, and not the new one's tokens.
        harness.event_at("app_integration_removed", A, removed).await;
        let shown = harness.show(A).await;
        assert!(shown["state"] == "unclaimed" && shown["has_tokens"] == true, "{is_behind}: {shown}");
        let farewell = harness.event_at("device_removed", A, removed.plus(Duration::from_millis(1))).await;
        let bobs = harness.event_at("device_added", A, ring_now()).await;
        assert_eq!(harness.outcome(&harness.visit(A), "bob").await, "linked", "{is_behind}");
        assert!(harness.events("ann").await.contains(&farewell), "{is_behind}");
        assert_eq!(harness.events("bob").await, [bobs], "{is_behind}");
        let (_, status) = harness.admin("GET", "/v1/status", &Value::Null).await;
        let ahead = status["ring_clock"]["ahead_ms"].as_i64().unwrap();
        let expected = if is_behind { 60_000 } else { -60_000 };
        assert!((ahead - expected).abs() <= 1500, "{status}");

        // Not late: it ends the present link, and what comes then is not Bob's.
        pass().await;
        harness.ring.revoke(A);
        harness.event_at("app_integration_removed", A, ring_now()).await;
        let shown = harness.show(A).await;
        assert!(shown["state"] == "removed" && shown["has_tokens"] == false, "{is_behind}: {shown}");
        pass().await;
        harness.add_app(A).await;
        let shown = harness.show(A).await;
        assert!(shown["state"] == "unclaimed" && shown["user"].is_null(), "{is_behind}: {shown}");
        assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked", "{is_behind}");
        assert_eq!(harness.show(A).await["user"], "ann");
    }
}

/// A daemon that has not heard Ring yet does not know how old a visit is, so its own clock refuses none.
#[tokio::test]
async fn a_first_visit_is_not_too_old_by_a_clock_that_is_wrong_and_an_old_one_is_once_ring_has_spoken() {
    for (ahead, behind) in [(700, 0), (60, 0), (0, 700)] {
        let mut harness = LinkHarness::new().await;
        harness.ring.advance(Duration::from_secs(ahead));
        harness.ring.clock().set_back(Duration::from_secs(behind));
        // The browser comes before the code.
        let code = harness.ring.new_code(A);
        let visit = harness.visit(A);
        let (claimed, brought) = tokio::join!(harness.outcome(&visit, "ann"), harness.bring(&code));
        assert_eq!((claimed.as_str(), brought.0), ("linked", 200), "{ahead} {behind}");

        // The account is there, and the daemon has heard nothing since it started.
        harness.add_app("B").await;
        let old = harness.visit("B");
        harness.ring.advance(Duration::from_secs(601));
        harness.stop().await;
        harness.start().await;
        assert_eq!(harness.outcome(&old, "bob").await, "expired", "{ahead} {behind}");
        harness.stop().await;
        harness.start().await;
        assert_eq!(harness.outcome(&harness.visit("B"), "bob").await, "linked", "{ahead} {behind}");
    }
}

/// Ring's first try of Bob's `device_added` was lost; its retry comes after his code, and after his claim too.
#[tokio::test]
async fn a_retried_sign_of_the_next_link_is_never_the_former_users() {
    for is_claimed in [false, true] {
        let harness = LinkHarness::new().await;
        harness.add_app(A).await;
        assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
        harness.ring.revoke(A);
        harness.event_at("app_integration_removed", A, harness.ring.clock().now()).await;
        harness.events("ann").await;
        // Further apart than Ring's `Date` is exact.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let added_at = harness.ring.clock().now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        harness.add_app(A).await;
        let visit = harness.visit(A);
        let late = async || harness.event_at("device_added", A, added_at).await;
        let late = if is_claimed {
            assert_eq!(harness.outcome(&visit, "bob").await, "linked");
            late().await
        } else {
            let late = late().await;
            assert_eq!(harness.outcome(&visit, "bob").await, "linked");
            late
        };
        assert!(harness.events("bob").await.contains(&late), "{is_claimed}");
        assert!(!harness.events("ann").await.contains(&late), "{is_claimed}");
    }
}
