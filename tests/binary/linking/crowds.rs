//! Many users at once, and strangers between them: nobody whose code may still come is told to begin again.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ringhookd::clock;
use ringhookd::sim::{Options, Visit};

use crate::support::linking::{LinkHarness, join_all};

/// Codes of many users, and strangers', within the second.
const CODES: &str = "[linking]\ncodes_per_second = 40\n";
const USERS: usize = 30;

fn made_up(n: usize) -> Visit {
    let nonce = BASE64URL_NOPAD.encode(&[u8::try_from(n).unwrap(); 32]);
    Visit { nonce, time: clock::now().0.to_string() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_whose_codes_are_on_their_way_are_never_told_to_begin_again() {
    for oauth_takes in ["1s", "3s"] {
        a_crowd_before_an_oauth_that_takes(oauth_takes).await;
    }
}

async fn a_crowd_before_an_oauth_that_takes(time: &str) {
    let harness = LinkHarness::with(CODES, Options::default()).await;
    harness.inject(&format!("oauth-slow-before:{time}"), None);
    // A user of the partner's who makes nonces up, and strangers who make codes up.
    let forged = join_all(20, |n| harness.claim_as_task(&made_up(n), "mallory"));
    let strange = join_all(20, |n| harness.bring_as_task(&format!("made-up-code-{n}")));
    let accounts: Vec<String> = (0..USERS).map(|n| format!("account-{n}")).collect();
    let codes: Vec<String> = accounts.iter().map(|account| harness.ring.new_code(account)).collect();
    let visits: Vec<Visit> = accounts.iter().map(|account| harness.visit(account)).collect();
    let brought = async {
        for code in &codes {
            // Beside the strangers' a code may have to come again, as Ring's does.
            harness.soon("the code is taken", async || harness.bring(code).await.0 == 200).await;
        }
    };
    let claimed = join_all(USERS, |n| harness.claim_as_task(&visits[n], &format!("user-{n}")));
    let (_, _, (), claimed) = tokio::join!(forged, strange, brought, claimed);
    for (status, told) in claimed {
        let outcome = told["outcome"].as_str().unwrap();
        assert!(outcome == "linked" && status == 200 || outcome == "pending" && status == 202, "{told}");
    }
    // What is pending goes on by itself.
    for (n, account) in accounts.iter().enumerate() {
        harness.is(account, "linked").await;
        assert_eq!(harness.show(account).await["user"], format!("user-{n}"));
        assert_eq!(harness.outcome(&visits[n], &format!("user-{n}")).await, "linked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_code_we_sent_back_is_pending_until_it_comes_again() {
    let harness = LinkHarness::new().await;
    // More codes than are taken at once: who was sent back may be anybody's.
    let strange = join_all(120, |n| harness.bring_as_task(&format!("made-up-code-{n}"))).await;
    assert!(strange.iter().any(|(status, _)| *status == 503), "{strange:?}");
    let code = harness.ring.new_code("A");
    let visit = harness.visit("A");
    let (status, told) = harness.claim(&visit, "ann").await;
    assert_eq!((status, &told["outcome"]), (202, &"pending".into()), "{told}");
    harness.soon("the code is taken", async || harness.bring(&code).await.0 == 200).await;
    harness.is("A", "linked").await;
    assert_eq!(harness.outcome(&visit, "ann").await, "linked");
}

#[tokio::test]
async fn a_browser_that_is_a_moment_ahead_of_its_code_waits_for_it() {
    let harness = LinkHarness::new().await;
    for n in 0..20 {
        let account = format!("account-{n}");
        let code = harness.ring.new_code(&account);
        let visit = harness.visit(&account);
        let began = clock::ticks();
        let claiming = tokio::spawn(harness.claim_as_task(&visit, "ann"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(harness.bring(&code).await.0, 200);
        let brought_in_time = began.elapsed() < Duration::from_millis(3500);
        let (_, told) = claiming.await.unwrap();
        // Nothing is known of a machine that stood still.
        if brought_in_time {
            assert_eq!(told["outcome"], "linked", "{told}");
            return;
        }
    }
    panic!("this machine is too slow to bring any code within seconds");
}

#[tokio::test]
async fn a_claim_that_is_pending_goes_on_by_itself_when_its_account_comes() {
    let harness = LinkHarness::new().await;
    harness.inject("oauth-503", None);
    let code = harness.ring.new_code("A");
    let visit = harness.visit("A");
    assert_eq!(harness.bring(&code).await.0, 200);
    let (status, told) = harness.claim(&visit, "ann").await;
    assert_eq!((status, &told["outcome"]), (202, &"pending".into()));
    harness.ring.clear_faults();
    harness.is("A", "linked").await;
    assert_eq!(harness.show("A").await["user"], "ann");
    assert_eq!(harness.outcome(&visit, "ann").await, "linked");
}
