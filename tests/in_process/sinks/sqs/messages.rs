//! What a consumer gets: bodies, attributes, groups; and what SQS does not take.

use super::*;

fn large(seq: u64, account: &str, bytes: usize) -> Leased {
    let body = format!("\"{}\"", "x".repeat(bytes));
    Leased { event: event_of(&format!("{account}/{seq}"), account, body.as_bytes()), ..leased(seq, account) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_gets_the_cloudevent_and_its_attributes() {
    let queue = Queue::shared("{}");
    let sink = sink(&to(&queue.url()));
    let mut leased = leased(7, "ava1.ring.account.X");
    leased.event.sub_kind = Some("human \u{20ac}".into());
    assert_eq!(sink.deliver([leased.clone()].into()).await, [Verdict::Done]);
    let [message] = &queue.arrived()[..] else { panic!() };
    assert_eq!(message.body(), leased.event.cloudevent(7, 1));
    for (name, value) in [
        ("id", "ava1.ring.account.X/7"),
        ("source", "/ring"),
        ("type", "com.ring.button_press"),
        ("ringaccount", "ava1.ring.account.X"),
        ("ringuser", "ann"),
        ("ringsubtype", "human \u{20ac}"),
        ("ringsequence", "00000000000000000007"),
    ] {
        assert_eq!(message.attribute(name), Some(value), "{name} in {message:?}");
    }
    assert_eq!((message.attribute("encoding"), message.attribute("subject")), (None, None));
    assert_eq!(message.0["Attributes"]["MessageGroupId"].as_str(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_body_that_sqs_would_change_is_in_base64() {
    let queue = Queue::shared("{}.fifo");
    let raw = sink_of(&to(&queue.url()), Format::Raw, secrets());
    let hostile: &[u8] = b"\xff\x00\r\n";
    let binary = Leased { event: event_of("a/1", "a", hostile), ..leased(1, "a") };
    assert_eq!(raw.deliver([binary, leased(2, "a")].into()).await, vec![Verdict::Done; 2]);
    let [first, second] = &queue.arrived()[..] else { panic!() };
    assert_eq!((first.body(), first.attribute("encoding")), ("/wANCg==", Some("base64")));
    assert_eq!((second.body(), second.attribute("encoding")), ("{\"data\":{}}", None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ids_have_groups_of_their_own_and_block_nothing() {
    let queue = Queue::shared("{}.fifo");
    let sink = sink(&to(&queue.url()));
    let long = "x".repeat(200);
    let accounts = ["a b", "-", "\u{e9}", "sha256-0", "'\"<&>", long.as_str(), "plain"];
    let events: Vec<Leased> = (0..)
        .zip(accounts)
        .map(|(n, account)| Leased {
            event: event_of(&format!("{n} \u{1}\n{long}"), account, b"{}"),
            ..leased(n, account)
        })
        .collect();
    assert_eq!(sink.deliver(events.into()).await, vec![Verdict::Done; accounts.len()]);
    let arrived = queue.arrived();
    let group =
        |message: &moto::Message| message.0["Attributes"]["MessageGroupId"].as_str().unwrap().to_owned();
    let groups: std::collections::BTreeSet<String> = arrived.iter().map(group).collect();
    assert_eq!(groups.len(), accounts.len(), "{groups:?}");
    for message in &arrived {
        let of = message.arrival().account;
        let is_plain = matches!(of.as_str(), "plain" | "'\"<&>");
        assert_eq!(group(message) == of, is_plain, "{of}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_sqs_takes_is_refused_by_name_and_the_next_goes_on() {
    let queue = Queue::shared("{}.fifo");
    let verdicts = sink(&to(&queue.url())).deliver([large(1, "a", 1 << 20), leased(2, "a")].into()).await;
    let [Verdict::Refused { why }, Verdict::Done] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(why.ends_with(" bytes with its attributes, and SQS takes 1048576"), "{why}");
    assert_eq!(queue.arrived().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_queue_does_not_take_is_found_among_those_of_its_request() {
    let queue = Queue::missing(Queue::shared("{}").port(), "{}.fifo");
    queue.create(&serde_json::json!({"MaximumMessageSize": "2048"}));
    let events = [leased(1, "a"), large(2, "b", 4_000), leased(3, "c"), leased(4, "b")];
    let verdicts = sink(&to(&queue.url())).deliver(events.into()).await;
    let [Verdict::Done, Verdict::Failed { why }, Verdict::Done, Verdict::Untried] = &verdicts[..] else {
        panic!("{verdicts:?}")
    };
    assert!(why.contains("InvalidParameterValue: ") && why.contains("2048 bytes"), "{why}");
    assert_eq!(queue.arrived().len(), 2);
}
