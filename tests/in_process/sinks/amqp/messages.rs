//! What arrives: exchange, routing key, properties and body of a message.

use ringhookd::domain::ids::{DeviceId, UserId};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_content_is_as_the_format_says() {
    let queue = peaceful().queue("formats", &[]);
    let mut reader = Reader::of(peaceful().port(), queue.clone());
    for (n, format) in [(1, Format::CloudEvents), (2, Format::CloudEventsBinary), (3, Format::Raw)] {
        let mut options = options(peaceful().port());
        options.routing_key = template(&format!("{queue}.{{type}}"));
        let sink = Amqp::new(&super::queue("out"), options, format, ReceiverSecrets::default()).unwrap();
        let event = leased(n, "a");
        delivered(&sink, [event.clone()].into()).await;
        let message = reader.messages().last().unwrap().clone();
        assert_eq!((message.exchange.as_str(), message.delivery_mode), ("amq.topic", 2));
        assert_eq!((message.key, message.id), (format!("{queue}.button_press"), event.event.key.clone()));
        let header = |name: &str| message.headers.get(name).map(String::as_str);
        let is_raw = format == Format::Raw;
        assert_eq!(header("cloudEvents:ringaccount"), (!is_raw).then_some("a"));
        assert_eq!(header("cloudEvents:id"), (!is_raw).then_some(event.event.key.as_str()));
        assert_eq!(header("cloudEvents:type"), (!is_raw).then_some("com.ring.button_press"));
        assert_eq!(message.headers.is_empty(), is_raw);
        if format == Format::CloudEvents {
            assert_eq!(message.content_type, "application/cloudevents+json; charset=utf-8");
            let json: Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!((&json["id"], &json["data"]), (&Value::from("a/1"), &serde_json::json!({"data": {}})));
        } else {
            assert_eq!(message.content_type, "application/json");
            assert_eq!(message.body, event.event.body);
            assert_eq!(header("cloudEvents:datacontenttype"), None, "it has a place of its own");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_goes_in_many_frames_and_an_empty_one_in_none() {
    let queue = peaceful().queue("sizes", &[]);
    let mut reader = Reader::of(peaceful().port(), queue.clone());
    let mut options = options(peaceful().port());
    options.routing_key = template(&format!("{queue}.{{type}}"));
    let sink = Amqp::new(&super::queue("out"), options, Format::Raw, ReceiverSecrets::default()).unwrap();
    // Frames of 8192 bytes hold 8184 of a body.
    for (n, bytes) in (0..).zip([0, 1, 8183, 8184, 8185, 16_368, 300_000]) {
        let mut event = leased(n, "a");
        event.event.body = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
        delivered(&sink, [event.clone()].into()).await;
        assert_eq!(reader.messages().last().unwrap().body, event.event.body, "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_exchange_takes_the_name_of_a_queue() {
    let queue = peaceful().queue("direct", &[]);
    let options =
        config::Amqp { exchange: None, routing_key: template(&queue), ..options(peaceful().port()) };
    delivered(&sink_of(options, ReceiverSecrets::default()), one()).await;
    let mut reader = Reader::of(peaceful().port(), queue.clone());
    let [message] = reader.messages() else { panic!("one") };
    assert_eq!((message.exchange.as_str(), message.key.as_str()), ("", queue.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ids_stay_in_their_own_word() {
    let queue = peaceful().queue("hostile", &[]);
    let mut reader = Reader::of(peaceful().port(), queue.clone());
    let sink = sink_to(peaceful().port(), &queue);
    let long = "é".repeat(200);
    for (n, (id, word)) in (0..).zip([
        ("a.b", "a%2Eb"),
        ("*", "%2A"),
        ("#", "%23"),
        ("-", "%2D"),
        ("%2E", "%252E"),
        ("x' in vhost '/'", "x%27%20in%20vhost%20%27%2F%27"),
        (&long, ""),
    ]) {
        let mut event = leased(n, "a");
        event.event.user = UserId::new(id).ok();
        event.event.device = DeviceId::new(id).ok();
        event.event.key = format!("{}/{n}", "k".repeat(400));
        delivered(&sink, [event.clone()].into()).await;
        let message = reader.messages().last().unwrap().clone();
        assert_eq!(message.headers["cloudEvents:ringuser"], id);
        assert_eq!(message.headers["cloudEvents:id"], event.event.key, "whole, where there is room");
        assert!(message.id.len() == 255 && message.id.starts_with("kkk"), "{}", message.id);
        assert!(message.key.len() <= 255, "{}", message.key);
        if word.is_empty() {
            assert_eq!(message.key.len(), 255);
        } else {
            assert_eq!(message.key, format!("{queue}.{word}.{word}.button_press"));
        }
    }
    let ids: std::collections::BTreeSet<_> = reader.messages().iter().map(|message| &message.id).collect();
    assert_eq!(ids.len(), 7, "long ids stay apart");
}
