//! Answers of OAuth that are no whole JSON, before an OAuth that takes a token which comes again for stolen: the tokens are read out of
//! them where there is one reading, and where there is none the old token is left alone.

use std::time::Duration;

use ringhookd::domain::refresh::Health;
use ringhookd::sim::Place;

use crate::desk::room::{Room, soon};

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_out_of_an_answer_that_can_be_read_in_one_way_only() {
    for (fault, outcome) in
        [("oauth-stray-comma", "damaged"), ("oauth-unfinished", "damaged"), ("oauth-bom", "renewed")]
    {
        let room = Room::strict().await;
        room.fault(fault, 1);
        room.import("a").await;
        room.survives("a").await;
        assert_eq!((room.ring.requests(Place::OAuth), room.refreshes(outcome)), (1, 1), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_exchanged_by_such_an_answer() {
    let room = Room::strict().await;
    room.fault("oauth-stray-comma", 1);
    room.take_code(&room.ring.new_code("a")).await.unwrap();
    soon("it is exchanged", || room.codes("exchanged") == 1).await;
    room.all_have_arrived().await;
    room.survives("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_two_readings_the_old_token_is_not_sent_again_for_days_not_even_after_a_start() {
    let mut room = Room::strict().await;
    room.fault("oauth-duplicate-keys", 1);
    let number = room.import_number("a").await;
    soon("it can't be read", || room.refreshes("unreadable") == 1).await;
    soon("it failed", || room.tokens().status().overview.failing == 1).await;
    let in_days = |room: &Room| {
        let next = room.tokens().next_try(number);
        next.is_some_and(|at| at.since(room.wall()) > Duration::from_hours(6 * 24))
    };
    assert!(in_days(&room), "{:?}", room.tokens().next_try(number));
    assert!(room.tokens().waits_on_kept_answer(number), "people are told why");
    assert!(room.lend("a").await.is_err(), "asking does not bring it forward");
    room.close().await;
    room.open().await;
    soon("the start has looked", || room.refreshes("withheld") >= 1 && in_days(&room)).await;
    assert!(room.tokens().waits_on_kept_answer(number), "also after a start");
    assert_eq!(room.ring.requests(Place::OAuth), 1);
    assert!(room.ring.live("a").is_some(), "what OAuth gave lives");
    assert_ne!(room.tokens().status().overview.by_health[Health::Fresh as usize], 1);
}
