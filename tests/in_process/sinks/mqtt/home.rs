//! Home Assistant: devices are made known before they tell anything, what lasts is retained and what happens is not, and availability says
//! whether there is a session.

use std::collections::{BTreeSet, HashSet};

use ringhookd::clock;
use ringhookd::domain::ids::UserId;
use serde_json::{Value, json};

use super::*;
use crate::support::account;
use crate::support::mosquitto::Message;
use crate::support::proxy::{Answers, Proxy};

fn home(port: u16) -> Mqtt {
    sink_of(at_home(options(port, "out")), ReceiverSecrets::default())
}

/// An event that came now.
fn now(seq: u64, kind: &str) -> Leased {
    let mut leased = leased(seq, "a");
    leased.event.kind = kind.into();
    leased.event.received_at = clock::now();
    leased
}

fn all(kinds: &[&str]) -> Arc<[Leased]> {
    (1..).zip(kinds).map(|(seq, kind)| now(seq, kind)).collect()
}

/// The last part of a topic, and for a discovery topic the object.
fn tail(message: &Message) -> &str {
    let topic = message.topic.strip_suffix("/config").unwrap_or(&message.topic);
    topic.rsplit('/').next().unwrap()
}

fn is_home(message: &Message) -> bool {
    message.topic.starts_with("homeassistant/")
}

fn is_availability(message: &Message) -> bool {
    message.topic.starts_with("homeassistant/ringhookd/availability/")
}

/// The words of availability, in their order.
fn availability(messages: &[Message]) -> Vec<String> {
    let words = messages.iter().filter(|message| is_availability(message));
    words.map(|message| message.payload.as_str().unwrap().to_owned()).collect()
}

/// Topics that hold something, and whether it is retained.
fn full(messages: &[Message]) -> BTreeSet<String> {
    assert!(messages.iter().all(|message| message.retain), "{messages:?}");
    let full = messages.iter().filter(|message| !is_availability(message));
    full.map(|message| message.topic.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_made_known_before_its_first_event_and_once() {
    let server = Mosquitto::open("");
    let sink = home(server.port());
    delivered(&sink, all(&["button_press", "button_press"])).await;
    let messages = server.until(8).await;
    let order: Vec<&str> = messages.iter().map(tail).collect();
    let availability = order[0];
    assert_eq!(
        order,
        [
            availability,
            "online",
            "doorbell",
            "button_press",
            "online",
            "doorbell",
            "button_press",
            "doorbell"
        ]
    );
    let (config, ring) = (&messages[2].payload, &messages[5].payload);
    assert_eq!(config["state_topic"], messages[5].topic);
    assert_eq!(config["availability_topic"], messages[0].topic);
    assert_eq!((&ring["event_type"], &ring["id"]), (&json!("ring"), &json!("a/1")));
    assert_eq!(messages[3].topic, "ringhookd/ann/door-1/button_press", "the event goes where it always goes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_gets_devices_states_and_availability_but_no_event() {
    let server = Mosquitto::open("");
    let sink = home(server.port());
    delivered(&sink, all(&["button_press", "motion_detected", "flood_detected", "co_exceeded"])).await;
    let retained = server.retained();
    assert_eq!(availability(&retained), ["online"]);
    let configs = retained.iter().filter(|message| message.topic.ends_with("/config"));
    let configs: BTreeSet<&str> = configs.map(tail).collect();
    let expected = ["co", "co_alarm", "doorbell", "flood", "motion", "motion_event", "online"];
    assert_eq!(configs, expected.into());
    let states = retained.iter().filter(|message| !message.topic.ends_with("/config"));
    let states: BTreeSet<&str> = states.filter(|message| !is_availability(message)).map(tail).collect();
    assert_eq!(states, ["co", "flood", "online"].into());
    assert!(retained.iter().all(|message| is_home(message) && message.retain), "{retained:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_kept_without_events_and_its_end_is_told_by_the_broker() {
    let mut server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    let sink = Arc::new(home(proxy.port()));
    let attending = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.attend().await }
    });
    server.until_so("online", |messages| availability(messages) == ["online"]).await;
    proxy.set(Answers::Dead);
    proxy.cut();
    server
        .until_so("the will", |messages| {
            availability(messages).starts_with(&["online".into(), "offline".into()])
        })
        .await;
    proxy.set(Answers::Pass);
    let last = |word: &'static str| {
        move |messages: &[Message]| availability(messages).last().is_some_and(|last| last == word)
    };
    server.until_so("online again", last("online")).await;
    server.broker.kill();
    server.again();
    // The subscriber may be later than the session: what is retained tells.
    let mut looks = 0;
    while availability(&server.retained()) != ["online"] {
        looks += 1;
        assert!(looks < 600, "{:?}", server.retained());
    }
    attending.abort();
    assert!(attending.await.unwrap_err().is_cancelled());
    drop(sink);
    server.until_so("offline at the end", last("offline")).await;
    assert_eq!(availability(&server.retained()), ["offline"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reconnect_a_device_is_made_known_again() {
    // It keeps nothing over its end.
    let mut server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    let sink = home(proxy.port());
    delivered(&sink, all(&["button_press"])).await;
    let before = full(&server.retained());
    proxy.set(Answers::Dead);
    server.broker.kill();
    proxy.cut();
    server.again();
    assert!(server.retained().is_empty());
    proxy.set(Answers::Pass);
    delivered(&sink, all(&["button_press"])).await;
    let retained = server.retained();
    assert_eq!(full(&retained), before);
    assert_eq!(availability(&retained), ["online"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_done_when_all_of_its_messages_are_acknowledged() {
    let server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    let sink = Arc::new(home(proxy.port()));
    delivered(&sink, all(&["device_added"])).await;
    let before = server.until_so("the state", |messages| messages.len() == 4).await.len();
    proxy.set(Answers::Lost);
    let delivery = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.deliver([now(2, "button_press"), now(3, "button_press")].into()).await }
    });
    // The broker has the discovery, whose acknowledgement is lost.
    server
        .until_so("the discovery", |messages| messages.iter().any(|message| tail(message) == "doorbell"))
        .await;
    proxy.cut();
    let verdicts = delivery.await.unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
    let so_far = server.messages();
    let pressed =
        |messages: &[Message]| messages.iter().filter(|message| message.payload["id"] == "a/2").count();
    assert_eq!(pressed(&so_far[before..]), 0, "nothing follows what is not acknowledged: {so_far:?}");
    proxy.set(Answers::Pass);
    delivered(&sink, [now(2, "button_press"), now(3, "button_press")].into()).await;
    let both = |messages: &[Message]| {
        pressed(messages) == 2
            && messages.iter().any(|message| is_home(message) && message.payload["id"] == "a/3")
    };
    server.until_so("both", both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_last_message_is_not_acknowledged_comes_again() {
    let server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    let sink = Arc::new(home(proxy.port()));
    delivered(&sink, all(&["flood_cleared"])).await;
    server.until_so("the state", |messages| messages.iter().any(|m| m.payload == "OFF")).await;
    // The event's own message passes; of the state the broker's answer is lost.
    let delivery = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.deliver([now(2, "flood_detected")].into()).await }
    });
    proxy.set(Answers::Lost);
    server.until_so("the event", |messages| messages.iter().any(|m| m.payload["id"] == "a/2")).await;
    proxy.cut();
    let verdict = delivery.await.unwrap().remove(0);
    proxy.set(Answers::Pass);
    // Where all was acknowledged before the answers were lost it is done.
    if verdict != Verdict::Done {
        assert!(matches!(verdict, Verdict::Busy { .. }), "{verdict:?}");
        delivered(&sink, [now(2, "flood_detected")].into()).await;
    }
    let flood = server.retained().into_iter().find(|message| message.topic.ends_with("/flood"));
    assert_eq!(flood.unwrap().payload, "ON");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_removed_leaves_nothing_but_the_others() {
    let server = Mosquitto::open("");
    let sink = home(server.port());
    let of = |seq, device: &str, kind: &str| {
        let mut leased = now(seq, kind);
        leased.event.device = DeviceId::new(device).ok();
        leased
    };
    delivered(&sink, [of(1, "garden", "motion_detected"), of(2, "garden", "tamper_detected")].into()).await;
    let garden = full(&server.retained());
    delivered(&sink, [of(3, "door", "button_press"), of(4, "door", "co_exceeded")].into()).await;
    assert_eq!(full(&server.retained()).len(), garden.len() + 4 + 3 - 1);
    delivered(&sink, [of(5, "door", "device_removed")].into()).await;
    assert_eq!(full(&server.retained()), garden);
    // Also one that this daemon has never told of, such as after a restart.
    delivered(&home(server.port()), [of(6, "garden", "device_removed")].into()).await;
    assert!(full(&server.retained()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_app_takes_the_devices_of_its_account_with_it() {
    let server = Mosquitto::open("");
    let sink = home(server.port());
    let of = |seq, account_id: &str| {
        let mut leased = now(seq, "button_press");
        leased.event.account = Some(account(account_id));
        leased
    };
    delivered(&sink, [of(1, "b")].into()).await;
    let others = full(&server.retained());
    delivered(&sink, [of(2, "a")].into()).await;
    let mut removed = now(3, "app_integration_removed");
    removed.event.device = None;
    delivered(&sink, [removed].into()).await;
    assert_eq!(full(&server.retained()), others);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ids_and_other_users_have_devices_of_their_own() {
    let server = Mosquitto::open("");
    let sink = home(server.port());
    let hostile = ["+", "#", "a/b", "$SYS", "-", "..", "\u{1f514}", "config", &"\u{20ac}/".repeat(128)];
    let events = hostile.into_iter().flat_map(|id| {
        ["ann", "bob"].map(|name| {
            let mut leased = now(1, "button_press");
            leased.event.device = DeviceId::new(id).ok();
            leased.event.user = UserId::new(name).ok();
            leased
        })
    });
    let events: Arc<[Leased]> = (1..).zip(events).map(|(seq, leased)| Leased { seq, ..leased }).collect();
    let count = events.len();
    assert_eq!(sink.deliver(events).await, vec![Verdict::Done; count]);
    let retained = server.retained();
    let configs: Vec<&Message> =
        retained.iter().filter(|message| message.topic.ends_with("/doorbell/config")).collect();
    let each = |of: fn(&Value) -> &Value| {
        configs.iter().map(|config| of(&config.payload).to_string()).collect::<HashSet<_>>()
    };
    assert_eq!(configs.len(), count);
    for distinct in [
        each(|config| &config["unique_id"]),
        each(|config| &config["state_topic"]),
        each(|config| &config["device"]["identifiers"]),
    ] {
        assert_eq!(distinct.len(), count);
    }
    assert_eq!(each(|config| &config["device"]["serial_number"]).len(), hostile.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_does_not_do_for_it_says_so() {
    let server = Mosquitto::open("retain_available false");
    let why = busy(&home(server.port()).deliver(one()).await);
    assert!(
        why.ends_with(": the broker refuses the session: retained messages are not supported (0x9A)"),
        "{why}"
    );
    assert_eq!(sink(server.port()).deliver(one()).await, [Verdict::Done]);
    let acl = "topic readwrite ringhookd/#\ntopic readwrite probe\n";
    let strict = |port| {
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file FOLDER/acl\nmax_inflight_messages 0\n"
        )
    };
    let server = Mosquitto::start(strict, &[("acl", acl)], &[]);
    let why = busy(&home(server.port()).deliver(one()).await);
    assert!(
        why.contains("not authorized")
            && why.contains("allowed to publish to homeassistant/ringhookd/availability/"),
        "{why}"
    );
    assert_eq!(sink(server.port()).deliver(one()).await, [Verdict::Done]);
}
