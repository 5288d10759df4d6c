//! What each answer means for its event, in words that show no secret.

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::domain::address::Receiver;
use crate::domain::secret::Secret;
use crate::domain::standard_webhooks::SigningKey;
use crate::domain::time::Millis;

fn words() -> Answers {
    let url = Receiver::parse("http://10.0.0.7:8123/hook/hush-path?k=1", &["http", "https"]).unwrap();
    let key = SigningKey::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    Answers::new(&url, &[key], Some(&Secret::new("hush-token".to_owned())))
}

fn answered(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers: HeaderMap = headers.iter().map(pair).collect();
    words().answered(
        StatusCode::from_u16(status).unwrap(),
        &headers,
        body.as_bytes(),
        Millis(1_700_000_000_000),
    )
}

#[test]
fn every_status_has_its_meaning() {
    let meaning = |status| match answered(status, &[], "") {
        Answer::Taken => "taken",
        Answer::Failed { .. } => "failed",
        Answer::Refused { .. } => "refused",
        Answer::Broken { .. } => "broken",
        Answer::Hindered(obstacle) if obstacle.retry_after.is_some() => "gone",
        Answer::Hindered(_) => "hindered",
    };
    for status in [101, 301, 302, 304, 307, 308, 408, 425, 429, 502, 503, 504, 600, 999] {
        assert_eq!(meaning(status), "hindered", "{status}");
    }
    for status in [400, 401, 403, 404, 405, 409, 411, 415, 418, 422, 451, 499] {
        assert_eq!(meaning(status), "failed", "{status}");
    }
    for status in [500, 501, 505, 507, 599] {
        assert_eq!(meaning(status), "broken", "{status}");
    }
    assert_eq!(meaning(410), "gone");
    assert_eq!(meaning(413), "refused");
}

#[test]
fn the_wait_is_seconds_or_a_date() {
    let wait = |status, value| match answered(status, &[("retry-after", value)], "") {
        Answer::Hindered(obstacle) => obstacle.retry_after.map(|wait| wait.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(429, "17"), Some(17));
    assert_eq!(wait(503, "Tue, 14 Nov 2023 22:14:50 GMT"), Some(90));
    assert_eq!(wait(503, "soon"), None);
    assert_eq!(wait(410, "1"), Some(3600), "no short wait where it wants no more");
}

#[test]
fn the_receivers_own_words_are_short_and_show_no_secret() {
    let Answer::Failed { why } = answered(401, &[], " no \u{1b}[31mtoken\n hush-token, aHVzaC10b2tlbg== ")
    else {
        panic!()
    };
    assert_eq!(
        why,
        "http://10.0.0.7:8123 answered 401 Unauthorized: no \\u{1b}[31mtoken\\u{a} [hidden], [hidden]"
    );
    for echoed in ["/hook/hush-path?k=1", "hush-token", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        // Also where the cut goes through it.
        let why = answered(400, &[], &format!("{}{echoed}", "x".repeat(195)));
        let Answer::Failed { why } = why else { panic!() };
        assert!(!why.contains(&echoed[..5]) && why.len() < 300, "{why}");
    }
    let Answer::Hindered(obstacle) = answered(302, &[("location", "https://evil.example/hush?to")], "")
    else {
        panic!()
    };
    let expected = "http://10.0.0.7:8123 answered 302 Found. No redirect to evil.example is followed: write the right address as url";
    assert_eq!(obstacle.why, expected);
    let shown = format!("{:?}", words());
    assert!(!shown.contains("hush"), "{shown}");
}
