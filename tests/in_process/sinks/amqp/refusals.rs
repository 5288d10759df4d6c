//! Events that the broker does not take: no exchange, no queue, no room, too large.

use ringhookd::domain::ids::UserId;

use super::client::Field;
use super::server::MOST_BODY;
use super::*;

fn of_user(seq: u64, account: &str, user: &str) -> Leased {
    let mut leased = leased(seq, account);
    leased.event.user = UserId::new(user).ok();
    leased
}

fn failed(verdict: &Verdict) -> &str {
    let Verdict::Failed { why } = verdict else { panic!("{verdict:?}") };
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_reaches_no_queue_fails_with_the_brokers_words_until_there_is_one() {
    let queue = unique("unbound");
    let sink = sink_to(peaceful().port(), &queue);
    let verdicts = answered(&sink, one()).await;
    assert_eq!(
        failed(&verdicts[0]),
        format!(
            "amqp://127.0.0.1:{}: the broker returned it: 312 NO_ROUTE (exchange amq.topic, routing key {queue}.ann.-.button_press)",
            peaceful().port()
        )
    );
    let mut client = peaceful().client();
    client.queue(&queue, true, &[]);
    client.bind(&queue, "amq.topic", &format!("{queue}.#"));
    delivered(&sink, one()).await;
    assert_eq!(ids(peaceful().port(), &queue), ["a/7"]);
}

/// Those that come back and those that are taken are told apart, though all are under way at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_only_those_without_a_queue_fail() {
    let name = unique("half");
    let mut client = peaceful().client();
    client.queue(&name, true, &[]);
    client.bind(&name, "amq.topic", &format!("{name}.ann.#"));
    let sink = sink_to(peaceful().port(), &name);
    let user = |n: u64| if n.is_multiple_of(2) { "ann" } else { "bob" };
    let events: Arc<[Leased]> = (0..16).map(|n| of_user(n, &format!("account-{n}"), user(n))).collect();
    let verdicts = answered(&sink, events).await;
    for (n, verdict) in verdicts.iter().enumerate() {
        if n % 2 == 0 {
            assert_eq!(*verdict, Verdict::Done, "{n}");
        } else {
            assert!(failed(verdict).contains("312 NO_ROUTE"), "{n}");
        }
    }
    let ids: std::collections::BTreeSet<_> = ids(peaceful().port(), &name).into_iter().collect();
    assert_eq!(ids.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_missing_for_all_uses_up_no_attempt() {
    let mut options = options(peaceful().port());
    options.exchange = Some(template("of-nobody"));
    let why = obstacle(&sink_of(options, ReceiverSecrets::default()), one()).await;
    assert!(
        why.contains(": the broker closed the channel: 404 NOT_FOUND - no exchange 'of-nobody' in vhost '/'"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_missing_for_one_user_fails_that_users_events_alone() {
    let name = unique("users");
    let mut client = peaceful().client();
    client.exchange(&format!("{name}-ann"));
    client.queue(&name, true, &[]);
    client.bind(&name, &format!("{name}-ann"), "#");
    let mut options = options(peaceful().port());
    options.exchange = Some(template(&format!("{name}-{{user}}")));
    let sink = sink_of(options, ReceiverSecrets::default());
    let events = [of_user(1, "a", "bob"), of_user(2, "b", "ann"), of_user(3, "a", "bob")];
    let verdicts = answered(&sink, events.into()).await;
    assert!(failed(&verdicts[0]).contains(&format!("no exchange '{name}-bob'")), "{verdicts:?}");
    // Whether it was confirmed before the channel was closed is no matter.
    assert!(matches!(verdicts[1], Verdict::Done | Verdict::Busy { .. }), "{verdicts:?}");
    assert!(matches!(verdicts[2], Verdict::Busy { .. } | Verdict::Untried), "{verdicts:?}");
    delivered(&sink, [of_user(2, "b", "ann")].into()).await;
    assert!(ids(peaceful().port(), &name).iter().all(|id| id == "b/2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_full_is_a_failed_attempt_and_takes_the_event_once_it_has_room() {
    let arguments = [("x-max-length", Field::Number(1)), ("x-overflow", Field::Text("reject-publish"))];
    let queue = peaceful().queue("full", &arguments);
    let sink = sink_to(peaceful().port(), &queue);
    delivered(&sink, [leased(1, "a")].into()).await;
    let next: Arc<[Leased]> = [leased(2, "a")].into();
    // A queue notices that it is full a moment after it has taken the last.
    let mut looks = 0;
    let verdicts = loop {
        let verdicts = answered(&sink, Arc::clone(&next)).await;
        if verdicts != [Verdict::Done] {
            break verdicts;
        }
        looks += 1;
        assert!(looks < 100, "it takes more than one");
    };
    assert!(failed(&verdicts[0]).contains("the broker rejects it (basic.nack)"), "{verdicts:?}");
    peaceful().client().purge(&queue);
    delivered(&sink, next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_of_all_accounts_uses_up_no_attempt() {
    let arguments = [("x-max-length", Field::Number(0)), ("x-overflow", Field::Text("reject-publish"))];
    let queue = peaceful().queue("shut", &arguments);
    let sink = sink_to(peaceful().port(), &queue);
    let verdicts = answered(&sink, [leased(1, "a"), leased(1, "b")].into()).await;
    let is_busy = |verdict: &Verdict| matches!(verdict, Verdict::Busy { why, .. } if why.contains("no event is to blame"));
    assert!(verdicts.iter().all(is_busy), "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_for_the_broker_is_refused_and_others_go_on() {
    let queue = peaceful().queue("large", &[]);
    let sink = sink_to(peaceful().port(), &queue);
    let mut large = leased(1, "a");
    large.event.body = format!("\"{}\"", "x".repeat(MOST_BODY)).into();
    // Another that is under way when the channel is closed is told to come again, and may end the round before the large one's turn.
    let mut looks = 0;
    let verdicts = loop {
        let verdicts = answered(&sink, [large.clone(), leased(2, "a"), leased(3, "b")].into()).await;
        if matches!(verdicts[0], Verdict::Refused { .. }) {
            break verdicts;
        }
        looks += 1;
        assert!(looks < 100, "{verdicts:?}");
    };
    let Verdict::Refused { why } = &verdicts[0] else { panic!("{verdicts:?}") };
    assert!(
        why.contains("406 PRECONDITION_FAILED - message size") && why.contains(&MOST_BODY.to_string()),
        "{why}"
    );
    delivered(&sink, [leased(2, "a"), leased(3, "b")].into()).await;
    let ids = ids(peaceful().port(), &queue);
    assert!(ids.contains(&"a/2".to_owned()) && ids.contains(&"b/3".to_owned()), "{ids:?}");
    assert!(!ids.contains(&"a/1".to_owned()), "{ids:?}");
}
