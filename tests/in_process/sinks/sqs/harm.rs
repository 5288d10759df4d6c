//! What harms the service or the way to it: nothing is lost, what comes twice comes under the same id, and each account keeps its order.

use std::collections::HashSet;

use super::*;
use crate::sinks::deliveries;
use crate::support::proxy::{Answers, Proxy};

/// All events are there, and the first arrivals of each account are in order.
fn all_in_order(queue: &Queue) {
    let mut known = HashSet::new();
    let arrivals = queue.arrived();
    let firsts =
        arrivals.iter().map(moto::Message::arrival).filter(|arrival| known.insert(arrival.key.clone()));
    deliveries::all_in_order(
        firsts
            .map(|Arrival { key, account, .. }| (account, key.rsplit('/').next().unwrap().parse().unwrap())),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_and_comes_back_has_all() {
    let mut broker = moto::start();
    let queue = Queue::new(broker.port(), "killed.fifo");
    let sink = sink(&to(&queue.url()));
    let mut without = 0;
    until_done(&sink, |round, verdicts| match round {
        0 => {
            // It keeps nothing on disk, so its consumer is quick.
            assert!(!queue.arrived().is_empty());
            broker.kill();
        }
        1 => {
            assert!(matches!(verdicts[0], Verdict::Busy { .. }), "{verdicts:?}");
            broker.again();
        }
        2 => {
            let Verdict::Busy { why, .. } = &verdicts[0] else { panic!("{verdicts:?}") };
            assert!(why.contains("QueueDoesNotExist: "), "{why}");
            without += 1;
            queue.create(&serde_json::json!({}));
        }
        _ => {}
    })
    .await;
    assert_eq!(without, 1);
    all_in_order(&queue);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_hangs_is_given_up_and_has_all_once_it_goes_on() {
    let broker = moto::start();
    let queue = Queue::new(broker.port(), "frozen.fifo");
    let proxy = Proxy::before(broker.port()).await;
    let patient = sink(&to(&queue.url()));
    assert_eq!(patient.deliver([leased(1_000, "account-0")].into()).await, [Verdict::Done]);
    assert_eq!(queue.arrived().len(), 1);
    broker.freeze();
    let hasty = sink(&hasty(&queue.url_at(proxy.port())));
    let why = busy(&hasty.deliver(one()).await);
    assert!(why.ends_with(": no answer in time"), "{why}");
    broker.thaw();
    until_done(&patient, |_, _| {}).await;
    let arrived = queue.arrived();
    let keys: HashSet<String> = arrived.iter().map(|message| message.arrival().key).collect();
    assert!(
        (0..deliveries::ACCOUNTS * deliveries::EACH)
            .all(|n| { keys.contains(&format!("account-{}/{n}", n % deliveries::ACCOUNTS)) })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_brings_the_events_again_and_a_fifo_queue_takes_them_once() {
    let queue = Queue::shared("{}.fifo");
    let proxy = Proxy::before(queue.port()).await;
    let sink = sink(&to(&queue.url_at(proxy.port())));
    proxy.set(Answers::Lost);
    let events: Vec<_> = (0..8).map(|n| leased(n, &format!("account-{n}"))).collect();
    let cut = async {
        while queue.waiting() < 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.cut();
    };
    let (verdicts, ()) = tokio::join!(sink.deliver(events.clone().into()), cut);
    for verdict in &verdicts {
        let Verdict::Busy { why, .. } = verdict else { panic!("{verdict:?}") };
        assert!(why.contains("the connection "), "{why}");
    }
    proxy.set(Answers::Pass);
    assert_eq!(sink.deliver(events.into()).await, vec![Verdict::Done; 8], "over another connection");
    assert_eq!(queue.arrived().len(), 8, "none twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_missing_is_waited_for() {
    let queue = Queue::missing(Queue::shared("{}").port(), "later-{}");
    let sink = sink(&to(&queue.url()));
    let why = busy(&sink.deliver(one()).await);
    assert_eq!(sink.probe().await, Err(why.clone()));
    let expected =
        format!("http://127.0.0.1:{}: QueueDoesNotExist: The specified queue does not exist.", queue.port());
    assert_eq!(why, expected);
    queue.create(&serde_json::json!({}));
    assert_eq!(sink.probe().await, Ok(None));
    assert_eq!(queue.waiting(), 0, "a look leaves nothing there");
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
}

#[tokio::test]
async fn nobody_there_uses_up_no_attempt() {
    let port = crate::support::broker::free_port();
    let why = busy(&sink(&to(&format!("http://127.0.0.1:{port}/1/q"))).deliver(one()).await);
    assert_eq!(why, format!("http://127.0.0.1:{port}: no connection: connection refused"));
}
