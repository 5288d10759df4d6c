//! What a message holds: its topic, its attributes, its content, whatever the ids are.

use std::sync::Arc;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_a_cloudevent_and_is_never_retained() {
    let server = Mosquitto::open("");
    let formats = [Format::CloudEvents, Format::CloudEventsBinary, Format::Raw];
    for format in formats {
        let sink =
            Mqtt::new(&queue("out"), options(server.port(), "out"), format, ReceiverSecrets::default());
        assert_eq!(sink.unwrap().deliver(one()).await, [Verdict::Done]);
    }
    let messages = server.until(3).await;
    let body: serde_json::Value = serde_json::from_str(BODY).unwrap();
    let types = ["application/cloudevents+json; charset=utf-8", "application/json", "application/json"];
    for ((message, format), content_type) in messages.iter().zip(formats).zip(types) {
        assert_eq!((message.topic.as_str(), message.retain), ("ringhookd/ann/door-1/button_press", false));
        assert_eq!(message.properties["content-type"], content_type, "{format:?}");
        assert_eq!(message.properties["user-properties"]["id"], "a/7", "{format:?}");
        let attributes = message.properties["user-properties"].as_object().unwrap();
        match format {
            Format::CloudEvents => {
                assert_eq!(message.payload["data"], body);
                let text =
                    |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_owned);
                for (name, value) in attributes {
                    assert_eq!(text(&message.payload[name]), text(value), "{name}");
                }
                assert_eq!(
                    attributes.len(),
                    message.payload.as_object().unwrap().len() - 1,
                    "all but the data"
                );
            }
            Format::CloudEventsBinary => {
                assert_eq!(message.payload, body);
                assert_eq!(attributes["ringsubtype"], "human \u{20ac} \"100%\"");
                assert_eq!(attributes["ringattempt"], "2");
                assert!(attributes.get("datacontenttype").is_none(), "that is the content type");
            }
            Format::Raw => assert_eq!((&message.payload, attributes.len()), (&body, 1)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_id_reaches_into_another_topic_or_holds_up_the_queue() {
    let server = Mosquitto::open("");
    let options = config::Mqtt { topic: topic("{user}/{device}/{subtype}"), ..options(server.port(), "out") };
    let sink = sink_of(options, ReceiverSecrets::default());
    let hostile = [
        "+",
        "#",
        "a/b",
        "$SYS",
        "%2F",
        "-",
        "\u{e9}\u{1f514}",
        "a b",
        "\u{fffe}",
        "..",
        &"\u{20ac}/".repeat(128),
    ];
    let events: Vec<Leased> = (1..)
        .zip(hostile)
        .map(|(seq, id)| {
            let mut leased = leased(seq, "a");
            leased.event.user = Some(user(id));
            leased.event.device = DeviceId::new(id).ok();
            leased.event.sub_kind = Some("a\0b".into());
            leased
        })
        .collect();
    let verdicts = sink.deliver(events.into()).await;
    assert_eq!(verdicts, vec![Verdict::Done; hostile.len()]);
    let messages = server.until(hostile.len()).await;
    let topics: Vec<&str> = messages.iter().map(|message| message.topic.as_str()).collect();
    let of = |id: &str| format!("{id}/{id}/a%00b");
    for (topic, id) in topics.iter().zip([
        "%2B",
        "%23",
        "a%2Fb",
        "%24SYS",
        "%252F",
        "%2D",
        "\u{e9}\u{1f514}",
        "a b",
        "%EF%BF%BE",
        "..",
    ]) {
        assert_eq!(**topic, of(id));
    }
    assert!(topics.iter().all(|topic| topic.matches('/').count() == 2), "{topics:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_refused_by_name_and_the_others_go_on() {
    // The first is told when the session begins, of the second the broker tells when it meets it.
    for limit in ["max_packet_size 4000", "message_size_limit 4000"] {
        let server = Mosquitto::open(limit);
        let mut large = leased(2, "a");
        large.event.body = Bytes::from(format!("\"{}\"", "x".repeat(5000)));
        let events: Arc<[Leased]> = [leased(1, "a"), large, leased(3, "a"), leased(4, "b")].into();
        let sink = sink(server.port());
        let verdicts = sink.deliver(Arc::clone(&events)).await;
        // This broker answers, and then ends the session all the same: what else was on its way comes again.
        let goes_on = |at: usize| matches!(&verdicts[at], Verdict::Done | Verdict::Busy { .. });
        let [Verdict::Done, Verdict::Refused { why }, ..] = &verdicts[..] else {
            panic!("{limit}: {verdicts:?}")
        };
        assert!(goes_on(2) && goes_on(3), "{limit}: {verdicts:?}");
        assert!(why.starts_with("mqtt://127.0.0.1:") && why.contains("packet too large"), "{limit}: {why}");
        let rest = [events[0].clone(), events[2].clone(), events[3].clone()];
        delivered(&sink, events[2..].into()).await;
        let ids = server.until_each_of(&rest).await;
        assert!(!ids.contains(&"a/2".to_owned()), "{limit}: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_bound_of_messages_on_their_way_is_kept() {
    // With a bound of one, a second would end the session.
    let server = Mosquitto::start(
        |port| {
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 1\nmax_queued_messages 0\n"
            )
        },
        &[],
        &[],
    );
    let events: Vec<Leased> = (0..40).map(|n| leased(n, &format!("account-{n}"))).collect();
    assert_eq!(sink(server.port()).deliver(events.into()).await, vec![Verdict::Done; 40]);
    assert_eq!(server.until(40).await.len(), 40);
}
