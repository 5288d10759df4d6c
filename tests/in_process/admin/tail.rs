//! A tail with large bodies, and one whose reader stands still.

use serde_json::Value;

use crate::support::api::Api;
use crate::support::*;
use ringhookd::store::Incoming;

const LARGE: usize = 900_000;

fn large(n: u32) -> Incoming {
    with_body(event(&n.to_string(), "a"), format!("\"{}\"", "x".repeat(LARGE)))
}

#[tokio::test]
async fn a_reader_that_stands_still_is_told_that_it_lags_and_goes_on_with_the_newest() {
    const EVENTS: u64 = 60;
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    let mut tail = door.tail("all", 0).await;
    for n in 0..60 {
        api.store.inbox().accept(large(n)).await.unwrap();
    }
    let (mut shown, mut missed, mut gaps) = (0, 0, 0);
    loop {
        let line: Value = serde_json::from_str(&tail.line().await).unwrap();
        if let Some(gap) = line["gap"].as_u64() {
            (missed, gaps) = (missed + gap, gaps + 1);
            continue;
        }
        shown += 1;
        if line["id"] == "59" {
            break;
        }
    }
    assert!(shown + missed == EVENTS && gaps > 0, "{shown} and {missed} in {gaps} gaps");
    assert!(shown * (LARGE as u64) < 20 << 20, "{shown} were kept");
}

#[tokio::test]
async fn the_newest_are_shown_up_to_a_mebibyte() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    for n in 0..3 {
        api.store.inbox().accept(large(n)).await.unwrap();
    }
    let mut tail = door.tail("all", 3).await;
    assert_eq!(tail.id().await, "2");
    api.store.inbox().accept(event("3", "a")).await.unwrap();
    assert_eq!(tail.id().await, "3", "and no other before");
}
