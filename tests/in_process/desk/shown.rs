//! What is shown of tokens, and how long an access token is lent: never better, and never longer, than OAuth said.

use std::time::Duration;

use ringhookd::domain::refresh::{Health, Proof};
use ringhookd::sim::Policy;

use crate::desk::room::{Room, soon};
use crate::support::account;

const HOUR: Duration = Duration::from_hours(1);

fn is(room: &Room, health: Health) -> bool {
    room.tokens().status().overview.by_health[health as usize] == 1
}

async fn proof(room: &Room) -> Proof {
    room.store.links().account(account("a")).await.unwrap().unwrap().tokens.unwrap().proof
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_oauth_refuses_is_refused_at_once_and_after_a_start() {
    let mut room = Room::new(Policy::DeadAtOnce).await;
    room.hold_back().await;
    room.import_pair("a", None, "RT1").await;
    assert_eq!(proof(&room).await, Proof::Untried);
    room.let_go().await;
    soon("it is refused", || is(&room, Health::Refused)).await;
    assert_eq!(proof(&room).await, Proof::Refused);
    assert_eq!(room.tokens().status().overview.failing, 1);
    let number = room.store.links().account(account("a")).await.unwrap().unwrap().number;
    assert!(room.tokens().next_try(number).unwrap() > room.wall());
    room.close().await;
    room.open().await;
    soon("it still is", || is(&room, Health::Refused)).await;
    // The right one, put in over it.
    room.import("a").await;
    room.survives("a").await;
    soon("it is well", || is(&room, Health::Fresh)).await;
    assert_eq!(proof(&room).await, Proof::Honoured);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_20_hours_lends_no_access_token_beyond_its_life() {
    let mut room = Room::new(Policy::DeadAtOnce).await;
    room.import("a").await;
    let first = room.lend("a").await.unwrap();
    room.advance(HOUR).await;
    room.set_back(20 * HOUR);
    let lent = room.lend("a").await.unwrap();
    assert_eq!(lent.generation, first.generation);
    assert!(lent.expires_at.since(room.wall()) <= 3 * HOUR, "{:?}", lent.expires_at.since(room.wall()));
    room.advance(3 * HOUR).await;
    room.survives("a").await;
    assert!(room.lend("a").await.unwrap().generation > first.generation, "the first is dead");
    // After a start nobody knows how old a token is that was given in what is the future now.
    let second = room.lend("a").await.unwrap();
    room.close().await;
    room.set_back(20 * HOUR);
    room.open().await;
    room.survives("a").await;
    assert!(room.lend("a").await.unwrap().generation > second.generation);
}
