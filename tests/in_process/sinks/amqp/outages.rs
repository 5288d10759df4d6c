//! A broker that dies, hangs, is cut off, or takes nothing from publishers: nothing is lost, and an account keeps its order.

use super::super::cases::{nothing_is_lost_through, nothing_is_lost_through_a_cut};
use super::*;
use crate::support::broker::free_port;
use crate::support::proxy::{Answers, Proxy};

/// A kind whose broker or whose connections a test harms.
struct Harmed {
    exchanges: Exchanges,
    proxy: Option<Proxy>,
    rabbit: Option<Arc<Mutex<Rabbit>>>,
}

impl Kind for Harmed {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        self.exchanges.start(store, name, faults)
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        self.exchanges.arrived(name)
    }
}

impl Harmed {
    fn own(rabbit: &Arc<Mutex<Rabbit>>) -> Self {
        let known = rabbit.lock().unwrap();
        let exchanges = Exchanges::hasty(&known, known.port());
        Self { exchanges, proxy: None, rabbit: Some(Arc::clone(rabbit)) }
    }

    /// The same with a proxy in front, so that a broker which starts is reached when the test says so.
    async fn own_behind_a_proxy(rabbit: &Arc<Mutex<Rabbit>>) -> Self {
        let port = rabbit.lock().unwrap().port();
        let proxy = Proxy::before(port).await;
        let exchanges = Exchanges::hasty(&rabbit.lock().unwrap(), proxy.port());
        Self { exchanges, proxy: Some(proxy), rabbit: Some(Arc::clone(rabbit)) }
    }

    async fn behind_a_proxy() -> Self {
        let proxy = Proxy::before(peaceful().port()).await;
        let exchanges = Exchanges::hasty(peaceful(), proxy.port());
        Self { exchanges, proxy: Some(proxy), rabbit: None }
    }

    fn broker<T>(&self, act: impl FnOnce(&mut Rabbit) -> T) -> T {
        act(&mut self.rabbit.as_ref().unwrap().lock().unwrap())
    }
}

/// One broker for all three, because each start of one takes seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_blocks_hangs_or_is_killed_gets_everything_when_it_goes_on() {
    let rabbit = Rabbit::start();
    a_memory_alarm_uses_up_no_attempt(&rabbit).await;
    let rabbit = Arc::new(Mutex::new(rabbit));
    nothing_is_lost_through(Harmed::own(&rabbit), async |harmed, given_up| {
        harmed.broker(|rabbit| rabbit.broker.freeze());
        given_up.await;
        harmed.broker(|rabbit| rabbit.broker.thaw());
    })
    .await;
    nothing_is_lost_through(Harmed::own_behind_a_proxy(&rabbit).await, async |harmed, given_up| {
        let proxy = harmed.proxy.as_ref().unwrap();
        harmed.broker(|rabbit| rabbit.broker.kill());
        given_up.await;
        // After a kill the broker may take messages before it knows its bindings again, or without: those are its operator's to see to.
        // Each message would be returned then, and here one failed attempt is the last.
        proxy.set(Answers::Dead);
        let queue = harmed.exchanges.reader.lock().unwrap().queue.clone();
        harmed.broker(|rabbit| {
            rabbit.broker.again();
            rabbit.make(&queue, &[]);
        });
        proxy.cut();
        proxy.set(Answers::Pass);
    })
    .await;
}

async fn a_memory_alarm_uses_up_no_attempt(rabbit: &Rabbit) {
    let queue = rabbit.queue("alarm", &[]);
    let sink = sink_to(rabbit.port(), &queue);
    delivered(&sink, [leased(1, "a")].into()).await;
    rabbit.control(&["set_vm_memory_high_watermark", "0"]);
    let events: Arc<[Leased]> = [leased(2, "a"), leased(3, "a"), leased(4, "b")].into();
    // The alarm may come a moment after the command that set it off.
    let mut looks = 0;
    let why = loop {
        let verdicts = sink.deliver(Arc::clone(&events)).await;
        let busy = verdicts.iter().find_map(|verdict| match verdict {
            Verdict::Busy { why, .. } => Some(why.clone()),
            Verdict::Done | Verdict::Untried => None,
            other => panic!("no attempt is used up: {other:?}"),
        });
        if let Some(why) = busy.filter(|why| why.contains("blocks publishers")) {
            break why;
        }
        looks += 1;
        assert!(looks < 1200, "{verdicts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        why,
        format!("amqp://127.0.0.1:{}: the broker blocks publishers: low on memory", rabbit.port())
    );
    rabbit.control(&["set_vm_memory_high_watermark", "0.5"]);
    delivered(&sink, events).await;
    let ids = ids(rabbit.port(), &queue);
    let mut firsts: Vec<&str> = Vec::new();
    for id in ids.iter().filter(|id| id.starts_with("a/")) {
        if !firsts.contains(&id.as_str()) {
            firsts.push(id);
        }
    }
    assert!(firsts == ["a/1", "a/2", "a/3"] && ids.iter().any(|id| id == "b/4"), "{ids:?}");
}

async fn cut_while(answers: Answers) {
    let harmed = Harmed::behind_a_proxy().await;
    nothing_is_lost_through_a_cut(harmed, |harmed| harmed.proxy.as_ref().unwrap(), answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_that_are_lost_before_the_connection_is_cut_lose_nothing() {
    cut_while(Answers::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_half_open_loses_nothing() {
    cut_while(Answers::Dead).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_confirmed_when_the_connection_is_cut_comes_again_under_its_id() {
    let queue = peaceful().queue("cut", &[]);
    let proxy = Proxy::before(peaceful().port()).await;
    let sink = Arc::new(sink_to(proxy.port(), &queue));
    delivered(&*sink, [leased(1, "a")].into()).await;
    proxy.set(Answers::Lost);
    let delivery = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.deliver([leased(2, "a"), leased(3, "a")].into()).await }
    });
    // The broker has it, and its confirmation is lost.
    let mut reader = Reader::of(peaceful().port(), queue);
    let mut looks = 0;
    while reader.ids() != ["a/1", "a/2"] {
        looks += 1;
        assert!(looks < 1200, "it never comes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    proxy.cut();
    let verdicts = delivery.await.unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
    proxy.set(Answers::Pass);
    delivered(&*sink, [leased(2, "a"), leased(3, "a")].into()).await;
    assert_eq!(reader.ids(), ["a/1", "a/2", "a/2", "a/3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_other_side_is_gone_is_noticed_and_replaced() {
    let queue = peaceful().queue("gone", &[]);
    let proxy = Proxy::before(peaceful().port()).await;
    // A minute for each delivery: only the missing signs of life end it.
    let sink = sink_to(proxy.port(), &queue);
    delivered(&sink, [leased(1, "a")].into()).await;
    proxy.set(Answers::Dead);
    let why = super::super::deliveries::busy(&sink.deliver([leased(2, "a")].into()).await);
    assert!(why.ends_with(": no sign of life for 20 s"), "{why}");
    proxy.cut();
    proxy.set(Answers::Pass);
    delivered(&sink, [leased(2, "a")].into()).await;
    assert_eq!(ids(peaceful().port(), &queue), ["a/1", "a/2"]);
}

#[tokio::test]
async fn nobody_there_uses_up_no_attempt() {
    let nobody = free_port();
    let why = obstacle(&sink_to(nobody, "q"), one()).await;
    assert_eq!(why, format!("amqp://127.0.0.1:{nobody}: no connection: connection refused"));
}
