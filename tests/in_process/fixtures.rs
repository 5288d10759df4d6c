//! Our code accepts and understands what another HMAC implementation signed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ringhookd::domain::envelope::{self, Envelope};
use ringhookd::domain::routing::RING_KINDS;
use ringhookd::domain::signature::{Keys, Signature, sign};

struct Fixture {
    name: String,
    body: Vec<u8>,
    signature: Vec<u8>,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

fn fixtures() -> Vec<Fixture> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder().join("events")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            all.push(Fixture {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                body: fs::read(&path).unwrap(),
                signature: fs::read(path.with_extension("sig")).unwrap(),
            });
        }
    }
    all
}

fn understood(name: &str) -> Envelope {
    let body = fs::read(folder().join("events").join(name).with_extension("json")).unwrap();
    envelope::parse(&body).unwrap()
}

#[test]
fn every_type_of_the_fixtures_is_known_and_no_other() {
    let kind = |fixture: Fixture| {
        let body: serde_json::Value = serde_json::from_slice(&fixture.body).unwrap();
        body["data"]["type"].as_str().unwrap().to_owned()
    };
    let kinds: BTreeSet<String> = fixtures().into_iter().map(kind).collect();
    assert!(kinds.iter().map(String::as_str).eq(RING_KINDS));
}

#[test]
fn every_signature_holds_and_fails_over_another_body() {
    let key = fs::read(folder().join("hmac.key")).unwrap();
    let keys = Keys::new([&b"another"[..], &key]);
    let all = fixtures();
    assert!(all.len() >= 30, "only {} fixtures", all.len());
    for mut fixture in all {
        let signature = Signature::parse(std::iter::once(fixture.signature.as_slice())).unwrap();
        assert_eq!(keys.verify(&fixture.body, &signature), Some(1), "{}", fixture.name);
        assert_eq!(sign(&key, &fixture.body).as_bytes(), fixture.signature, "{}", fixture.name);
        fixture.body.push(b'\n');
        assert_eq!(keys.verify(&fixture.body, &signature), None, "{}", fixture.name);
    }
}

#[test]
fn every_event_is_understood() {
    for fixture in fixtures() {
        let event = envelope::parse(&fixture.body).unwrap();
        assert!(fixture.name.starts_with(&event.kind), "{}", fixture.name);
        assert!(event.request_id.is_some() && event.oddities.is_empty(), "{}", fixture.name);
        assert_eq!(event.sent_at.unwrap().rfc3339(), "2026-01-01T00:00:01.456Z");
        assert_eq!(event.account.is_none(), fixture.name.ends_with("_v1_0"), "{}", fixture.name);
        let of_subscription = event.kind.starts_with("subscription_");
        let of_device = !of_subscription && !event.kind.starts_with("app_integration_");
        assert_eq!(event.device.is_some(), of_device, "{}", fixture.name);
        assert_eq!(event.happened_at.is_none(), of_subscription, "{}", fixture.name);
    }
}

#[test]
fn the_sub_type_is_read_in_either_place() {
    let sub_kind = |name| understood(name).sub_kind;
    assert_eq!(sub_kind("motion_detected").as_deref(), Some("human"));
    assert_eq!(sub_kind("motion_detected_attribute").as_deref(), Some("vehicle"));
    assert_eq!(sub_kind("subscription_activated").as_deref(), Some("paid"));
    assert_eq!(sub_kind("button_press"), None);
}
