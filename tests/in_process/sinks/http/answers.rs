//! What is sent, and what each answer comes to.

use super::*;

#[tokio::test]
async fn a_cloudevent_in_structured_mode_is_signed_by_each_secret() {
    let receiver = Receiver::start(|_, _| Act::Say(OK.into()));
    let events = one();
    assert_eq!(sink(&receiver).deliver(Arc::clone(&events)).await, [Verdict::Done]);
    let [post] = &receiver.posts()[..] else { panic!() };
    assert!(post.head.starts_with("POST /hook/ring?key=1 HTTP/1.1\r\n"), "{}", post.head);
    assert_eq!(post.header("content-type"), Some("application/cloudevents+json; charset=UTF-8"));
    assert_eq!(post.header("webhook-id"), Some("a/7"));
    assert_eq!(post.header("authorization"), None);
    assert!(post.header("host").is_some_and(|host| receiver.base().ends_with(host)));
    let timestamp: u64 = post.header("webhook-timestamp").unwrap().parse().unwrap();
    assert!(ringhookd::clock::now().0 / 1000 - timestamp < 600);
    // The receiver has checked both.
    assert_eq!(post.header("webhook-signature").unwrap().split(' ').count(), 2);
    assert_eq!(post.body, events[0].event.cloudevent(7, 2).as_bytes());
}

#[tokio::test]
async fn a_cloudevent_in_binary_mode_has_its_attributes_in_headers_and_rings_bytes_as_body() {
    let receiver = Receiver::start(|_, _| Act::Say(OK.into()));
    let binary =
        Http::new(&queue("out"), to(&receiver.url()), Format::CloudEventsBinary, with_token("t0ken"))
            .unwrap();
    assert_eq!(binary.deliver(one()).await, [Verdict::Done]);
    let [post] = &receiver.posts()[..] else { panic!() };
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "a/7"),
        ("ce-source", "/ring"),
        ("ce-type", "com.ring.button_press"),
        ("ce-ringaccount", "a"),
        ("ce-ringuser", "ann"),
        // The specification's own example of encoding has these characters.
        ("ce-ringsubtype", "human%20%E2%82%AC%20%22100%25%22"),
        ("ce-ringsequence", "00000000000000000007"),
        ("ce-ringattempt", "2"),
        ("authorization", "Bearer t0ken"),
        ("webhook-id", "a/7"),
    ] {
        assert_eq!(post.header(name), Some(value), "{name} in {}", post.head);
    }
    for absent in ["ce-datacontenttype", "ce-data", "ce-subject", "webhook-signature"] {
        assert_eq!(post.header(absent), None);
    }
    assert_eq!(post.body, BODY.as_bytes());
}

#[tokio::test]
async fn a_raw_event_is_rings_bytes() {
    let receiver = Receiver::start(|_, _| Act::Say(OK.into()));
    let raw = Http::new(&queue("out"), to(&receiver.url()), Format::Raw, secrets()).unwrap();
    assert_eq!(raw.deliver(one()).await, [Verdict::Done]);
    let [post] = &receiver.posts()[..] else { panic!() };
    assert_eq!((post.header("content-type"), post.header("ce-id")), (Some("application/json"), None));
    assert_eq!(post.body, BODY.as_bytes());
}

/// The verdict on one event that is answered so.
async fn verdict(answer: impl Into<String>) -> Vec<Verdict> {
    let answer = answer.into();
    let receiver = Receiver::start(move |_, _| Act::Say(answer.clone()));
    let secrets = with_token("hush-token");
    let verdicts = sink_of(to(&receiver.url()), secrets).deliver(one()).await;
    let shown = format!("{verdicts:?}");
    assert!(!shown.contains("hush") && !shown.contains("/hook"), "{shown}");
    let named = matches!(verdicts[0], Verdict::Done) || shown.contains(&receiver.base());
    assert!(named, "{shown}");
    verdicts
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_event_that_is_not_taken_fails_with_the_receivers_own_words() {
    let why = words(&verdict(http("401 Unauthorized", "hush-token is no token\u{7}\n of ours")).await);
    assert!(why.ends_with("answered 401 Unauthorized: [hidden] is no token\\u{7}\\u{a} of ours"), "{why}");
    let why = words(&verdict(http("404 Not Found", "Cannot POST /hook/ring?key=1")).await);
    assert!(why.ends_with("404 Not Found: Cannot POST [hidden]"), "{why}");
    let why = words(&verdict(http("422 Unprocessable Content", &"é".repeat(90_000))).await);
    assert!(why.len() < 300 && why.contains("éé"), "{why}");
    let why = words(&verdict(http("500 Internal Server Error", "")).await);
    assert!(why.ends_with("answered 500 Internal Server Error"), "{why}");
    // Odd codes are of their class.
    assert!(words(&verdict("HTTP/1.1 499 \r\ncontent-length: 0\r\n\r\n").await).ends_with("answered 499"));
}

#[tokio::test]
async fn a_receiver_that_can_take_nothing_uses_up_no_attempt() {
    for status in ["408 Request Timeout", "425 Too Early", "502 Bad Gateway", "504 Gateway Timeout"] {
        let (retry_after, why) = busy(&verdict(http(status, "later")).await);
        assert!(retry_after.is_none() && why.ends_with(&format!("answered {status}: later")), "{why}");
    }
    let asked = "429 Too Many Requests\r\nretry-after: 120";
    assert_eq!(busy(&verdict(http(asked, "")).await).0, Some(Duration::from_mins(2)));
    let dated = "503 Service Unavailable\r\ndate: Tue, 14 Nov 2023 22:13:20 GMT\r\nretry-after: Tue, 14 Nov 2023 22:14:20 GMT";
    assert_eq!(busy(&verdict(http(dated, "")).await).0, Some(Duration::from_mins(1)));
}

#[tokio::test]
async fn a_receiver_that_is_gone_stops_the_queue() {
    let (retry_after, why) = busy(&verdict(http("410 Gone", "bye")).await);
    assert_eq!(retry_after, Some(Duration::from_hours(1)));
    assert!(
        why.contains("410 Gone: bye: it wants no more events") && why.contains("change its url"),
        "{why}"
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = Receiver::start(|_, _| Act::Say(OK.into()));
    let location = format!("307 Temporary Redirect\r\nlocation: {}", elsewhere.url());
    let (retry_after, why) = busy(&verdict(http(&location, "")).await);
    assert!(retry_after.is_none() && why.contains("No redirect to 127.0.0.1 is followed"), "{why}");
    let (_, why) = busy(&verdict(http("302 Found\r\nlocation: /hush", "")).await);
    assert!(why.contains("No redirect is followed"), "{why}");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn behind_an_event_that_is_not_taken_its_account_waits_and_others_go_on() {
    let receiver = Receiver::start(|_, post| {
        let bad = post.header("webhook-id") == Some("a/2");
        Act::Say(if bad { http("400 Bad Request", "no") } else { OK.into() })
    });
    let events = [leased(1, "a"), leased(2, "a"), leased(3, "b"), leased(4, "a"), leased(5, "b")];
    let verdicts = sink(&receiver).deliver(events.into()).await;
    assert!(
        matches!(&verdicts[1], Verdict::Failed { why } if why.ends_with("400 Bad Request: no")),
        "{verdicts:?}"
    );
    assert_eq!([&verdicts[0], &verdicts[2], &verdicts[4]], [&Verdict::Done; 3]);
    assert_eq!(verdicts[3], Verdict::Untried);
    let ids: Vec<_> =
        receiver.posts().iter().map(|post| post.header("webhook-id").unwrap().to_owned()).collect();
    assert!(!ids.contains(&"a/4".to_owned()), "{ids:?}");
}

#[tokio::test]
async fn a_receiver_that_breaks_at_every_account_makes_no_dead_letters() {
    let receiver = Receiver::start(|_, _| Act::Say(http("500 Oops", "")));
    let verdicts = sink(&receiver).deliver([leased(1, "a"), leased(2, "b")].into()).await;
    let all_busy =
        verdicts.iter().all(|v| matches!(v, Verdict::Busy { why, .. } if why.contains("2 accounts")));
    assert!(all_busy, "{verdicts:?}");
}
