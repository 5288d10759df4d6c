//! CloudEvents as a reader of the line gets them, held against the specification.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::domain::marks::Marks;

const BODY: &[u8] = include_bytes!("../../../fixtures/events/motion_detected.json");

fn event(body: &[u8]) -> Event {
    Event {
        key: "b6343589-0674".into(),
        kind: "motion_detected".into(),
        sub_kind: Some("human".into()),
        device: Some(DeviceId::new("ava1.ring.device.X").unwrap()),
        account: Some(AccountId::new("ava1.ring.account.X").unwrap()),
        user: Some(UserId::new("user-7").unwrap()),
        received_at: Millis(1_700_000_000_123),
        time: Some(Millis(1_700_000_000_000)),
        marks: Marks::default(),
        body: Bytes::copy_from_slice(body),
    }
}

fn line(event: &Event) -> String {
    event.cloudevent(42, 1)
}

fn parsed(line: &str) -> Map<String, Value> {
    match serde_json::from_str(line).unwrap() {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

/// The body as a reader of the line gets it: from `data` as it stands there, but for the escapes of three ends of lines, or from
/// `data_base64`.
fn body_of(line: &str) -> Vec<u8> {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(line).unwrap();
    match (members.get("data"), members.get("data_base64")) {
        (Some(json), None) => {
            let ends = [("\\u0085", "\u{85}"), ("\\u2028", "\u{2028}"), ("\\u2029", "\u{2029}")];
            let raw = |text: String, (escape, end): (&str, &str)| text.replace(escape, end);
            ends.into_iter().fold(json.get().to_owned(), raw).into_bytes()
        }
        (None, Some(text)) => BASE64.decode(text.get().trim_matches('"').as_bytes()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The rules of CloudEvents 1.0.2 and its JSON format that our attributes can break.
fn check_specification(line: &str) {
    assert!(!line.contains(['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}']));
    assert!(!line.contains(['\u{85}', '\u{2028}', '\u{2029}']));
    let event = parsed(line);
    for required in ["specversion", "id", "source", "type"] {
        assert!(event[required].as_str().is_some_and(|t| !t.is_empty()), "{required}");
    }
    assert_eq!(event["specversion"], "1.0");
    assert!(event.contains_key("data") ^ event.contains_key("data_base64"));
    for (name, value) in &event {
        match name.as_str() {
            "data" => continue,
            "data_base64" => drop(BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()),
            "time" | "ringreceived" => {
                let text = value.as_str().unwrap();
                assert!(text.contains('T') && text.ends_with('Z'), "{text}");
                text.parse::<jiff::Timestamp>().unwrap();
            }
            _ => {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                assert!(name.len() <= 20 && name.chars().all(plain), "{name}");
            }
        }
        match value {
            Value::String(text) => {
                let empty_data = name == "data_base64" && text.is_empty();
                assert!(empty_data || !text.is_empty(), "{name}");
                assert!(text.chars().all(is_attribute_char), "{name}");
            }
            Value::Number(n) => {
                assert!(n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), "{name}");
            }
            _ => panic!("{name} is neither text nor number"),
        }
    }
}

#[test]
fn an_event_is_one_readable_line() {
    let line = line(&event(br#"{ "a" : 1.0 }"#));
    let expected = concat!(
        r#"{"specversion":"1.0","id":"b6343589-0674","source":"/ring","type":"com.ring.motion_detected","#,
        r#""subject":"ava1.ring.device.X","time":"2023-11-14T22:13:20Z","datacontenttype":"application/json","#,
        r#""ringaccount":"ava1.ring.account.X","ringtoken":"/v1/accounts/ava1.ring.account.X/token","#,
        r#""ringuser":"user-7","ringsubtype":"human","#,
        r#""ringsequence":"00000000000000000042","ringreceived":"2023-11-14T22:13:20.123Z","ringattempt":1,"#,
        r#""data":{ "a" : 1.0 }}"#,
    );
    assert_eq!(line, expected);
    check_specification(&line);
}

#[test]
fn what_is_unknown_is_left_out_and_what_is_too_large_is_cut() {
    let bare = Event {
        kind: String::new(),
        sub_kind: Some(String::new()),
        device: None,
        account: None,
        user: None,
        time: None,
        ..event(BODY)
    };
    let line = bare.cloudevent(u64::MAX, u32::MAX);
    check_specification(&line);
    let event = parsed(&line);
    for absent in ["subject", "time", "ringaccount", "ringuser", "ringsubtype", "ringmarks"] {
        assert!(!event.contains_key(absent), "{absent}");
    }
    assert_eq!(event["type"], "com.ring.unknown");
    assert_eq!(event["ringsequence"], u64::MAX.to_string());
    assert_eq!(event["ringattempt"], i32::MAX);
}

#[test]
fn marks_have_stable_names_and_bits() {
    let marks = Marks::from_iter([Mark::Conflict, Mark::Late]);
    let event = parsed(&line(&Event { marks, ..event(BODY) }));
    assert_eq!(event["ringmarks"], "late,conflict");
    let stored: Vec<_> = Mark::ALL.iter().map(|m| m.name()).collect();
    let expected = "late early conflict hashed-id no-account account-by-device held replayed own";
    assert_eq!(stored.join(" "), expected);
    assert_eq!(marks.bits(), 0b101);
}

#[test]
fn a_body_is_embedded_only_where_every_reader_can_take_it() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let table: &[(&[u8], &str, &str)] = &[
        (BODY, "data", "application/json"),
        (b"7", "data", "application/json"),
        (b"null", "data_base64", "application/json"),
        (br#""text""#, "data", "application/json"),
        (br#"{"a":1,"a":2}"#, "data", "application/json"),
        ("{\"\u{2028}\":\"\\u0000\\\\\u{85}\u{2029}\"}".as_bytes(), "data", "application/json"),
        (b"{\"a\":1}\n", "data_base64", "application/json"),
        (b"{\n\"a\":1}", "data_base64", "application/json"),
        (b"{\r\"a\":1}", "data_base64", "application/json"),
        (b" {}", "data_base64", "application/json"),
        (b"{} ", "data_base64", "application/json"),
        (br#"{"a":"\ud800"}"#, "data_base64", "application/json"),
        (br#"{"\udc00":1}"#, "data_base64", "application/json"),
        (b"[1e999]", "data_base64", "application/json"),
        (b"", "data_base64", "application/octet-stream"),
        (b"17:ava1.ring.account.X", "data_base64", "application/octet-stream"),
        (br#"1,"id":"x""#, "data_base64", "application/octet-stream"),
        (b"{}},{", "data_base64", "application/octet-stream"),
        (b"\"\xff\"", "data_base64", "application/octet-stream"),
        (b"\xef\xbb\xbf{}", "data_base64", "application/octet-stream"),
    ];
    let deep = nested(64);
    let deeper = nested(65);
    let bomb = nested(400_000);
    let nestings: [(&[u8], &str, &str); 3] = [
        (deep.as_bytes(), "data", "application/json"),
        (deeper.as_bytes(), "data_base64", "application/json"),
        (bomb.as_bytes(), "data_base64", "application/json"),
    ];
    for (body, member, content_type) in table.iter().chain(&nestings) {
        let line = line(&event(body));
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        check_specification(&line);
        assert!(parsed(&line).contains_key(*member), "{shown}");
        assert_eq!(parsed(&line)["datacontenttype"], *content_type, "{shown}");
        assert_eq!(body_of(&line), *body, "{shown}");
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z\"\\\\/{}\u{0}-\u{a0}\u{fdd0}\u{fffe}\u{10ffff}]{0,20}", "[!-~]{0,600}",]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[\\[\\]{}\",:0-9 \na-z]{0,30}".prop_map(String::into_bytes),
        text().prop_map(|t| serde_json::to_vec(&t).unwrap()),
        Just(BODY.to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_event_keeps_the_specification_and_its_body(
        id in "[^\u{0}]{1,50}",
        texts in (text(), text(), text(), text(), text()),
        numbers in (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u16>()),
        body in body(),
    ) {
        let account = AccountId::new(&texts.3).ok();
        let any = Event {
            key: id,
            kind: texts.0,
            sub_kind: Some(texts.1),
            device: DeviceId::new(&texts.2).ok(),
            account: account.clone(),
            user: UserId::new(&texts.4).ok(),
            received_at: Millis(numbers.2),
            time: Some(Millis(numbers.3)),
            marks: Marks::from_bits(numbers.4),
            body: body.clone().into(),
        };
        let line = any.cloudevent(numbers.0, numbers.1);
        check_specification(&line);
        prop_assert_eq!(body_of(&line), body);
        if let Some(account) = account.filter(|account| account.as_str().chars().all(is_attribute_char)) {
            prop_assert_eq!(&parsed(&line)["ringaccount"], account.as_str());
        }
    }
}
