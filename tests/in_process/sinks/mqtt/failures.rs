//! A broker that dies, hangs, or is cut off: nothing is lost, what comes twice has one id, and an account keeps its order.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::support::proxy::{Answers, Proxy};

/// Each of these came, first in its order.
fn assert_order(ids: &[String], events: &[Leased]) {
    let mut seen = HashSet::new();
    let firsts: Vec<&String> = ids.iter().filter(|id| seen.insert(*id)).collect();
    let mut accounts: Vec<&str> = events.iter().map(|e| e.event.account.as_ref().unwrap().as_str()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    for account in accounts {
        let is_theirs = |id: &str| id.rsplit_once('/').unwrap().0 == account;
        let sent = events.iter().map(|e| &e.event.key).filter(|id| is_theirs(id));
        let came = firsts.iter().copied().filter(|id| is_theirs(id));
        assert!(came.eq(sent), "{account}: {ids:?}");
    }
}

fn events(from: u64) -> Arc<[Leased]> {
    (0..60).map(|n| leased(from + n, ["a", "b", "c"][usize::try_from(n % 3).unwrap()])).collect()
}

fn hasty(port: u16) -> Mqtt {
    let mut options = options(port, "out");
    options.target.timeout = Duration::from_secs(2);
    sink_of(options, ReceiverSecrets::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_gets_everything() {
    let mut server = Mosquitto::open("");
    // Closed to us until the subscriber is back, as what nobody hears is kept by no broker.
    let proxy = Proxy::before(server.port()).await;
    let sink = hasty(proxy.port());
    delivered(&sink, events(0)).await;
    server.until(60).await;
    proxy.set(Answers::Dead);
    server.broker.kill();
    proxy.cut();
    let why = busy(&sink.deliver(one()).await);
    assert!(why.starts_with("mqtt://127.0.0.1:"), "{why}");
    server.again();
    proxy.set(Answers::Pass);
    delivered(&sink, events(60)).await;
    let all: Vec<Leased> = events(0).iter().chain(events(60).iter()).cloned().collect();
    let mut ids = server.until_each_of(&all).await;
    // It came to nobody while the broker was down.
    ids.retain(|id| id != "a/7");
    assert_order(&ids, &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_is_busy_and_gets_everything_when_it_goes_on() {
    let server = Mosquitto::open("");
    let sink = hasty(server.port());
    delivered(&sink, events(0)).await;
    server.broker.freeze();
    let verdicts = sink.deliver(events(60)).await;
    server.broker.thaw();
    let is_busy = |verdict: &Verdict| matches!(verdict, Verdict::Busy { why, .. } if why.contains("no acknowledgement") || why.contains("took too long"));
    assert!(verdicts.iter().all(is_busy), "{verdicts:?}");
    delivered(&sink, events(60)).await;
    let all: Vec<Leased> = events(0).iter().chain(events(60).iter()).cloned().collect();
    assert_order(&server.until_each_of(&all).await, &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_when_the_connection_is_cut_comes_again_under_its_id() {
    let server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    let sink = Arc::new(sink(proxy.port()));
    assert_eq!(sink.deliver([leased(1, "a")].into()).await, [Verdict::Done]);
    proxy.set(Answers::Lost);
    let delivery = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.deliver([leased(2, "a"), leased(3, "a")].into()).await }
    });
    // The broker has it, and its acknowledgement is lost.
    server.until(2).await;
    proxy.cut();
    let verdicts = delivery.await.unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
    proxy.set(Answers::Pass);
    delivered(&sink, [leased(2, "a"), leased(3, "a")].into()).await;
    server.until(4).await;
    assert_eq!(server.ids(), ["a/1", "a/2", "a/2", "a/3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_other_side_is_gone_is_noticed_and_replaced() {
    let server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    // A minute for each delivery: only the missing answer to a ping ends it.
    let sink = sink(proxy.port());
    assert_eq!(sink.deliver([leased(1, "a")].into()).await, [Verdict::Done]);
    proxy.set(Answers::Dead);
    let why = busy(&sink.deliver([leased(2, "a")].into()).await);
    assert!(why.ends_with(": the broker said nothing for 25 s"), "{why}");
    proxy.cut();
    proxy.set(Answers::Pass);
    delivered(&sink, [leased(2, "a")].into()).await;
    server.until(2).await;
    assert_eq!(server.ids(), ["a/1", "a/2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_dropped_leaves_room_for_the_next() {
    let server = Mosquitto::open("");
    let proxy = Proxy::before(server.port()).await;
    let mut options = options(proxy.port(), "out");
    options.target.parallel = 1;
    let sink = sink_of(options, ReceiverSecrets::default());
    proxy.set(Answers::Pass);
    assert_eq!(sink.deliver([leased(1, "a")].into()).await, [Verdict::Done]);
    proxy.set(Answers::Lost);
    tokio::select! {
        verdicts = sink.deliver([leased(2, "a")].into()) => panic!("{verdicts:?}"),
        _ = server.until(2) => {}
    }
    // Its acknowledgement was lost, so the session has no room until it ends.
    proxy.cut();
    proxy.set(Answers::Pass);
    delivered(&sink, [leased(2, "a"), leased(3, "a")].into()).await;
    server.until(4).await;
    assert_eq!(server.ids(), ["a/1", "a/2", "a/2", "a/3"]);
}

#[tokio::test]
async fn nobody_there_uses_up_no_attempt() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let why = busy(&sink(nobody.port()).deliver(one()).await);
    assert_eq!(why, format!("mqtt://{nobody}: no connection: connection refused"));
}

/// A broker that answers CONNECT with `connack`, the first message with `answer`, with its packet id put into a PUBACK, and closes.
async fn scripted(connack: &'static [u8], answer: Option<&'static [u8]>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 64 << 10];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(connack).await;
            if let Some(answer) = answer {
                let n = stream.read(&mut buffer).await.unwrap();
                let mut answer = answer.to_vec();
                // A message of 128 bytes to 16 KiB: three bytes of head, the topic, the id.
                let topic = usize::from(u16::from_be_bytes([buffer[3], buffer[4]]));
                assert!(n > topic + 7);
                if answer.first() == Some(&0x40) {
                    answer[2..4].copy_from_slice(&buffer[5 + topic..7 + topic]);
                }
                let _ = stream.write_all(&answer).await;
            }
            let _ = stream.shutdown().await;
        }
    });
    port
}

const WELCOME: &[u8] = &[0x20, 3, 0, 0, 0];

#[tokio::test]
async fn a_brokers_reasons_are_understood() {
    async fn verdict(answer: &'static [u8]) -> Verdict {
        sink(scripted(WELCOME, Some(answer)).await).deliver(one()).await.remove(0)
    }
    let why = |verdict: Verdict| match verdict {
        Verdict::Busy { why, .. } => format!("busy {why}"),
        Verdict::Failed { why } => format!("failed {why}"),
        Verdict::Refused { why } => format!("refused {why}"),
        other => format!("{other:?}"),
    };
    let cases: &[(&'static [u8], &str, &str)] = &[
        (&[0x40, 2, 0, 0], "Done", ""),
        (&[0x40, 3, 0, 0, 0x10], "Done", ""),
        (
            &[0x40, 9, 0, 0, 0x97, 5, 0x1F, 0, 2, b'n', b'o'],
            "busy mqtt://127.0.0.1:",
            ": quota exceeded (0x97): no, topic ringhookd/ann/door-1/button_press",
        ),
        (&[0x40, 3, 0, 0, 0x87], "busy ", "button_press"),
        (&[0x40, 3, 0, 0, 0x90], "failed ", "button_press"),
        (&[0x40, 3, 0, 0, 0x99], "failed ", "button_press"),
        (&[0x40, 3, 0, 0, 0x80], "failed ", "button_press"),
        (&[0x40, 3, 0, 0, 0x95], "refused ", "button_press"),
        (&[0xE0, 1, 0x95], "refused ", ": packet too large (0x95)"),
        (
            &[0xE0, 1, 0x8E],
            "busy ",
            "another client has connected with the same client_id; give each daemon one of its own (0x8E)",
        ),
        (&[0xE0, 2, 0x8B, 0], "busy ", ": the broker ended the session: server shutting down (0x8B)"),
        (&[], "busy ", ": the broker closed the connection"),
        (&[0x30, 4, 0, 1, b't', 0], "busy ", ": the answer is not MQTT 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "busy ", ": the answer is not MQTT 5"),
        (&[0xFF; 64], "busy ", ": the answer is not MQTT 5"),
    ];
    for (answer, begins, ends) in cases {
        let said = why(verdict(answer).await);
        assert!(said.starts_with(begins) && said.ends_with(ends), "{answer:02X?}: {said}");
    }
}

#[tokio::test]
async fn what_a_broker_says_to_a_login_is_told() {
    let cases: &[(&'static [u8], &str)] = &[
        (&[0x20, 3, 0, 0x86, 0], ": the broker refuses the session: bad user name or password (0x86)"),
        (&[0x20, 2, 0, 1], ": the broker refuses the session: the broker does not speak MQTT 5 (0x01)"),
        (&[0x20, 5, 0, 0, 2, 0x24, 0], ": no session: the broker takes no messages with QoS 1"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ": no session: the answer is not MQTT 5"),
        (&[0x20, 0xFF, 0xFF, 0xFF, 0x7F], ": no session: the answer is not MQTT 5"),
        (&[], ": no session: the broker closed the connection"),
    ];
    for (connack, ends) in cases {
        let why = busy(&sink(scripted(connack, None).await).deliver(one()).await);
        assert!(why.ends_with(ends), "{why}");
    }
}
