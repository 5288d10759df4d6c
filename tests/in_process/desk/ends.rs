//! How links end, and how they do not: refusals that are believed, and those that are not.

use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::refresh::{End, Notice};
use ringhookd::sim::{Plan, Policy};

use crate::desk::room::{PATIENCE, Room, soon};
use crate::support::{account, drain, event_of, later};

const MINUTE: Duration = Duration::from_mins(1);
const LONG_GRACE: Policy = Policy::Grace(Duration::from_hours(9));

async fn state(room: &Room, id: &str) -> (Option<End>, Notice) {
    let end = room.store.links().access(account(id)).await.unwrap().unwrap().end;
    let view = room.store.links().account(account(id)).await.unwrap().unwrap();
    (end, view.tokens.unwrap().state)
}

/// Waits until that was told.
async fn until(room: &Room, id: &str, expected: (Option<End>, Notice)) {
    let deadline = clock::ticks() + PATIENCE;
    while state(room, id).await != expected {
        assert!(clock::ticks() < deadline, "{:?}, not {expected:?}", state(room, id).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn requests_of(room: &Room, id: &str) -> Vec<Option<u32>> {
    let exchanges = room.ring.exchanges();
    // Ring does not know whose a revoked token was; "other" is never revoked.
    let is = |account: Option<&str>| account == Some(id) || (account.is_none() && id == "a");
    let of = exchanges.iter().filter(|exchange| is(exchange.account.as_deref()));
    of.map(|exchange| exchange.generation).collect()
}

/// Brings an account's refresh forward, whatever comes of it, and waits until OAuth was asked.
async fn ask(room: &Room, id: &str) {
    let before = requests_of(room, id).len();
    let present = room.store.links().access(account(id)).await.unwrap().unwrap().generation;
    let _ = room.lend_newer(id, present).await;
    soon("OAuth is asked", || requests_of(room, id).len() > before).await;
}

/// Lets time pass until the account is tried again, while OAuth honours another one.
async fn next_try(room: &Room, id: &str, after: Duration) {
    let before = requests_of(room, id).len();
    room.advance(after).await;
    ask(room, "other").await;
    soon("it is tried again", || requests_of(room, id).len() > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_link_is_told_once_after_an_hour_and_again_when_it_is_well() {
    let room = Room::new(Policy::DeadAtOnce).await;
    room.import("a").await;
    room.import("other").await;
    room.lend("a").await.unwrap();
    room.lend("other").await.unwrap();
    room.advance(MINUTE).await;
    // Not through our eyes: the user removed the app, and the event is still on its way.
    room.ring.revoke("a");
    ask(&room, "a").await;
    assert_eq!(state(&room, "a").await.0, None, "once is not enough");
    next_try(&room, "a", 31 * MINUTE).await;
    assert_eq!(state(&room, "a").await.0, None, "nor twice within the hour");
    next_try(&room, "a", 31 * MINUTE).await;
    // The token before it is tried, once: this one was never accepted.
    soon("the predecessor is tried", || requests_of(&room, "a").len() == 5).await;
    next_try(&room, "a", 31 * MINUTE).await;
    next_try(&room, "a", 31 * MINUTE).await;
    until(&room, "a", (Some(End::Revoked), Notice::Revoked)).await;
    let denied = room.lend_newer("a", u64::MAX).await.unwrap_err();
    assert_eq!((denied.reason.as_str(), denied.retry_after), ("revoked", None));

    room.import("a").await;
    room.lend("a").await.unwrap();
    until(&room, "a", (None, Notice::Fresh)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_before_is_tried_once_where_the_present_one_was_never_good() {
    let room = Room::new(LONG_GRACE).await;
    room.import("a").await;
    room.import("other").await;
    room.lend("a").await.unwrap();
    room.lend("other").await.unwrap();
    room.advance(MINUTE).await;
    let fault = "oauth-invalid-grant".parse().unwrap();
    room.ring.inject(Plan { fault, times: Some(3), account: Some("a".into()) });
    ask(&room, "a").await;
    next_try(&room, "a", 31 * MINUTE).await;
    next_try(&room, "a", 31 * MINUTE).await;
    soon("the one before is honoured", || room.ring.counts("a").granted == 2).await;
    assert_eq!(requests_of(&room, "a"), [Some(1), Some(2), Some(2), Some(2), Some(1)]);
    room.survives("a").await;
    assert_eq!(state(&room, "a").await.0, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_weeks_is_warned_about_and_its_end_is_told() {
    let room = Room::new(Policy::DeadAtOnce).await;
    room.import("a").await;
    room.lend("a").await.unwrap();
    room.ring.inject(Plan { fault: "oauth-503".parse().unwrap(), times: None, account: None });
    let mut passed = Duration::ZERO;
    for (days, notice) in
        [(2, Notice::Late), (21, Notice::Lapsing(1)), (26, Notice::Lapsing(2)), (29, Notice::Lapsing(3))]
    {
        let then = days * 24 * 60 * MINUTE;
        room.advance(then.saturating_sub(passed)).await;
        passed = then;
        until(&room, "a", (None, notice)).await;
    }
    room.ring.clear_faults();
    room.advance(31 * MINUTE).await;
    until(&room, "a", (None, Notice::Fresh)).await;
    for counted in ["late\"} 1", "lapsing\"} 3", "fresh\"} 1", "lapsed\"} 0"] {
        let line = format!("ringhookd_link_changes_total{{state=\"{counted}");
        // Counted just after it is on disk.
        soon(&line, || room.metrics.render().contains(&line)).await;
    }
    let alerts = drain(&room.store, "alerts", 99).await;
    let states: Vec<_> = alerts.iter().map(|alert| alert.event.kind.as_str()).collect();
    let expected = ["linked", "late", "lapsing", "lapsing", "lapsing", "fresh"];
    assert_eq!(states, expected.map(|state| format!("link.{state}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauth_that_refuses_everybody_ends_nobody() {
    let room = Room::new(Policy::DeadAtOnce).await;
    let ids: Vec<String> = (0..8).map(|n| format!("account-{n}")).collect();
    for id in &ids {
        room.import(id).await;
        room.lend(id).await.unwrap();
    }
    room.advance(25 * 60 * MINUTE).await;
    let fault = "oauth-invalid-grant".parse().unwrap();
    room.ring.inject(Plan { fault, times: None, account: None });
    for round in 1..=6 {
        let before = room.ring.exchanges().len();
        room.advance(31 * MINUTE).await;
        soon("they are tried again", || room.ring.exchanges().len() >= before + ids.len()).await;
        println!("round {round}: {} requests", room.ring.exchanges().len());
    }
    for id in &ids {
        assert_eq!(state(&room, id).await.0, None, "{id}");
    }
    room.ring.clear_faults();
    room.advance(31 * MINUTE).await;
    for id in &ids {
        room.survives(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_removal_does_not_end_a_link_that_was_made_anew() {
    let room = Room::new(Policy::DeadAtOnce).await;
    room.import("a").await;
    room.lend("a").await.unwrap();
    let removal = |id: &str, time| {
        let mut removal = event_of(id, Some("a"), "app_integration_removed", None);
        removal.time = Some(time);
        removal
    };
    room.store.inbox().accept(removal("1", later(MINUTE))).await.unwrap();
    assert_eq!(room.lend("a").await.unwrap_err().reason.as_str(), "no_tokens");
    room.import("a").await;
    room.lend("a").await.unwrap();
    room.store.inbox().accept(removal("2", later(Duration::ZERO).minus(MINUTE))).await.unwrap();
    room.store.inbox().accept(removal("1", later(MINUTE))).await.unwrap();
    room.survives("a").await;
}
