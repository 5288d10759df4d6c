//! What a reader may ask of a lease at most: sizes, times, and outcomes in one call.

use std::ops::RangeInclusive;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::time::Millis;
use serde_json::{Value, json};

use super::{LEASE, SETTLE};
use crate::support::api::{Api, Door_};
use crate::support::*;

const LONGEST: Duration = Duration::from_hours(12);
const EXTEND: &str = "/v1/queues/all/extend";
/// More than any number of milliseconds that a clock shows.
const FOR_EVER: u64 = u64::MAX;

/// Now and then as far ahead as the call between them may have put something.
async fn span<T>(by: Duration, call: impl Future<Output = T>) -> (T, RangeInclusive<Millis>) {
    let before = clock::now().plus(by);
    let done = call.await;
    (done, before..=clock::now().plus(by))
}

async fn one_event() -> (Api, Door_) {
    let api = Api::start().await;
    link(&api.store, "a", "ann").await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    let door = api.open_door();
    (api, door)
}

fn change(api: &Api) -> Millis {
    api.store.queues().next_change(&queue("all")).unwrap()
}

fn time(answer: &Value) -> Millis {
    let at: jiff::Timestamp = answer["until"].as_str().unwrap().parse().unwrap();
    Millis(at.as_millisecond().try_into().unwrap())
}

#[tokio::test]
async fn a_lease_lasts_at_most_half_a_day() {
    let (api, door) = one_event().await;
    let wish = json!({"visibility_ms": FOR_EVER});
    let (leased, span_of_lease) = span(LONGEST, door.ok("POST", LEASE, wish)).await;
    assert!(span_of_lease.contains(&change(&api)));
    let lease = &leased["lease"];
    for (asked, given) in [
        (json!(FOR_EVER), LONGEST),
        (json!(43_200_001), LONGEST),
        (json!(43_199_999), Duration::from_millis(43_199_999)),
        (json!(null), HOUR),
    ] {
        let wish = json!({"lease": lease, "visibility_ms": asked});
        let (answer, span) = span(given, door.ok("POST", EXTEND, wish)).await;
        assert!(span.contains(&time(&answer)) && span.contains(&change(&api)), "{asked}: {answer}");
    }
    let wish = json!({"lease": lease, "visibility_ms": 0});
    let (answer, span) = span(Duration::from_millis(1), door.ok("POST", EXTEND, wish)).await;
    assert!(span.contains(&time(&answer)), "{answer}");
}

#[tokio::test]
async fn an_event_waits_after_a_nack_as_long_as_said_but_at_most_half_a_day() {
    for (asked, given) in [
        (json!(FOR_EVER), LONGEST),
        (json!(43_200_001), LONGEST),
        (json!(43_199_999), Duration::from_millis(43_199_999)),
        (json!(null), Duration::from_secs(1)),
    ] {
        let (api, door) = one_event().await;
        let leased = door.ok("POST", LEASE, json!({})).await;
        let nack = json!([{"seq": leased["events"][0]["seq"], "delay_ms": asked}]);
        let wish = json!({"lease": leased["lease"], "nack": nack});
        let (answer, span) = span(given, door.ok("POST", SETTLE, wish)).await;
        assert_eq!(answer, json!({"settled": 1, "lost": 0}));
        assert!(span.contains(&change(&api)), "{asked}: {:?} not in {span:?}", change(&api));
    }
}

#[tokio::test]
async fn times_that_are_none_are_refused_and_settle_nothing() {
    let (api, door) = one_event().await;
    let leased = door.ok("POST", LEASE, json!({})).await;
    let (lease, seq) = (&leased["lease"], &leased["events"][0]["seq"]);
    for odd in [json!(-1), json!(1.5), json!("1"), json!(18_446_744_073_709_551_616.0)] {
        let nack = json!({"lease": lease, "nack": [{"seq": seq, "delay_ms": odd}]});
        assert_eq!(door.post(SETTLE, nack).await.0, 400, "{odd}");
        let extend = json!({"lease": lease, "visibility_ms": odd});
        assert_eq!(door.post(EXTEND, extend).await.0, 400, "{odd}");
        assert_eq!(door.post(LEASE, json!({"visibility_ms": odd})).await.0, 400, "{odd}");
    }
    assert_eq!(api.leased("all"), 1);
}

#[tokio::test]
async fn a_call_settles_at_most_a_thousand_outcomes_of_all_kinds() {
    let (api, door) = one_event().await;
    let leased = door.ok("POST", LEASE, json!({})).await;
    let (lease, seq) = (&leased["lease"], leased["events"][0]["seq"].as_u64().unwrap());
    let others = |from: u64, count: u64| seq + from..seq + from + count;
    let nack = |seq| json!({"seq": seq, "why": "w"});
    let outcomes = |acks: u64, nacks: u64, returns: u64| {
        json!({
            "lease": lease,
            "ack": others(0, acks).collect::<Vec<_>>(),
            "nack": others(1000, nacks).map(nack).collect::<Vec<_>>(),
            "return": others(2000, returns).collect::<Vec<_>>(),
        })
    };
    for (acks, nacks, returns) in [(1001, 0, 0), (1, 1000, 0), (1, 0, 1000), (400, 400, 201)] {
        let (status, answer) = door.post(SETTLE, outcomes(acks, nacks, returns)).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(api.leased("all"), 1, "and none of them is settled");
    }
    let done = door.ok("POST", SETTLE, outcomes(400, 400, 200)).await;
    assert_eq!(done, json!({"settled": 1, "lost": 999}));
}

#[tokio::test]
async fn a_lease_has_at_least_one_event_and_at_most_a_thousand_and_8_mib() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    let accepting: Vec<_> = (0..1001)
        .map(|n| {
            let store = api.store.clone();
            tokio::spawn(async move { store.inbox().accept(event(&n.to_string(), "a")).await.unwrap() })
        })
        .collect();
    for accepted in accepting {
        accepted.await.unwrap();
    }
    for (wish, most) in [
        (json!({"max": 0}), 1),
        (json!({"max_bytes": 0}), 1),
        (json!({}), 10),
        (json!({"max": 5000, "max_bytes": FOR_EVER}), 1000),
    ] {
        let leased = door.ok("POST", LEASE, wish.clone()).await;
        let events = leased["events"].as_array().unwrap();
        assert_eq!(events.len(), most, "{wish}");
        let seqs: Vec<_> = events.iter().map(|event| &event["seq"]).collect();
        door.ok("POST", SETTLE, json!({"lease": leased["lease"], "return": seqs})).await;
    }

    link(&api.store, "b", "bob").await;
    for n in 0..10 {
        let mut large = event(&format!("large-{n}"), "b");
        large.event.body = vec![b' '; 1 << 20].into();
        api.store.inbox().accept(large).await.unwrap();
    }
    let wish = json!({"user": "bob", "max": 1000, "max_bytes": FOR_EVER});
    let leased = door.ok("POST", LEASE, wish).await;
    assert_eq!(
        leased["events"].as_array().unwrap().len(),
        7,
        "an eighth would be more, with what is kept beside"
    );
}
