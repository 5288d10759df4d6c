//! Ring's side of a claim goes wrong in every way: the link is completed all the same, or said to be refused.

use std::time::Duration;

use ringhookd::clock;
use ringhookd::sim::{LinkState, Options, Place, Visit};
use serde_json::json;

use crate::support::linking::LinkHarness;

const A: &str = "ava1.ring.account.A";

/// What is lost, or answered instead, once; the user is mailed once all the same.
#[tokio::test]
async fn what_goes_wrong_once_is_made_good_without_a_second_mail() {
    for kind in ["lost-request", "lost-answer", "500", "503-after-work", "429:1", "404", "truncated", "html"]
    {
        for place in ["link-post", "link-patch"] {
            // A page of a proxy with 200 says nothing, but that it was 200.
            if kind == "html" {
                continue;
            }
            let harness = LinkHarness::new().await;
            harness.add_app(A).await;
            harness.inject(&format!("{place}-{kind}"), Some(1));
            assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked", "{place}-{kind}");
            assert_eq!(harness.ring.link_state(A), Some(LinkState::Completed), "{place}-{kind}");
            assert_eq!(harness.ring.mails(A), 1, "{place}-{kind}");
        }
    }
}

#[tokio::test]
async fn a_post_without_an_answer_is_followed_by_a_patch() {
    for (fault, posts) in [("link-post-lost-answer", 1), ("link-post-lost-request", 2)] {
        let harness = LinkHarness::new().await;
        harness.add_app(A).await;
        harness.inject(fault, Some(1));
        assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked");
        assert_eq!(harness.ring.requests(Place::LinkPost), posts, "{fault}");
    }
}

#[tokio::test]
async fn a_token_that_ring_refuses_is_refreshed_once_and_the_call_repeated() {
    let harnesses = ["link-post-401", "link-post-403", "link-patch-401"].map(async |fault| {
        let harness = LinkHarness::new().await;
        harness.add_app(A).await;
        // One that was just made would be refused again, and is sent again without.
        tokio::time::sleep(Duration::from_secs(31)).await;
        harness.inject(fault, Some(1));
        assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked", "{fault}");
        assert_eq!((harness.ring.mails(A), harness.ring.counts(A).granted), (1, 2), "{fault}");
    });
    let [one, two, three] = harnesses;
    tokio::join!(one, two, three);
}

#[tokio::test]
async fn a_new_token_that_ring_does_not_take_yet_is_sent_again() {
    for fault in ["link-post-401", "link-post-403", "link-patch-403"] {
        let harness = LinkHarness::new().await;
        harness.add_app(A).await;
        harness.inject(fault, Some(2));
        assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "linked", "{fault}");
        assert_eq!((harness.ring.mails(A), harness.ring.counts(A).granted), (1, 1), "{fault}");
    }
}

#[tokio::test]
async fn what_takes_long_is_pending_and_goes_on_by_itself() {
    let mut harness = LinkHarness::new().await;
    harness.add_app(A).await;
    harness.inject("link-post-503", None);
    let visit = harness.visit(A);
    let began = clock::ticks();
    let (status, told) = harness.claim(&visit, "ann").await;
    println!("pending after {:?}", began.elapsed());
    assert_eq!((status, &told["outcome"], &told["account_id"]), (202, &"pending".into(), &A.into()));
    assert!(
        told["reason"] == "api_down" && told["message"].as_str().unwrap().contains("by itself"),
        "{told}"
    );
    let shown = harness.show(A).await;
    assert!(shown["state"] == "claiming" && shown["claim"].is_string(), "{shown}");
    // A restart in the middle, and another visit of the same user.
    harness.stop().await;
    harness.start().await;
    harness.ring.clear_faults();
    harness.soon("it is linked", async || harness.state(A).await == "linked").await;
    assert_eq!(harness.outcome(&visit, "ann").await, "linked");
    assert_eq!(harness.ring.mails(A), 1);
}

#[tokio::test]
async fn a_refusal_is_final_says_why_and_leaves_the_account_to_be_claimed() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    let held = harness.event("device_added", A).await;
    harness.inject("link-post-400", Some(1));
    let visit = harness.visit(A);
    let (status, told) = harness.claim(&visit, "ann").await;
    assert_eq!(
        (status, &told["outcome"], &told["reason"]),
        (422, &"refused".into(), &"invalid_nonce".into())
    );
    let shown = harness.show(A).await;
    assert!(shown["state"] == "refused" && shown["claim"] == "invalid_nonce", "{shown}");
    assert_eq!(harness.events("ann").await, [held]);
    assert_eq!(harness.outcome(&visit, "ann").await, "refused", "asked again, it is the same");
    assert_eq!(harness.outcome(&visit, "bob").await, "expired", "a nonce works once");
    assert_eq!(harness.outcome(&harness.visit(A), "bob").await, "linked");
    assert_eq!(harness.show(A).await["user"], "bob");
    let news = harness.kinds("news").await;
    assert_eq!(news, ["link.claiming", "link.refused", "link.claiming", "link.linked"]);
    let metrics = harness.daemon().metrics().render();
    assert!(metrics.contains("ringhookd_claims_total{outcome=\"refused\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn what_ring_will_not_complete_ends_after_three_mails() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    harness.inject("link-patch-400", None);
    let visit = harness.visit(A);
    let _ = harness.outcome(&visit, "ann").await;
    harness.is(A, "refused").await;
    assert_eq!(harness.show(A).await["claim"], "invalid_transition");
    assert_eq!(harness.ring.mails(A), 3);
}

/// The PATCH arrived, its answer and the POST's did not: only Ring's own event tells.
#[tokio::test]
async fn rings_event_completes_what_our_calls_could_not_tell() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    harness.inject("link-post-400", Some(1));
    assert_eq!(harness.outcome(&harness.visit(A), "ann").await, "refused");
    harness.event("app_integration_added", A).await;
    harness.is(A, "linked").await;
    assert_eq!(harness.show(A).await["user"], "ann");
}

#[tokio::test]
async fn an_app_that_is_removed_in_the_middle_ends_the_claim() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    harness.inject("link-post-503", None);
    let visit = harness.visit(A);
    let claim = async { harness.outcome(&visit, "ann").await };
    let remove = async {
        harness.is(A, "claiming").await;
        harness.ring.revoke(A);
        harness.event("app_integration_removed", A).await;
    };
    let (outcome, ()) = tokio::join!(claim, remove);
    assert_eq!(outcome, "expired");
    assert_eq!(harness.state(A).await, "removed");
    let posts = harness.ring.requests(Place::LinkPost);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(harness.ring.requests(Place::LinkPost) <= posts + 1, "nothing goes on");
}

#[tokio::test]
async fn an_operator_who_gives_the_account_away_ends_the_claim() {
    let harness = LinkHarness::with("", Options { tells_added: false, ..Options::default() }).await;
    harness.add_app(A).await;
    harness.inject("link-post-503", None);
    let visit = harness.visit(A);
    let claim = async { harness.outcome(&visit, "ann").await };
    let give = async {
        harness.is(A, "claiming").await;
        let path = format!("/v1/accounts/{A}/user");
        let (status, told) = harness.admin("POST", &path, &json!({"user": "bob", "replace": true})).await;
        assert_eq!(status, 200, "{told}");
    };
    let (outcome, ()) = tokio::join!(claim, give);
    assert_eq!(outcome, "expired");
    let shown = harness.show(A).await;
    assert!(shown["user"] == "bob" && shown["state"] == "linked", "{shown}");
    assert_eq!(harness.outcome(&visit, "ann").await, "linked_to_another_user");
}

/// Ring answers the PATCH of what it has no POST of as its documentation allows: not only with a 400.
#[tokio::test]
async fn a_post_that_was_lost_is_sent_again_whatever_the_patch_is_refused_with() {
    for (refusal, times) in [("link-patch-404", 2), ("link-patch-403", 2), ("link-patch-400", 1)] {
        let harness = LinkHarness::new().await;
        harness.add_app(A).await;
        harness.inject("link-post-lost-request", Some(1));
        harness.inject(refusal, Some(times));
        let visit = harness.visit(A);
        let _ = harness.outcome(&visit, "ann").await;
        harness.is(A, "linked").await;
        assert_eq!((harness.ring.mails(A), harness.ring.requests(Place::LinkPost)), (1, 2), "{refusal}");
    }
}

#[tokio::test]
async fn a_ring_that_refuses_every_token_is_asked_ever_less_often() {
    let harness = LinkHarness::new().await;
    harness.add_app(A).await;
    harness.inject("link-post-401", None);
    let (status, _) = harness.claim(&harness.visit(A), "ann").await;
    assert_eq!(status, 202);
    // At once, then after up to 1, 2, 4 and 8 s, and a half at least each time.
    assert!(harness.ring.requests(Place::LinkPost) <= 12, "{}", harness.ring.requests(Place::LinkPost));
    assert_eq!(harness.ring.counts(A).granted, 1);
}

#[tokio::test]
async fn a_miss_is_answered_while_accounts_come_and_go() {
    let harness = LinkHarness::new().await;
    let foreign = Visit { nonce: "A".repeat(43), time: clock::now().0.to_string() };
    let coming = async {
        for n in 0..200 {
            harness.event("device_added", &format!("account-{n}")).await;
        }
    };
    let asking = async {
        for _ in 0..3 {
            assert_eq!(harness.outcome(&foreign, "ann").await, "no_match");
        }
    };
    tokio::join!(coming, asking);
}

/// The first code got a 503 and is exchanged after the second, in either order of the claim: what OAuth gave last is the link.
#[tokio::test]
async fn a_claim_is_completed_where_the_first_of_two_codes_is_exchanged_after_the_second() {
    for claims_first in [false, true] {
        let harness = LinkHarness::new().await;
        harness.inject("oauth-503", Some(1));
        let (first, second) = (harness.ring.new_code(A), harness.ring.new_code(A));
        let visit = harness.visit(A);
        let claiming = harness.claim_as_task(&visit, "ann");
        let bringing = async {
            assert_eq!(harness.bring(&first).await.0, 200);
            harness.soon("OAuth has seen the first", async || harness.ring.requests(Place::OAuth) >= 1).await;
            assert_eq!(harness.bring(&second).await.0, 200);
            harness.soon("both are exchanged", async || harness.ring.counts(A).granted == 2).await;
        };
        let (status, told) = if claims_first {
            tokio::join!(claiming, bringing).0
        } else {
            bringing.await;
            claiming.await
        };
        let case = format!("claims first {claims_first}: {told}");
        assert!(status == 200 || status == 202, "{case}");
        harness.is(A, "linked").await;
        assert_eq!(harness.outcome(&visit, "ann").await, "linked", "{case}");
        assert_eq!(harness.ring.link_state(A), Some(LinkState::Completed), "{case}");
        // What OAuth gave last may be on its way to the account still.
        harness
            .soon("the living token is given out", async || {
                let path = format!("/v1/accounts/{A}/token");
                let (_, given) = harness.admin("POST", &path, &json!({})).await;
                harness.ring.honours_access(given["access_token"].as_str().unwrap_or_default())
            })
            .await;
        assert!(harness.ring.live(A).is_some_and(|live| harness.ring.honours(&live)), "{case}");
    }
}
