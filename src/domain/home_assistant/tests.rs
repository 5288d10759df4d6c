//! Each of Ring's events becomes the messages that Home Assistant understands, once, in order, and of the right device.

mod removals;
mod schema;

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::envelope;
use crate::domain::marks::Marks;
use crate::domain::time::Millis;

const NOW: Millis = Millis(1_800_000_000_000);

fn discovery() -> Discovery {
    Discovery::new("homeassistant", "ringhookd-home")
}

/// One of Ring's events as intake makes it of a body, received now.
fn event_of(body: &[u8]) -> Event {
    let read = envelope::parse(body).unwrap();
    Event {
        key: read.request_id.unwrap(),
        kind: read.kind,
        sub_kind: read.sub_kind,
        device: read.device,
        account: read.account,
        user: UserId::new("ann").ok(),
        received_at: NOW,
        time: read.happened_at,
        marks: Marks::default(),
        body: body.to_vec().into(),
    }
}

fn fixture(name: &str) -> Event {
    let file = format!("{}/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    event_of(&std::fs::read(file).unwrap())
}

/// An event of a device of Ann's, which happened so many seconds ago.
fn event(kind: &str, ago: u64) -> Event {
    Event {
        key: "key".into(),
        kind: kind.into(),
        sub_kind: None,
        device: DeviceId::new("door").ok(),
        account: AccountId::new("account").ok(),
        user: UserId::new("ann").ok(),
        received_at: NOW,
        time: Some(NOW.minus(Duration::from_secs(ago))),
        marks: Marks::default(),
        body: "{}".into(),
    }
}

/// Plans as after all before it was told.
fn tell(announced: &mut Announced, event: &Event) -> Plan {
    let plan = announced.plan(&discovery(), event, NOW);
    announced.told(plan.clone());
    plan
}

/// The entities that are made known, by their component and object.
fn made_known(plan: &Plan) -> Vec<String> {
    plan.before.iter().for_each(schema::check);
    let name = |message: &Message| {
        let parts: Vec<&str> = message.topic.split('/').collect();
        format!("{}/{}", parts[1], parts[3])
    };
    plan.before.iter().map(name).collect()
}

/// The states that are told, each with `R` where it is retained.
fn states(plan: &Plan) -> Vec<(String, String, &'static str)> {
    let state = |message: &Message| {
        let [_, "ringhookd", _, aspect] = message.topic.split('/').collect::<Vec<_>>()[..] else {
            panic!("{message:?}")
        };
        (aspect.to_owned(), message.payload.clone(), if message.retain { "R" } else { "" })
    };
    plan.after.iter().map(state).collect()
}

/// The entities and the states of an event: an aspect, its payload with `*` for anything, and `R` where it is retained.
type Expected = (Vec<&'static str>, Vec<(&'static str, &'static str, &'static str)>);

const THERE: (&str, &str, &str) = ("online", "ON", "R");
const ONLINE: &str = "binary_sensor/online";

/// Of the aspect of this name.
fn binary(entity: &'static str, on: &'static str) -> Expected {
    let (_, name) = entity.split_once('/').unwrap();
    (vec![ONLINE, entity], vec![THERE, (name, on, "R")])
}

fn reading(alarm: &'static str, entity: &'static str, state: &'static str) -> Expected {
    let (_, name) = entity.split_once('/').unwrap();
    (vec![ONLINE, alarm, entity], vec![THERE, (name, state, "R")])
}

fn motion(state: &'static str) -> Expected {
    (vec![ONLINE, "event/motion_event", "binary_sensor/motion"], vec![THERE, ("motion", state, "")])
}

fn ring(state: &'static str) -> Expected {
    (vec![ONLINE, "event/doorbell"], vec![THERE, ("doorbell", state, "")])
}

fn online(on: &'static str) -> Expected {
    (vec![ONLINE], vec![("online", on, "R")])
}

/// One of each of Ring's events, by the name of its fixture.
fn each_of_rings_events() -> Vec<(&'static str, Expected)> {
    let temperature = |state| reading("binary_sensor/temperature_alarm", "sensor/temperature", state);
    let humidity = |state| reading("binary_sensor/humidity_alarm", "sensor/humidity", state);
    let pm25 = |state| reading("binary_sensor/pm25_alarm", "sensor/pm25", state);
    let co = |state| reading("binary_sensor/co_alarm", "sensor/co", state);
    let nothing = || (Vec::new(), Vec::new());
    vec![
        (
            "button_press",
            ring(
                r#"{"event_type":"ring","id":"f77323c6-e525-54a6-b557-fd7499ba5e86","time":"2026-01-01T00:00:00.123Z"}"#,
            ),
        ),
        ("button_press_v1_0", ring(r#"{"event_type":"ring","id":"*","time":"2026-01-01T00:00:00.123Z"}"#)),
        (
            "motion_detected",
            motion(r#"{"event_type":"human","id":"*","sub_type":"human","time":"2026-01-01T00:00:00.123Z"}"#),
        ),
        (
            "motion_detected_attribute",
            motion(
                r#"{"event_type":"vehicle","id":"*","sub_type":"vehicle","time":"2026-01-01T00:00:00.123Z"}"#,
            ),
        ),
        (
            "motion_detected_multi_camera",
            motion(
                r#"{"event_type":"motion","id":"*","sub_type":"motion","time":"2026-01-01T00:00:00.123Z"}"#,
            ),
        ),
        (
            "motion_detected_v1_0",
            motion(
                r#"{"event_type":"motion","id":"*","sub_type":"motion","time":"2026-01-01T00:00:00.123Z"}"#,
            ),
        ),
        ("device_added", online("ON")),
        ("device_online", online("ON")),
        ("device_offline", online("OFF")),
        ("contact_sensor_faulted", binary("binary_sensor/contact", "ON")),
        ("contact_sensor_cleared", binary("binary_sensor/contact", "OFF")),
        ("tamper_detected", binary("binary_sensor/tamper", "ON")),
        ("tamper_cleared", binary("binary_sensor/tamper", "OFF")),
        ("flood_detected", binary("binary_sensor/flood", "ON")),
        ("flood_cleared", binary("binary_sensor/flood", "OFF")),
        ("freeze_detected", binary("binary_sensor/freeze", "ON")),
        ("freeze_cleared", binary("binary_sensor/freeze", "OFF")),
        ("temperature_exceeded", temperature(r#"{"state":"ON","value":41.5}"#)),
        ("temperature_cleared", temperature(r#"{"state":"OFF","value":*}"#)),
        ("humidity_exceeded", humidity(r#"{"state":"ON","value":*}"#)),
        ("humidity_cleared", humidity(r#"{"state":"OFF","value":12}"#)),
        ("pm25_exceeded", pm25(r#"{"state":"ON","value":151}"#)),
        ("pm25_cleared", pm25(r#"{"state":"OFF","value":*}"#)),
        ("co_exceeded", co(r#"{"state":"ON","value":70}"#)),
        ("co_cleared", co(r#"{"state":"OFF","value":*}"#)),
        ("app_integration_added", nothing()),
        ("app_integration_removed", nothing()),
        ("subscription_activated", nothing()),
        ("subscription_deactivated", nothing()),
    ]
}

#[test]
fn each_of_rings_events_becomes_its_entities_and_states() {
    let cases = each_of_rings_events();
    // Its own test has the last one.
    let tried: HashSet<&str> = cases.iter().map(|(name, _)| *name).chain(["device_removed"]).collect();
    for (name, (entities, expected)) in cases {
        let plan = tell(&mut Announced::default(), &fixture(name));
        assert_eq!(made_known(&plan), entities, "{name}");
        let told = states(&plan);
        assert_eq!(told.len(), expected.len(), "{name}: {told:?}");
        for (told, (aspect, payload, retained)) in told.iter().zip(expected) {
            assert_eq!((told.0.as_str(), told.2), (aspect, retained), "{name}");
            let (begins, ends) = payload.split_once('*').unwrap_or((payload, ""));
            assert!(told.1.starts_with(begins) && told.1.ends_with(ends), "{name}: {}", told.1);
            assert!(payload.contains('*') || told.1 == payload, "{name}: {}", told.1);
        }
    }
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/events")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.split('.').next().unwrap();
        assert!(tried.contains(name), "{name} is not tried");
    }
}

#[test]
fn a_device_is_made_known_once_and_again_where_that_was_not_told() {
    let mut announced = Announced::default();
    let press = event("button_press", 0);
    assert_eq!(announced.plan(&discovery(), &press, NOW).before.len(), 2);
    assert_eq!(tell(&mut announced, &press).before.len(), 2, "what was planned was not told");
    let again = tell(&mut announced, &press);
    assert!(again.before.is_empty());
    assert_eq!(states(&again).len(), 1, "each press is told, and that it is online only once");
    assert_eq!(made_known(&tell(&mut announced, &event("motion_detected", 0))).len(), 2);
    assert_eq!(made_known(&tell(&mut Announced::default(), &press)).len(), 2, "over another connection");
}

#[test]
fn a_device_has_a_short_name_and_its_own_id_beside_it() {
    let plan = tell(&mut Announced::default(), &fixture("button_press"));
    let config: Value = serde_json::from_str(&plan.before[1].payload).unwrap();
    let device = &config["device"];
    let name = device["name"].as_str().unwrap();
    assert!(name.starts_with("Ring ") && name.len() == 11, "{name}");
    assert!(device["serial_number"].as_str().unwrap().starts_with("ava1.ring.device."));
    assert_eq!(config["availability_topic"], discovery().availability());
    // It must stay what it is: Home Assistant would take a device under another id for another device.
    assert_eq!(device["identifiers"][0], "ringhookd_b0324542b9d78ee7dad9676b73089f81");
}

#[test]
fn an_unknown_motion_is_another_motion_with_its_own_name() {
    let mut announced = Announced::default();
    let mut motion = event("motion_detected", 0);
    let told = |announced: &mut Announced, motion: &Event| {
        let (_, payload, retained) = states(&tell(announced, motion)).pop().unwrap();
        assert_eq!(retained, "");
        serde_json::from_str::<Value>(&payload).unwrap()
    };
    assert_eq!(told(&mut announced, &motion)["event_type"], "motion");
    for sub_kind in ["raccoon", "\"}{{ 1 }}", "Human", ""] {
        motion.sub_kind = Some(sub_kind.to_owned());
        let payload = told(&mut announced, &motion);
        assert_eq!(
            (&payload["event_type"], &payload["sub_type"]),
            (&json!("other_motion"), &json!(sub_kind))
        );
    }
    for known in aspect::MOTIONS {
        motion.sub_kind = Some(known.to_owned());
        assert_eq!(told(&mut announced, &motion)["event_type"], known);
    }
}

#[test]
fn what_is_not_known_shows_that_the_device_is_there() {
    let mut announced = Announced::default();
    let plan = tell(&mut announced, &event("light_turned_on", 0));
    assert_eq!((made_known(&plan).len(), states(&plan).len()), (1, 1));
    let own = Event::of_link("k".into(), "linked", AccountId::new("a").unwrap(), None, None, NOW);
    let without = Event { device: None, ..event("button_press", 0) };
    for nothing in [own, without] {
        let plan = tell(&mut announced, &nothing);
        assert!(plan.before.is_empty() && plan.after.is_empty(), "{nothing:?}");
    }
}

#[test]
fn a_reading_that_is_no_number_is_not_known() {
    for body in ["", "{}", r#"{"data":{"attributes":{"temperature":"41"}}}"#, "[1]"] {
        let event = Event { body: body.into(), ..event("temperature_exceeded", 0) };
        let told = states(&tell(&mut Announced::default(), &event));
        assert_eq!(told[1].1, r#"{"state":"ON","value":null}"#);
    }
}

#[test]
fn what_has_waited_is_no_news_but_a_state_is_a_state() {
    let late = |kind| Event { received_at: NOW.minus(Duration::from_mins(6)), ..event(kind, 360) };
    let mut announced = Announced::default();
    for kind in ["button_press", "motion_detected"] {
        let plan = tell(&mut announced, &late(kind));
        assert!(!made_known(&plan).is_empty());
        assert!(states(&plan).iter().all(|(aspect, ..)| aspect == "online"), "no bell rings for {kind}");
    }
    assert_eq!(states(&tell(&mut announced, &late("flood_detected")))[0].0, "flood");
    let waited = Event { received_at: NOW.minus(Duration::from_mins(5)), ..event("button_press", 300) };
    assert_eq!(states(&tell(&mut announced, &waited)).len(), 1);
}

#[test]
fn of_two_states_the_later_one_stays_in_whichever_order_they_come() {
    let mut announced = Announced::default();
    let mut told = |kind, ago| states(&tell(&mut announced, &event(kind, ago)));
    assert_eq!(told("flood_cleared", 10).len(), 2);
    assert!(told("flood_detected", 20).is_empty(), "that was before");
    assert_eq!(told("flood_cleared", 10), [("flood".into(), "OFF".into(), "R")], "it came twice");
    assert_eq!(told("flood_detected", 5), [("flood".into(), "ON".into(), "R")]);
    assert_eq!(told("device_offline", 4), [("online".into(), "OFF".into(), "R")]);
    assert_eq!(told("motion_detected", 6).len(), 1, "what was before does not bring it online");
    assert_eq!(told("motion_detected", 3)[0], ("online".into(), "ON".into(), "R"));
    assert!(told("device_offline", 4).is_empty());
}

#[test]
fn no_two_users_accounts_or_devices_share_anything() {
    let mut topics = HashSet::new();
    let mut count = 0;
    for user in [None, Some("-"), Some("ann"), Some("annb"), Some("a")] {
        for account in [None, Some("-"), Some("b"), Some("bc"), Some("nnb")] {
            for device in ["c", "bc", "-", "a/b", "+", "#", "$SYS", "\u{1f514}", &"d".repeat(512)] {
                let event = Event {
                    user: user.map(|id| UserId::new(id).unwrap()),
                    account: account.map(|id| AccountId::new(id).unwrap()),
                    device: DeviceId::new(device).ok(),
                    ..event("temperature_exceeded", 0)
                };
                let plan = tell(&mut Announced::default(), &event);
                for message in plan.before.iter().chain(&plan.after) {
                    count += 1;
                    topics.insert(message.topic.clone());
                    let fits = |c: char| c.is_ascii_alphanumeric() || "/_".contains(c);
                    assert!(message.topic.chars().all(fits), "{}", message.topic);
                }
                made_known(&plan);
            }
        }
    }
    assert_eq!(topics.len(), count);
    let (one, other) = (Discovery::new("p", "client-1"), Discovery::new("p", "client-2"));
    assert_ne!(one.availability(), other.availability());
}

#[test]
fn memory_is_bounded_and_more_devices_are_only_told_again() {
    let mut announced = Announced::default();
    let of = |n: u32| Event { device: DeviceId::new(&format!("d{n}")).ok(), ..event("button_press", 0) };
    for n in 0..5_000 {
        assert_eq!(tell(&mut announced, &of(n)).before.len(), 2);
        assert!(announced.devices.len() <= 4096);
    }
    assert!(tell(&mut announced, &of(4_999)).before.is_empty());
    assert_eq!(tell(&mut announced, &of(0)).before.len(), 2);
}

proptest! {
    #[test]
    fn whatever_ring_sends_becomes_messages_that_home_assistant_takes(
        kind in "[a-z_]{1,20}|button_press|motion_detected|co_exceeded|device_removed|app_integration_removed",
        sub_kind in prop::option::of("\\PC{0,20}"),
        device in "\\PC{1,40}",
        account in prop::option::of("\\PC{1,40}"),
        body in "\\PC{0,60}",
    ) {
        let event = Event {
            sub_kind,
            device: DeviceId::new(&device).ok(),
            account: account.and_then(|id| AccountId::new(&id).ok()),
            body: body.into(),
            ..event(&kind, 0)
        };
        let mut plan = tell(&mut Announced::default(), &event);
        made_known(&plan);
        plan.after.retain(|message| !message.payload.is_empty());
        for (aspect, payload, retained) in states(&plan) {
            let moment = aspect == "doorbell" || aspect == "motion";
            prop_assert_eq!(retained.is_empty(), moment);
            if moment {
                prop_assert!(serde_json::from_str::<Value>(&payload).unwrap()["event_type"].is_string());
            }
        }
    }
}
