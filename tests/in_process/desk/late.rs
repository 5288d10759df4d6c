//! An OAuth that answers rightly and late, kills a replaced token at once and the whole link of one that comes again: whoever asks
//! is told soon, and no link and no code is lost.

use std::time::Duration;

use ringhookd::domain::access_token::Reason;
use ringhookd::sim::{Place, Plan};

use crate::desk::room::{Room, soon};
use crate::support::account;

/// Every answer of OAuth is late, by several times the room's limit.
fn make_late(room: &Room) {
    for fault in ["oauth-slow-before:150ms", "oauth-slow-after:250ms"] {
        room.ring.inject(Plan { fault: fault.parse().unwrap(), times: None, account: None });
    }
}

/// OAuth works on what comes, and does not answer while anybody waits.
fn silence(room: &Room) {
    room.ring.inject(Plan { fault: "oauth-slow-after:1h".parse().unwrap(), times: None, account: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_sixty_links_is_lost_and_each_is_refreshed_once() {
    let room = Room::strict().await;
    make_late(&room);
    let ids: Vec<String> = (0..60).map(|n| format!("account-{n}")).collect();
    for id in &ids {
        room.import(id).await;
    }
    soon("answers are late", || room.tokens().status().overview.late > 0).await;
    soon("all are refreshed", || ids.iter().all(|id| room.ring.counts(id).granted == 1)).await;
    soon("all answers are heard", || room.tokens().status().overview.in_flight == 0).await;
    for id in &ids {
        room.survives(id).await;
    }
    assert_eq!(room.ring.requests(Place::OAuth), 60, "no token is sent twice");
    assert_eq!(room.ring.most_in_flight(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_code_is_lost_and_each_is_sent_once() {
    let room = Room::strict().await;
    make_late(&room);
    for n in 0..8 {
        room.take_code(&room.ring.new_code(&format!("account-{n}"))).await.unwrap();
    }
    soon("all are exchanged", || room.codes("exchanged") == 8).await;
    room.all_have_arrived().await;
    assert_eq!(room.ring.requests(Place::OAuth), 8);
    room.ring.clear_faults();
    for n in 0..8 {
        room.survives(&format!("account-{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_due_are_not_sent_to_an_oauth_that_is_silent() {
    let room = Room::strict().await;
    room.hold_back().await;
    silence(&room);
    for n in 0..60 {
        room.import(&format!("account-{n}")).await;
    }
    room.let_go().await;
    soon("OAuth is taken to be down", || room.tokens().status().overview.oauth_down).await;
    let sent = u64::try_from(room.tokens().status().overview.in_flight).unwrap();
    soon("what was on its way is there", || room.ring.requests(Place::OAuth) == sent).await;
    assert!(sent <= 32, "{sent} are put at risk, of which none was needed more than five");
    let denied = room.lend("account-59").await.unwrap_err();
    assert!(matches!(denied.reason, Reason::OauthDown | Reason::UnderWay), "{denied:?}");
    // Longer than the pause before a probe.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(room.ring.requests(Place::OAuth), sent, "no probe, since an answer may still come");
    room.stop_within(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_an_answer_that_is_late() {
    let mut room = Room::strict().await;
    room.fault("oauth-slow-after:700ms", 1);
    room.import("a").await;
    soon("OAuth has replaced the token", || room.ring.counts("a").granted == 1).await;
    room.close().await;
    room.open().await;
    room.survives("a").await;
    assert_eq!(room.ring.requests(Place::OAuth), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_whose_time_is_over_leaves_the_journal_open_and_the_next_start_sends_the_token_again() {
    let mut room = Room::strict().await;
    room.fault("oauth-slow-before:1h", 1);
    let number = room.import_number("a").await;
    soon("it is sent", || room.ring.requests(Place::OAuth) == 1).await;
    room.stop_within(Duration::ZERO).await;
    let unsettled = room.store.links().token_record(number).await.unwrap().unwrap().record.unsettled;
    assert!(unsettled, "whether it was replaced is unknown");
    room.store.close();
    room.open().await;
    room.survives("a").await;
    assert!(room.store.links().access(account("a")).await.unwrap().unwrap().token.is_some());
}
