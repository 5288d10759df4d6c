//! What is lenient, what is an anomaly, and that no body panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const MOTION: &[u8] = include_bytes!("../../../fixtures/events/motion_detected.json");
const SUBSCRIPTION: &[u8] = include_bytes!("../../../fixtures/events/subscription_activated.json");

fn read(json: &serde_json::Value) -> Envelope {
    parse(json.to_string().as_bytes()).unwrap()
}

fn anomaly(json: &str) -> Anomaly {
    parse(json.as_bytes()).unwrap_err()
}

#[test]
fn the_least_that_is_an_event_is_a_type() {
    let event = read(&json!({"data": {"type": "new_in_2030"}}));
    assert_eq!(event.kind, "new_in_2030");
    assert!(event.oddities.is_empty() && event.account.is_none() && event.device.is_none());
}

#[test]
fn unknown_fields_newer_versions_and_null_are_fine() {
    let event = read(&json!({
        "more": [1], "meta": {"version": 2.5, "request_id": null, "account_id": null, "x": {}},
        "data": {"type": "button_press", "id": 18_446_744_073_709_551_615_u64, "attributes": null},
    }));
    assert!(event.oddities.is_empty() && event.request_id.is_none() && event.account.is_none());
}

#[test]
fn a_number_keeps_all_its_digits() {
    let body = br#"{"meta":{"request_id":123456789012345678901234567890},"data":{"type":"t"}}"#;
    assert_eq!(parse(body).unwrap().request_id.as_deref(), Some("123456789012345678901234567890"));
}

#[test]
fn what_is_no_event_says_why() {
    let deep = "[".repeat(1_000_000);
    for (text, expected) in [
        ("", Anomaly::NotJson),
        ("1700000000000:ava1.ring.account.X", Anomaly::NotJson),
        (r#"{"data":{"type":"t"}} x"#, Anomaly::NotJson),
        (r#"{"data":{"type":"t"}"#, Anomaly::NotJson),
        (r#"{"\ud800":1,"data":{"type":"t"}}"#, Anomaly::NotJson),
        (deep.as_str(), Anomaly::NotJson),
        ("\u{feff}{}", Anomaly::NotJson),
        ("null", Anomaly::NotAnObject),
        ("17", Anomaly::NotAnObject),
        (r#"[{},{"type":"t"}]"#, Anomaly::NotAnObject),
        ("{}", Anomaly::NoType),
        (r#"{"data":[{"type":"t"}]}"#, Anomaly::NoType),
        (r#"{"data":{"type":7}}"#, Anomaly::NoType),
        (r#"{"data":{"type":""}}"#, Anomaly::NoType),
        (r#"{"data":{"type":"a\u0000b"}}"#, Anomaly::NoType),
        (r#"{"data":{"type":"\ud800"}}"#, Anomaly::NoType),
        (&json!({"data": {"type": "t".repeat(MAX_KIND_BYTES + 1)}}).to_string(), Anomaly::NoType),
    ] {
        assert_eq!(anomaly(text), expected, "{}", &text[..text.len().min(60)]);
    }
    assert_eq!(parse(b"{\"data\":{\"type\":\"\xff\"}}"), Err(Anomaly::NotJson));
}

#[test]
fn a_key_that_is_there_twice_is_an_anomaly_wherever_we_read() {
    for text in [
        r#"{"data":{"type":"t"},"data":{"type":"t"}}"#,
        r#"{"data":{"type":"t"},"d\u0061ta":{"type":"t"}}"#,
        r#"{"data":{"type":"t"},"x":1,"x":1}"#,
        r#"{"meta":{"account_id":"a","account_id":"b"},"data":{"type":"t"}}"#,
        r#"{"meta":{"account_id":"a","account_\u0069d":null},"data":{"type":"t"}}"#,
        r#"{"data":{"type":"t","type":"u"}}"#,
        r#"{"data":{"type":"t","attributes":{"source":"a","source":"b"}}}"#,
        r#"{"data":{"type":"t","relationships":{"devices":{},"devices":{}}}}"#,
        r#"{"data":{"type":"t","relationships":{"devices":{"data":[],"data":[]}}}}"#,
        r#"{"data":{"type":"t","relationships":{"devices":{"data":[{"id":"a","id":"b"}]}}}}"#,
    ] {
        assert_eq!(anomaly(text), Anomaly::DuplicateKey, "{text}");
    }
    let elsewhere = r#"{"data":{"type":"t","attributes":{"zones":{"a":1,"a":2}}}}"#;
    assert!(parse(elsewhere.as_bytes()).is_ok());
}

#[test]
fn an_account_that_cannot_be_one_is_never_guessed() {
    let long = "a".repeat(MAX_ID_BYTES + 1);
    for bad in [json!(""), json!(7), json!(true), json!([]), json!({}), json!("a\nb"), json!(long)] {
        let body = json!({
            "meta": {"account_id": bad},
            "data": {"type": "app_integration_added", "attributes": {"source": "a", "source_type": "users"}},
        });
        assert_eq!(anomaly(&body.to_string()), Anomaly::BadAccount, "{bad}");
    }
}

#[test]
fn a_wrong_type_is_read_as_missing_and_noted() {
    let list = json!([1]);
    let event = read(&json!({
        "meta": {"version": list, "time": "yesterday", "request_id": "a\u{7f}b"},
        "data": {"type": "t", "id": {}, "subType": false,
            "attributes": {"source": 1.5, "source_type": list, "timestamp": -1, "sub_type": "human"},
            "relationships": {"devices": {"data": "none"}}},
    }));
    let expected = "time,request_id,sub_type,source_type,timestamp,relationships";
    assert_eq!(event.oddities.to_string(), expected);
    assert_eq!(event.sub_kind.as_deref(), Some("human"));
    assert_eq!(event.request_id, None);
    assert_eq!((event.sent_at, event.happened_at), (None, None));
    for (meta, attributes) in [(json!("x"), json!({})), (json!({}), json!(3))] {
        let event = read(&json!({"meta": meta, "data": {"type": "t", "attributes": attributes}}));
        assert_eq!(event.oddities.iter().count(), 1);
    }
}

#[test]
fn request_ids_are_bounded() {
    for (bytes, taken) in [(0, false), (1, true), (MAX_ID_BYTES, true), (MAX_ID_BYTES + 1, false)] {
        let event = read(&json!({"meta": {"request_id": "r".repeat(bytes)}, "data": {"type": "t"}}));
        assert_eq!(event.request_id.is_some(), taken, "{bytes}");
        assert_eq!(event.oddities.contains(Oddity::RequestId), !taken, "{bytes}");
    }
}

#[test]
fn the_source_is_a_device_an_account_or_neither() {
    for (kind, source_type, device, account) in [
        ("motion_detected", Some("devices"), true, false),
        ("motion_detected", Some("device"), true, false),
        ("motion_detected", None, true, false),
        ("co_exceeded", None, true, false),
        ("contact_sensor_faulted", None, true, false),
        ("flood_cleared", None, true, false),
        ("device_removed", None, true, false),
        ("button_press", None, true, false),
        ("new_in_2030", Some("devices"), true, false),
        ("new_in_2030", None, false, false),
        ("motion_detected", Some("users"), false, false),
        ("app_integration_added", Some("users"), false, true),
        ("app_integration_removed", Some("accounts"), false, true),
        ("app_integration_removed", None, false, true),
        ("app_integration_added", Some("devices"), true, false),
        ("app_integration_added", Some("partners"), false, false),
        ("subscription_activated", Some("subscriptions"), false, false),
        ("subscription_activated", None, false, false),
    ] {
        let attributes = json!({"source": "s", "source_type": source_type});
        let event = read(&json!({"data": {"type": kind, "attributes": attributes}}));
        let found = (event.device.is_some(), event.account.is_some());
        assert_eq!(found, (device, account), "{kind} {source_type:?}");
        assert!(event.oddities.is_empty());
    }
}

#[test]
fn the_account_in_meta_counts_more_than_the_source() {
    let attributes = json!({"source": "b", "source_type": "users"});
    let body = |account| json!({"meta": {"account_id": account}, "data": {"type": "app_integration_removed", "attributes": attributes}});
    let other = read(&body("a"));
    assert_eq!(other.account.unwrap().as_str(), "a");
    assert!(other.oddities.contains(Oddity::OtherAccount));
    assert!(read(&body("b")).oddities.is_empty());
}

#[test]
fn related_devices_are_bounded_and_typed() {
    let related = |data: serde_json::Value| {
        read(
            &json!({"data": {"type": "subscription_activated", "relationships": {"devices": {"data": data}}}}),
        )
    };
    let mixed = related(json!([
        {"type": "device", "id": "a"}, {"id": 7}, {"type": "location", "id": "c"}, {"type": "devices"}, 5
    ]));
    let ids: Vec<_> = mixed.devices.iter().map(DeviceId::as_str).collect();
    assert_eq!((ids.as_slice(), mixed.oddities.to_string().as_str()), (&["a", "7"][..], "devices"));
    let full = related(json!(vec![json!({"id": "d"}); MAX_DEVICES]));
    assert!(full.devices.len() == MAX_DEVICES && full.oddities.is_empty());
    let more = related(json!(vec![json!({"id": "d"}); MAX_DEVICES + 1]));
    assert!(more.devices.len() == MAX_DEVICES && more.oddities.contains(Oddity::Devices));
}

#[test]
fn times_are_epoch_milliseconds() {
    let at = |time: &str, timestamp: serde_json::Value| {
        let event = read(
            &json!({"meta": {"time": time}, "data": {"type": "t", "attributes": {"timestamp": timestamp}}}),
        );
        (event.sent_at.map(|t| t.0), event.happened_at.map(|t| t.0))
    };
    assert_eq!(at("1970-01-01T00:00:01.123456789Z", json!(5)), (Some(1123), Some(5)));
    assert_eq!(at("1970-01-01T02:00:00+02:00", json!("6")), (Some(0), Some(6)));
    assert_eq!(at("1969-12-31T23:59:59Z", json!(1.5)), (None, None));
    assert_eq!(at("1970-01-01T00:00:01", json!(1e30)), (None, None));
}

#[test]
fn nesting_does_not_use_up_the_stack() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let body = format!(r#"{{"x":{deep},"data":{{"type":"t","attributes":{deep}}}}}"#);
    assert!(parse(body.as_bytes()).unwrap().oddities.contains(Oddity::Attributes));
}

/// Whatever was read obeys its bounds.
fn check(body: &[u8]) {
    let Ok(event) = parse(body) else { return };
    assert!(event.request_id.is_none_or(|id| is_plain(&id, MAX_ID_BYTES)));
    assert!(is_plain(&event.kind, MAX_KIND_BYTES));
    assert!(event.sub_kind.is_none_or(|t| is_plain(&t, MAX_KIND_BYTES)));
    assert!(event.devices.len() <= MAX_DEVICES);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..512)) {
        check(&body);
    }

    #[test]
    fn mutated_events_are_read_or_refused(
        subscription in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..8),
    ) {
        let mut body = if subscription { SUBSCRIPTION } else { MOTION }.to_vec();
        for (at, byte, how) in edits {
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        check(&body);
    }

    #[test]
    fn ids_come_through_as_they_are(id in "[^\\p{C}]{1,100}") {
        let event = read(&json!({"meta": {"request_id": id, "account_id": id}, "data": {"type": "t"}}));
        prop_assert_eq!(event.request_id.as_deref(), Some(id.as_str()));
        let account = event.account.unwrap();
        prop_assert_eq!(account.as_str(), id);
    }
}
