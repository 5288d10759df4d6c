//! What harms a server or the way to it: nothing is lost, what comes twice comes under the same id, and each account keeps its order.

use std::collections::HashSet;

use ringhookd::store::Leased;

use super::*;
use crate::support::proxy::{Answers, Proxy};

/// All events are there, and the first arrivals of each account are in order.
fn all_in_order(server: &Server) {
    let mut known = HashSet::new();
    let arrivals: Vec<Arrival> = server.entries("ring:all").iter().map(Arrival::from).collect();
    let firsts = arrivals.into_iter().filter(|arrival| known.insert(arrival.key.clone()));
    deliveries::all_in_order(
        firsts
            .map(|Arrival { key, account, .. }| (account, key.rsplit('/').next().unwrap().parse().unwrap())),
    );
}

fn through(proxy: &Proxy, timeout: Duration) -> Redis {
    let mut options = to(proxy.port());
    options.target.timeout = timeout;
    sink(&options)
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_has_all() {
    let server = Server::start(&[]);
    let sink = sink(&to(server.port()));
    until_done(&sink, |round, verdicts| match round {
        0 => server.broker().kill(),
        1 => {
            assert!(matches!(verdicts[0], Verdict::Busy { .. }), "{verdicts:?}");
            server.broker().again();
        }
        _ => {}
    })
    .await;
    all_in_order(&server);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_has_all_once_it_goes_on() {
    let server = Server::start(&[]);
    let mut options = to(server.port());
    options.target.timeout = Duration::from_secs(1);
    let sink = sink(&options);
    until_done(&sink, |round, verdicts| match round {
        0 => server.broker().freeze(),
        1 => {
            let Verdict::Busy { why, .. } = &verdicts[0] else { panic!("{verdicts:?}") };
            assert!(why.ends_with("no answer in time"), "{why}");
        }
        2 => server.broker().thaw(),
        _ => {}
    })
    .await;
    all_in_order(&server);
}

#[tokio::test]
async fn replies_that_are_lost_bring_the_events_again_under_their_ids() {
    let server = Server::start(&[]);
    let proxy = Proxy::before(server.port()).await;
    let sink = through(&proxy, Duration::from_secs(1));
    until_done(&sink, |round, verdicts| match round {
        0 => proxy.set(Answers::Lost),
        1 => {
            assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
            proxy.set(Answers::Pass);
            proxy.cut();
        }
        _ => {}
    })
    .await;
    all_in_order(&server);
    assert!(server.entries("ring:all").len() as u64 > ACCOUNTS * EACH, "some came twice");
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_makes_all_in_flight_busy_at_once() {
    let server = Server::start(&[]);
    let proxy = Proxy::before(server.port()).await;
    // No time-out could end it in time.
    let sink = through(&proxy, Duration::from_hours(1));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    proxy.set(Answers::Lost);
    let events: Vec<_> = (0..16).map(|n| leased(n, &format!("account-{n}"))).collect();
    let cut = async {
        while server.entries("ring:all").len() < 17 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.cut();
    };
    let (verdicts, ()) = tokio::join!(sink.deliver(events.into()), cut);
    for verdict in verdicts {
        let Verdict::Busy { why, .. } = verdict else { panic!("{verdict:?}") };
        assert!(why.ends_with("the connection ended before an answer"), "{why}");
    }
    proxy.set(Answers::Pass);
    assert_eq!(sink.deliver(one()).await, [Verdict::Done], "over another connection");
}

#[tokio::test]
async fn an_idle_connection_that_ended_is_not_used_again() {
    let server = Server::start(&[]);
    let sink = sink(&to(server.port()));
    for _ in 0..3 {
        assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
        server.ask::<()>("CLIENT KILL TYPE normal");
        while server.ask::<String>("CLIENT LIST").lines().count() > 1 {
            tokio::task::yield_now().await;
        }
        // The end of the connection is on its way; once it is noticed nothing is tried over it.
        while sink.deliver(one()).await != [Verdict::Done] {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn no_id_reaches_into_another_stream() {
    let server = Server::start(&[]);
    let stream = Template::parse("ring:{user}:{device}").unwrap();
    let sink = sink(&config::Redis { stream, ..to(server.port()) });
    let hostile = ["a:b", "*", "{ann}", "-", "a b\u{e9} FLUSHALL", &"x".repeat(2_000)];
    let events: Vec<Leased> = (0..)
        .zip(hostile)
        .map(|(n, id)| {
            let mut event = event_of(&format!("{id}/{n}"), &format!("account-{n}"), b"\xff\r\n$5\r\n");
            event.user = Some(user(id.chars().take(200).collect::<String>().as_str()));
            Leased { seq: n, attempt: 1, event }
        })
        .collect();
    let count = events.len();
    assert_eq!(sink.deliver(events.into()).await, vec![Verdict::Done; count]);
    let mut keys: Vec<String> = server.ask("KEYS *");
    keys.sort();
    assert_eq!(keys.len(), count, "each has a stream of its own: {keys:?}");
    for key in ["ring:a%3Ab:-", "ring:%2A:-", "ring:%7Bann%7D:-", "ring:%2D:-"] {
        assert_eq!(server.entries(key).len(), 1, "{key} in {keys:?}");
    }
    let entry = &server.entries("ring:%2A:-")[0];
    let event: serde_json::Value = serde_json::from_str(&entry["event"]).unwrap();
    assert_eq!((event["id"].as_str(), entry["id"].as_str()), (Some("*/1"), "*/1"));
    assert_eq!((entry["type"].as_str(), entry["ringuser"].as_str()), ("com.ring.button_press", "*"));
}

#[tokio::test]
async fn a_stream_is_kept_short_where_it_shall_be() {
    let server = Server::start(&["stream-node-max-entries 10"]);
    let sink = sink(&config::Redis { max_len: Some(50), ..to(server.port()) });
    let events: Vec<_> = (0..200).map(|n| leased(n, "a")).collect();
    assert_eq!(sink.deliver(events.into()).await, vec![Verdict::Done; 200]);
    let kept = server.entries("ring:all");
    assert!((50..60).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap()["id"], "a/199");
}
