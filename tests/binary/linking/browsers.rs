//! Browsers, the example partner app, the real daemon and the simulated Ring: the whole way that a user goes.

use std::thread;

use ringhookd::sim::{CodeShape, LinkState, Options, Visit};

use crate::partner::app::{PASSWORD, Partner};
use crate::partner::browser::{Answer, Browser};
use crate::support::linking::LinkHarness;

const A: &str = "ava1.ring.account.A";
/// What the example's readme tells the operator to give a web app.
const DOOR: &str = "[[socket]]\npath = \"FOLDER/web.sock\"\ncalls = [\"links.claim\"]\n";

/// A browser that Ring sends, up to the page after the sign-in.
fn goes_through(partner: &Partner, visit: &Visit, user: &str) -> Answer {
    let mut browser = Browser::new(partner.address);
    let form = browser.get(&format!("/ring/link?nonce={}&time={}", visit.nonce, visit.time));
    assert!(form.status == 200 && form.asks_for_a_password(), "{}", form.body);
    browser.sign_in(&form, user, PASSWORD)
}

async fn harness() -> (LinkHarness, Partner) {
    let harness = LinkHarness::with(DOOR, Options::default()).await;
    harness.let_ring_call(CodeShape::Json);
    let partner = Partner::start(&harness.socket("web.sock"));
    (harness, partner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_adds_the_app_signs_in_and_is_sent_back_to_the_ring_app() {
    let (harness, partner) = harness().await;
    harness.ring.install(A).unwrap();
    harness.arrived(A).await;
    let visit = harness.visit(A);
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-1"));
    assert_eq!((page.status, page.title()), (200, "Your Ring account is linked"));
    assert!(page.body.contains("Ring app"), "{}", page.body);
    assert_eq!(harness.ring.link_state(A), Some(LinkState::Completed));
    assert_eq!(harness.show(A).await["user"], "user-1");
    // Another browser, another user, the same link.
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-2"));
    assert_eq!((page.status, page.title()), (409, "Somebody else has linked this Ring account"));
    // The app is removed and added again: whoever signs in then has it.
    harness.ring.revoke(A);
    harness.is(A, "removed").await;
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-1"));
    assert_eq!((page.status, page.title()), (410, "This link is too old"));
    harness.ring.install(A).unwrap();
    harness.is(A, "unclaimed").await;
    harness.arrived(A).await;
    let visit = harness.visit(A);
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-2"));
    assert_eq!((page.status, harness.show(A).await["user"].as_str()), (200, Some("user-2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_browsers_that_race_for_one_link_one_has_it() {
    let (harness, partner) = harness().await;
    for round in 0..8 {
        let account = format!("account-{round}");
        harness.ring.install(&account).unwrap();
        harness.arrived(&account).await;
        let visit = harness.visit(&account);
        let pages = tokio::task::block_in_place(|| {
            thread::scope(|scope| {
                let race = |user| {
                    scope.spawn({
                        let (partner, visit) = (&partner, &visit);
                        move || goes_through(partner, visit, user)
                    })
                };
                [race("user-1"), race("user-2")].map(|racer| racer.join().unwrap().status)
            })
        });
        let user = harness.show(&account).await["user"].as_str().unwrap().to_owned();
        let expected = if user == "user-1" { [200, 409] } else { [409, 200] };
        assert_eq!(pages, expected, "round {round}");
        assert_eq!(harness.ring.mails(&account), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_it_goes_on_tells_the_end_when_asked_again() {
    let (harness, partner) = harness().await;
    harness.ring.install(A).unwrap();
    harness.arrived(A).await;
    harness.inject("link-post-503", None);
    let visit = harness.visit(A);
    let mut browser = Browser::new(partner.address);
    let form = browser.get(&format!("/ring/link?nonce={}&time={}", visit.nonce, visit.time));
    let page = tokio::task::block_in_place(|| browser.sign_in(&form, "user-1", PASSWORD));
    assert_eq!((page.status, page.title()), (202, "Your Ring account is being linked"));
    harness.ring.clear_faults();
    harness.is(A, "linked").await;
    let page = tokio::task::block_in_place(|| browser.submit(&page, &[]));
    assert_eq!((page.status, page.title()), (200, "Your Ring account is linked"));
}
