//! What leaves the daemon is CloudEvents 1.0: every rule of the specification on attributes and of its JSON format, held
//! against every kind of event, and the rules themselves against lines that break them.

mod rules;

use std::fs;
use std::path::Path;

use self::rules::broken;
use ringhookd::domain::dedup::Identity;
use ringhookd::domain::envelope;
use ringhookd::domain::event::Event;
use ringhookd::domain::ids::{AccountId, UserId};
use ringhookd::domain::link::LinkState;
use ringhookd::domain::marks::Mark;
use ringhookd::domain::refresh::Health;
use ringhookd::domain::time::Millis;

const NOW: Millis = Millis(1_767_225_602_789);

/// What is made of a body that came signed.
fn of_ring(body: &[u8]) -> Event {
    let bytes = body.to_vec().into();
    match envelope::parse(body) {
        Ok(envelope) => {
            let (key, _) = Identity::of_event(&envelope, body);
            envelope.into_event(key, bytes, NOW)
        }
        Err(_) => Event::unread(Identity::of(None, body).0, bytes, NOW),
    }
}

/// Every documented event, as Ring signs it.
fn documented() -> Vec<(String, Event)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/events"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let bodies = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
    bodies.map(|path| (path.display().to_string(), of_ring(&fs::read(&path).unwrap()))).collect()
}

/// What nobody has documented.
fn odd() -> Vec<(String, Event)> {
    let bodies: [&[u8]; 11] = [
        b"",
        b"null",
        b"1767225602789:ava1.ring.account.X",
        b"\xff\xfe",
        br#"{"data":{"type":"Never Heard \u0007 OF","sub_type":"\ufdd0"}}"#,
        br#"{"meta":{"account_id":"a b/\"\\\u00e9%"},"data":{"type":"x"}}"#,
        br#"{"data":{"type":"x"},"data":{"type":"y"}}"#,
        br#"{"meta":{"request_id":"","time":"yesterday"},"data":{"type":"","attributes":{"source":7}}}"#,
        br#"{"meta":{"request_id":"r","time":"9999-12-31T23:59:59Z"},"data":{"type":"x"}}"#,
        br#"{"data":{"type":"x","attributes":{"timestamp":18446744073709551615}}}"#,
        b"{\n\"data\": {\"type\": \"x\"}}\n",
    ];
    bodies.iter().map(|body| (String::from_utf8_lossy(body).into(), of_ring(body))).collect()
}

/// Every one of our own, for every state that a link can be in.
fn own() -> Vec<(String, Event)> {
    let states = Health::ALL.iter().map(|health| health.as_str());
    let states = states.chain(LinkState::ALL.iter().map(|state| state.name()));
    // Links and tokens have states of one name; it is told of a link alone.
    let states: std::collections::BTreeSet<_> = states.collect();
    let events = states.into_iter().map(|state| {
        let account = AccountId::new("ava1.ring.account.X").unwrap();
        let (user, lapses_at) = (UserId::new("user-7"), Some(NOW));
        let event = Event::of_link(format!("link-{state}-1"), state, account, user.ok(), lapses_at, NOW);
        (state.to_owned(), event)
    });
    events.collect()
}

#[test]
fn every_event_keeps_every_rule() {
    let events = [documented(), odd(), own()];
    let counts = events.each_ref().map(Vec::len);
    assert!(counts[0] >= 30 && counts[2] >= 10, "{counts:?}");
    for (name, event) in events.into_iter().flatten() {
        let mut marked = event.clone();
        for &mark in Mark::ALL.iter().filter(|mark| **mark != Mark::Own) {
            marked.marks.insert(mark);
        }
        marked.user = UserId::new("user 7/\u{e9}").ok();
        marked.received_at = Millis(u64::MAX);
        for event in [event, marked] {
            for (sequence, attempt) in [(0, 1), (1 << 40, 3), (u64::MAX, u32::MAX)] {
                let line = event.cloudevent(sequence, attempt);
                assert_eq!(broken(&line), [""; 0], "{name}: {line}");
            }
        }
    }
}

#[test]
fn the_source_and_the_id_tell_every_two_events_apart() {
    let mut seen = std::collections::HashSet::new();
    for (name, event) in documented().into_iter().chain(own()) {
        let line: serde_json::Value = serde_json::from_str(&event.cloudevent(1, 1)).unwrap();
        assert!(seen.insert((line["source"].to_string(), line["id"].to_string())), "{name}");
    }
}

const GOOD: &str = r#""specversion":"1.0","id":"1","source":"/ring","type":"com.ring.x""#;

#[test]
fn the_rules_let_good_lines_pass() {
    for more in [
        "",
        r#","data":{"a":[1,null]},"datacontenttype":"application/json""#,
        r#","data_base64":"/w==","datacontenttype":"text/plain; charset=utf-8""#,
        r#","time":"2026-01-01T00:00:00Z""#,
        r#","time":"2024-02-29T23:59:60.5+05:30""#,
        r#","dataschema":"https://example.com/a?b#c""#,
        r#","subject":"a","ringattempt":-2147483648,"ringmarks":"late,early""#,
        r#","another1":true"#,
    ] {
        let line = format!("{{{GOOD}{more}}}");
        assert_eq!(broken(&line), [""; 0], "{line}");
    }
}

#[test]
fn the_rules_see_lines_that_break_them() {
    let without = |member: &str| format!("{{{}}}", GOOD.replace(member, "\"another\":\"1\""));
    for (line, about) in [
        (without(r#""specversion":"1.0""#), "specversion"),
        (without(r#""id":"1""#), "id"),
        (without(r#""source":"/ring""#), "source"),
        (without(r#""type":"com.ring.x""#), "type"),
        (format!("{{{}}}", GOOD.replace("1.0", "1.1")), "specversion"),
        (format!("{{{}}}", GOOD.replace(r#""id":"1""#, r#""id":"""#)), "id"),
        (format!("{{{}}}", GOOD.replace(r#""id":"1""#, r#""id":1"#)), "id"),
        (format!("{{{}}}", GOOD.replace("/ring", "/a b")), "source"),
        (format!("{{{}}}", GOOD.replace("/ring", "/%zz")), "source"),
        (format!("{{{}}}", GOOD.replace("com.ring.x", "")), "type"),
        ("[]".into(), "object"),
        (format!("{{{GOOD}}}\n"), "line"),
    ] {
        assert!(broken(&line).iter().any(|rule| rule.starts_with(about)), "{about}: {:?}", broken(&line));
    }
    for (more, about) in [
        (r#""id":"2""#, "id"),
        (r#""data":1,"data_base64":"""#, "data"),
        (r#""data":1,"datacontenttype":"text/plain""#, "data"),
        (r#""data_base64":"/w""#, "data_base64"),
        (r#""data_base64":7"#, "data_base64"),
        (r#""datacontenttype":"json""#, "datacontenttype"),
        (r#""datacontenttype":"a/b; c""#, "datacontenttype"),
        (r#""dataschema":"/relative""#, "dataschema"),
        (r#""subject":"""#, "subject"),
        (r#""subject":"\u0007""#, "subject"),
        (r#""subject":"\ufffe""#, "subject"),
        (r#""time":"2026-01-01""#, "time"),
        (r#""time":"2026-01-01 00:00:00Z""#, "time"),
        (r#""time":"2026-01-01T00:00:00""#, "time"),
        (r#""time":"2026-02-29T00:00:00Z""#, "time"),
        (r#""time":"2026-01-01T24:00:00Z""#, "time"),
        (r#""time":"+12026-01-01T00:00:00Z""#, "time"),
        (r#""time":1767225602"#, "time"),
        (r#""ringAccount":"a""#, "ringAccount"),
        (r#""ring_account":"a""#, "ring_account"),
        (r#""ringaccountofthehouse":"a""#, "ringaccountofthehouse"),
        (r#""ringaccount":null"#, "ringaccount"),
        (r#""ringaccount":{"a":1}"#, "ringaccount"),
        (r#""ringattempt":2147483648"#, "ringattempt"),
        (r#""ringattempt":1.0"#, "ringattempt"),
        (r#""ringattempt":"1""#, "ringattempt"),
        (r#""ringsequence":1"#, "ringsequence"),
        (r#""ringreceived":"now""#, "ringreceived"),
        (r#""ringtoken":"a b""#, "ringtoken"),
    ] {
        let line = format!("{{{GOOD},{more}}}");
        assert!(broken(&line).iter().any(|rule| rule.starts_with(about)), "{line}: {:?}", broken(&line));
    }
}
