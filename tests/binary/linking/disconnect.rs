//! An account is disconnected: Ring pauses the app first, then the account is forgotten, and where Ring does not, nothing is.

use ringhookd::sim::{LinkState, Options, Place};
use serde_json::{Value, json};

use crate::support::linking::{Heard, LinkHarness};

const A: &str = "ava1.ring.account.A";

async fn linked(harness: &LinkHarness, account: &str, user: &str) {
    harness.add_app(account).await;
    assert_eq!(harness.outcome(&harness.visit(account), user).await, "linked");
}

async fn disconnect(harness: &LinkHarness, account: &str, body: &Value) -> Heard {
    harness.admin("POST", &format!("/v1/accounts/{account}/disconnect"), body).await
}

#[tokio::test]
async fn ring_pauses_the_app_then_the_account_is_forgotten_and_its_queues_are_told() {
    let doors = "[[socket]]\npath = \"FOLDER/bob.sock\"\ncalls = [\"*\"]\nusers = [\"bob\"]\n\
                 [[socket]]\npath = \"FOLDER/reader.sock\"\ncalls = [\"accounts.read\"]\n";
    let harness = LinkHarness::with(doors, Options::default()).await;
    linked(&harness, A, "ann").await;
    linked(&harness, "B", "bob").await;
    harness.event("motion_detected", A).await;
    let patches = harness.ring.requests(Place::LinkPatch);
    let path = format!("/v1/accounts/{A}/disconnect");
    assert_eq!(harness.call("bob.sock", "POST", &path, "").await.0, 404, "another user's");
    assert_eq!(harness.call("reader.sock", "POST", &path, "").await.0, 403);
    assert_eq!(disconnect(&harness, "unknown", &Value::Null).await.0, 404);
    assert_eq!(harness.ring.requests(Place::LinkPatch), patches, "Ring was not asked");

    let (status, receipt) = disconnect(&harness, A, &Value::Null).await;
    assert_eq!(
        (status, &receipt["ring"], &receipt["why"]),
        (200, &json!("paused"), &Value::Null),
        "{receipt}"
    );
    assert_eq!((&receipt["account_id"], &receipt["waiting"]), (&json!(A), &json!(3)), "{receipt}");
    assert_eq!(receipt["queues_told"], json!(["ann", "news"]), "not bob's: {receipt}");
    assert_eq!(harness.ring.link_state(A), Some(LinkState::Awaiting), "paused");
    assert_eq!(harness.ring.link_state("B"), Some(LinkState::Completed), "another's goes on");
    assert_eq!((harness.state(A).await.as_str(), harness.state("B").await.as_str()), ("unknown", "linked"));
    assert_eq!(harness.kinds("ann").await, ["account.forgotten"]);
    assert!(harness.kinds("bob").await.is_empty());
    let acts = harness.admin("GET", "/v1/audit?limit=2", &Value::Null).await.1;
    assert_eq!(
        (&acts["acts"][0]["act"], &acts["acts"][1]["act"]),
        (&json!("forget_account"), &json!("disconnect_account"))
    );
    assert!(acts["acts"][0]["detail"].as_str().unwrap().contains("Ring has paused the app"), "{acts}");
    assert_eq!(disconnect(&harness, A, &Value::Null).await.0, 404, "it is done");
    // The user adds the app again: it is a new link.
    linked(&harness, A, "bob").await;
}

/// What Ring does instead, what is said of it, and whether the app may be paused by now.
const FAULTS: [(&str, u16, &str, bool); 8] = [
    ("lost-request", 503, "no_answer", true),
    ("lost-answer", 503, "no_answer", true),
    ("503", 503, "no_answer", true),
    ("503-after-work", 503, "no_answer", true),
    ("400", 409, "invalid_transition", false),
    ("404", 409, "no_integration", false),
    ("403", 409, "token_not_honoured", false),
    ("409", 409, "rejected", false),
];

#[tokio::test]
async fn where_ring_does_not_pause_it_nothing_is_lost_and_the_same_call_ends_it_later() {
    let harness = LinkHarness::new().await;
    for (fault, status, reason, may_be_paused) in FAULTS {
        linked(&harness, fault, "ann").await;
        harness.event("motion_detected", fault).await;
        harness.inject(&format!("link-patch-{fault}"), None);
        let (said, told) = disconnect(&harness, fault, &Value::Null).await;
        assert_eq!((said, &told["reason"]), (status, &json!(reason)), "{fault}: {told}");
        assert_eq!(told["may_be_paused"], may_be_paused, "{fault}: {told}");
        let words = told["error"].as_str().unwrap();
        assert!(words.contains("Nothing was destroyed") && words.contains("--anyway"), "{words}");
        let shown = harness.show(fault).await;
        assert_eq!((&shown["state"], &shown["has_tokens"]), (&json!("linked"), &json!(true)), "{shown}");
        assert_eq!(shown["disconnecting_since"].is_string(), may_be_paused, "{fault}: {shown}");
        assert_eq!(harness.kinds("ann").await, ["motion_detected"], "{fault}: its events go on");
        harness.ring.clear_faults();
        let (said, told) = disconnect(&harness, fault, &Value::Null).await;
        assert_eq!((said, &told["ring"]), (200, &json!("paused")), "{fault}: {told}");
        assert_eq!(harness.ring.link_state(fault), Some(LinkState::Awaiting), "{fault}");
        assert_eq!(harness.kinds("ann").await, ["account.forgotten"], "{fault}");
    }
}

#[tokio::test]
async fn an_operator_who_says_so_beforehand_has_it_forgotten_anyway() {
    let harness = LinkHarness::new().await;
    linked(&harness, A, "ann").await;
    harness.inject("link-patch-503", None);
    let (status, receipt) = disconnect(&harness, A, &json!({"anyway": true})).await;
    assert_eq!((status, &receipt["ring"]), (200, &json!("not_paused")), "{receipt}");
    assert!(receipt["why"].as_str().unwrap().contains("no answer"), "{receipt}");
    assert_eq!(harness.state(A).await, "unknown");
    harness.ring.clear_faults();

    // OAuth and the API honour nothing of it any more.
    linked(&harness, "B", "ann").await;
    harness.ring.revoke("B");
    let (status, told) = disconnect(&harness, "B", &Value::Null).await;
    assert_eq!((status, &told["reason"]), (409, &json!("token_not_honoured")), "{told}");
    assert_eq!(disconnect(&harness, "B", &json!({"anyway": true})).await.1["ring"], "not_paused");
}

#[tokio::test]
async fn ring_is_not_asked_of_an_app_that_the_user_has_removed() {
    let harness = LinkHarness::new().await;
    linked(&harness, A, "ann").await;
    harness.event("app_integration_removed", A).await;
    harness.is(A, "removed").await;
    let patches = harness.ring.requests(Place::LinkPatch);
    let (status, receipt) = disconnect(&harness, A, &Value::Null).await;
    assert_eq!(
        (status, &receipt["ring"], &receipt["tokens"]),
        (200, &json!("removed"), &json!(false)),
        "{receipt}"
    );
    assert_eq!(harness.ring.requests(Place::LinkPatch), patches);
}
