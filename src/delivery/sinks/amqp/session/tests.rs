//! What a session makes of the words of a broker.

use bytes::Bytes;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::domain::address;

fn session() -> Session {
    let url = address::Receiver::parse("amqp://10.0.0.7", &["amqp"]).unwrap();
    Session::new(Arc::new(Words::new(&url, ["hush-hush".to_owned()])), 4096)
}

fn message(exchange: &str, key: &str, id: &str, body: usize) -> Message {
    Message {
        exchange: exchange.into(),
        key: key.into(),
        id: id.into(),
        properties: Bytes::from_static(b"\x00\x00"),
        body: vec![7; body].into(),
    }
}

fn send(session: &mut Session, message: Message) -> Receiver<Reply> {
    let (reply, answer) = oneshot::channel();
    session.send(Publish { message, reply }, &mut BytesMut::new());
    answer
}

fn plain(session: &mut Session, id: &str) -> Receiver<Reply> {
    send(session, message("ex", "k", id, 1))
}

fn hear(session: &mut Session, said: Said) -> Result<(), String> {
    session.said(said, &mut BytesMut::new())
}

fn no_route() -> Reason {
    Reason { code: 312, text: "NO_ROUTE".into() }
}

fn waits(answer: &mut Receiver<Reply>) -> bool {
    answer.try_recv() == Err(TryRecvError::Empty)
}

#[test]
fn each_is_confirmed_by_its_number_or_by_a_later_one_with_all_before() {
    let mut session = session();
    let mut sent: Vec<_> = (1..=6).map(|n| plain(&mut session, &n.to_string())).collect();
    hear(&mut session, Said::Ack { tag: 2, multiple: false }).unwrap();
    assert_eq!(sent[1].try_recv(), Ok(Reply::Confirmed));
    assert!(waits(&mut sent[0]) && waits(&mut sent[2]));
    hear(&mut session, Said::Ack { tag: 3, multiple: true }).unwrap();
    assert_eq!((sent[0].try_recv(), sent[2].try_recv()), (Ok(Reply::Confirmed), Ok(Reply::Confirmed)));
    hear(&mut session, Said::Nack { tag: 4, multiple: false }).unwrap();
    assert_eq!(sent[3].try_recv(), Ok(Reply::Rejected));
    assert!(waits(&mut sent[4]));
    hear(&mut session, Said::Ack { tag: 0, multiple: true }).unwrap();
    assert_eq!((sent[4].try_recv(), sent[5].try_recv()), (Ok(Reply::Confirmed), Ok(Reply::Confirmed)));
    // Of what nobody waits for.
    hear(&mut session, Said::Ack { tag: 2, multiple: false }).unwrap();
    hear(&mut session, Said::Ack { tag: 99, multiple: true }).unwrap();
}

#[test]
fn what_came_back_is_not_confirmed_by_its_acknowledgement() {
    let mut session = session();
    let (mut first, mut second) = (plain(&mut session, "a"), plain(&mut session, "b"));
    hear(&mut session, Said::Return(no_route())).unwrap();
    hear(&mut session, Said::Header { message_id: "a".into() }).unwrap();
    hear(&mut session, Said::Nothing).unwrap();
    assert!(waits(&mut first));
    hear(&mut session, Said::Ack { tag: 2, multiple: true }).unwrap();
    assert_eq!(first.try_recv(), Ok(Reply::Returned(no_route())));
    assert_eq!(second.try_recv(), Ok(Reply::Confirmed));
}

#[test]
fn what_comes_back_of_an_id_that_was_sent_twice_confirms_neither() {
    let mut session = session();
    let (mut earlier, mut again) = (plain(&mut session, "a"), plain(&mut session, "a"));
    hear(&mut session, Said::Return(no_route())).unwrap();
    hear(&mut session, Said::Header { message_id: "a".into() }).unwrap();
    hear(&mut session, Said::Ack { tag: 2, multiple: false }).unwrap();
    assert_eq!(again.try_recv(), Ok(Reply::Returned(no_route())));
    hear(&mut session, Said::Ack { tag: 1, multiple: false }).unwrap();
    assert_eq!(earlier.try_recv(), Ok(Reply::Returned(no_route())));
}

#[test]
fn while_publishers_are_blocked_nothing_is_sent_and_nobody_waits() {
    let mut session = session();
    let mut under_way = plain(&mut session, "a");
    hear(&mut session, Said::Blocked("low on hush-hush".into())).unwrap();
    let blocked = || Ok(Reply::Blocked("low on [hidden]".into()));
    assert_eq!(under_way.try_recv(), blocked());
    let mut output = BytesMut::new();
    let (reply, mut later) = oneshot::channel();
    session.send(Publish { message: message("ex", "k", "b", 1), reply }, &mut output);
    assert!(output.is_empty());
    assert_eq!(later.try_recv(), blocked());
    hear(&mut session, Said::Unblocked).unwrap();
    let mut next = plain(&mut session, "c");
    // Numbers are of those that were sent.
    hear(&mut session, Said::Ack { tag: 2, multiple: false }).unwrap();
    assert_eq!(next.try_recv(), Ok(Reply::Confirmed));
}

#[test]
fn a_closed_channel_is_blamed_on_the_message_that_the_broker_names() {
    let cases: &[(u16, &str, [Option<Blame>; 4])] = &[
        (404, "NOT_FOUND - no exchange 'ex-bob' in vhost '/'", [None, Some(Blame::Exchange), None, None]),
        (
            403,
            "ACCESS_REFUSED - write access to exchange 'ex-bob' in vhost '/' refused for user 'x'",
            [None, Some(Blame::Exchange), None, None],
        ),
        (
            403,
            "ACCESS_REFUSED - write access to topic 'a.eve' in exchange 'ex' in vhost '/' refused for user 'x'",
            [None, None, Some(Blame::RoutingKey), None],
        ),
        (403, "ACCESS_REFUSED - write access to topic 'a.ev...", [None, None, Some(Blame::RoutingKey), None]),
        (
            406,
            "PRECONDITION_FAILED - message size 9000 is larger than configured max size 8000",
            [None, None, None, Some(Blame::Size)],
        ),
        (504, "CHANNEL_ERROR - anything", [None; 4]),
        (403, "ACCESS_REFUSED - anything", [None; 4]),
        (406, "PRECONDITION_FAILED - anything", [None; 4]),
    ];
    for (code, text, expected) in cases {
        let mut session = session();
        let mut sent = [
            send(&mut session, message("ex", "a.ann", "1", 1)),
            send(&mut session, message("ex-bob", "a.bob", "2", 1)),
            send(&mut session, message("ex", "a.eve", "3", 1)),
            send(&mut session, message("ex", "a.ann", "4", 9000)),
        ];
        let reason = Reason { code: *code, text: (*text).into() };
        let mut output = BytesMut::new();
        let why = session.said(Said::ChannelClose(reason.clone()), &mut output).unwrap_err();
        assert_eq!(why, format!("the broker closed the channel: {code} {text}"));
        assert!(!output.is_empty(), "the broker is answered");
        drop(session);
        for (sent, expected) in sent.iter_mut().zip(expected) {
            let expected = expected.map(|blame| Reply::Blamed(blame, reason.clone()));
            assert_eq!(sent.try_recv().ok(), expected, "{text}");
        }
    }
}

#[test]
fn a_connection_that_the_broker_ends_is_told_in_its_words_without_secrets() {
    let mut session = session();
    let reason = Reason { code: 320, text: "CONNECTION_FORCED - hush-hush".into() };
    let why = hear(&mut session, Said::Close(reason)).unwrap_err();
    assert_eq!(why, "the broker closed the connection: 320 CONNECTION_FORCED - [hidden]");
    assert!(hear(&mut session, Said::SelectOk).is_err(), "no word of a login");
}

#[test]
fn a_header_that_fits_into_no_frame_is_not_sent() {
    let mut session = session();
    let large = Message { properties: vec![0; 4096].into(), ..message("ex", "k", "a", 1) };
    let mut answer = send(&mut session, large);
    assert_eq!(answer.try_recv(), Ok(Reply::HeaderTooLarge { bytes: 4096 + 20, most: 4096 }));
    let mut next = plain(&mut session, "b");
    hear(&mut session, Said::Ack { tag: 1, multiple: false }).unwrap();
    assert_eq!(next.try_recv(), Ok(Reply::Confirmed));
}

#[test]
fn who_waits_no_longer_is_forgotten_and_signs_of_life_are_given() {
    let mut session = session();
    drop(plain(&mut session, "a"));
    let mut output = BytesMut::new();
    session.beat(&mut output);
    assert_eq!(output, [8, 0, 0, 0, 0, 0, 0, 0xCE][..]);
    assert!(session.waiting.is_empty());
    let (reply, answer) = oneshot::channel();
    drop(answer);
    output.clear();
    session.send(Publish { message: message("ex", "k", "b", 1), reply }, &mut output);
    assert!(output.is_empty(), "nor is it sent");
}
