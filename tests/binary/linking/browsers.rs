//! Browsers, the example partner app, the real daemon and the simulated Ring: the whole way that a user goes.

use std::thread;

use ringhookd::sim::{CodeShape, LinkState, Options, Visit};

use crate::linking::house::House;
use crate::partner::app::{PASSWORD, Partner};
use crate::partner::browser::{Answer, Browser};

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

async fn house() -> (House, Partner) {
    let house = House::with(DOOR, Options::default()).await;
    house.let_ring_call(CodeShape::Json);
    let partner = Partner::start(&house.socket("web.sock"));
    (house, partner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_adds_the_app_signs_in_and_is_sent_back_to_the_ring_app() {
    let (house, partner) = house().await;
    house.ring.install(A).unwrap();
    house.arrived(A).await;
    let visit = house.visit(A);
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-1"));
    assert_eq!((page.status, page.title()), (200, "Your Ring account is linked"));
    assert!(page.body.contains("Ring app"), "{}", page.body);
    assert_eq!(house.ring.link_state(A), Some(LinkState::Completed));
    assert_eq!(house.show(A).await["user"], "user-1");
    // Another browser, another user, the same link.
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-2"));
    assert_eq!((page.status, page.title()), (409, "Somebody else has linked this Ring account"));
    // The app is removed and added again: whoever signs in then has it.
    house.ring.revoke(A);
    house.is(A, "removed").await;
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-1"));
    assert_eq!((page.status, page.title()), (410, "This link is too old"));
    house.ring.install(A).unwrap();
    house.is(A, "unclaimed").await;
    house.arrived(A).await;
    let visit = house.visit(A);
    let page = tokio::task::block_in_place(|| goes_through(&partner, &visit, "user-2"));
    assert_eq!((page.status, house.show(A).await["user"].as_str()), (200, Some("user-2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_browsers_that_race_for_one_link_one_has_it() {
    let (house, partner) = house().await;
    for round in 0..8 {
        let account = format!("account-{round}");
        house.ring.install(&account).unwrap();
        house.arrived(&account).await;
        let visit = house.visit(&account);
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
        let user = house.show(&account).await["user"].as_str().unwrap().to_owned();
        let expected = if user == "user-1" { [200, 409] } else { [409, 200] };
        assert_eq!(pages, expected, "round {round}");
        assert_eq!(house.ring.mails(&account), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_it_goes_on_tells_the_end_when_asked_again() {
    let (house, partner) = house().await;
    house.ring.install(A).unwrap();
    house.arrived(A).await;
    house.inject("link-post-503", None);
    let visit = house.visit(A);
    let mut browser = Browser::new(partner.address);
    let form = browser.get(&format!("/ring/link?nonce={}&time={}", visit.nonce, visit.time));
    let page = tokio::task::block_in_place(|| browser.sign_in(&form, "user-1", PASSWORD));
    assert_eq!((page.status, page.title()), (202, "Your Ring account is being linked"));
    house.ring.clear_faults();
    house.is(A, "linked").await;
    let page = tokio::task::block_in_place(|| browser.submit(&page, &[]));
    assert_eq!((page.status, page.title()), (200, "Your Ring account is linked"));
}
