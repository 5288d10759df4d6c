//! No answer, half an answer, and an answer that never ends.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::server::read_request;
use super::*;

/// For what would last for ever without a limit, and long enough for a busy machine to come as far as that.
const SHORT: Duration = Duration::from_secs(3);

fn impatient(server: &Server) -> RingApi {
    let limits = Settings { call_timeout: SHORT, answer_timeout: SHORT, ..settings(&server.base()) };
    let settings = Settings { connect_timeout: SHORT / 2, ..limits };
    RingApi::new(settings).unwrap()
}

#[tokio::test]
async fn no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let api = RingApi::new(settings(&base)).unwrap();
    assert_eq!(told(&api.refresh(&secret(TOKEN)).await), "not sent: no connection: connection refused");
    let said = api.me(&secret("a")).await;
    assert_eq!((said.heard, &*said.why), (Heard::NO_CONNECTION, "no connection: connection refused"));
}

#[tokio::test]
async fn silence_and_ends() {
    // Without a whole token.
    let half = &http("200 OK", PAIR)[..60];
    let part = half.split_once("\r\n\r\n").unwrap().1;
    let mut calls = JoinSet::new();
    for (answer, then, expected) in [
        ("", Then::Silence, "unknown: no answer in time".to_owned()),
        ("HTTP/1.1 200", Then::Silence, "unknown: no answer in time".to_owned()),
        ("HTTP/1.1 200 OK\r\nX: ", Then::Drip, "unknown: no answer in time".to_owned()),
        ("", Then::Close, "unknown: the connection ended before an answer".to_owned()),
        ("HTTP/1.1 200", Then::Close, "unknown: the connection ended before an answer".to_owned()),
        (half, Then::Close, format!("unreadable: {part}")),
        (half, Then::Silence, format!("unreadable: {part}")),
    ] {
        let server = Server::start(answer, then).await;
        let api = if then == Then::Close { api(&server) } else { impatient(&server) };
        calls.spawn(async move {
            assert_eq!(told(&api.refresh(&secret(TOKEN)).await), expected, "{then:?}");
            assert_eq!((server.received(TOKEN), server.connections()), (1, 1), "{expected} {then:?}");
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn resets() {
    let server = Server::start("", Then::Reset).await;
    let told_of = told(&api(&server).refresh(&secret(TOKEN)).await);
    assert!(told_of.starts_with("unknown: the connection "), "{told_of}");
    // What came before a reset may be lost with it, and the head too.
    let server = Server::start(&http("200 OK", PAIR)[..60], Then::Reset).await;
    let told_of = told(&api(&server).refresh(&secret(TOKEN)).await);
    assert!(told_of.starts_with("unreadable: ") || told_of.starts_with("unknown: "), "{told_of}");
    assert_eq!((server.received(TOKEN), server.connections()), (1, 1));
}

#[tokio::test]
async fn a_pair_is_read_although_the_connection_breaks_off() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{PAIR}");
    let server = Server::start(&answer, Then::Close).await;
    assert_eq!(told(&api(&server).refresh(&secret(TOKEN)).await), "renewed");
}

#[tokio::test]
async fn an_answer_that_was_compressed_unasked() {
    let server = Server::with(|mut stream, seen| async move {
        read_request(&mut stream, &seen).await?;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packed, PAIR.as_bytes()).ok()?;
        let packed = packed.finish().ok()?;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", packed.len());
        stream.write_all(&[head.as_bytes(), &packed].concat()).await.ok()
    })
    .await;
    assert_eq!(told(&api(&server).refresh(&secret(TOKEN)).await), "renewed");
}

#[tokio::test]
async fn endless_bodies() {
    let mut calls = JoinSet::new();
    for framing in ["", "Content-Length: 99999999999\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        let flood = Server::start(&head, Then::Flood).await;
        let exchange = api(&flood).refresh(&secret(TOKEN)).await;
        assert_eq!(told(&exchange), format!("unreadable: {}", ".".repeat(4096)));
        calls.spawn(async move {
            let drip = Server::start(&head, Then::Drip).await;
            let exchange = impatient(&drip).refresh(&secret(TOKEN)).await;
            let Heard::Answer(Granted::Unreadable(raw)) = exchange.heard else { panic!("{exchange:?}") };
            assert!(raw.expose().len() < 4096 && raw.expose().iter().all(|&byte| byte == b'.'));
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn a_pair_is_read_although_what_follows_is_over_the_cap() {
    let long = format!("{PAIR}{}", " ".repeat(5000));
    let server = Server::start(&http("200 OK", &long), Then::Close).await;
    assert_eq!(told(&api(&server).refresh(&secret(TOKEN)).await), "renewed");
}

#[tokio::test]
async fn redirects_lead_nowhere() {
    let target = Server::start(&http("200 OK", PAIR), Then::Close).await;
    for status in [301, 302, 303, 307, 308] {
        let head = format!("{status} Elsewhere\r\nLocation: {}/oauth/token", target.base());
        let server = Server::start(&http(&head, ""), Then::Next).await;
        let api = api(&server);
        assert_eq!(told(&api.refresh(&secret(TOKEN)).await), format!("unknown: HTTP {status}"));
        assert_eq!(api.me(&secret("a")).await.heard, Heard::SILENT);
        assert_eq!(server.requests().len(), 2);
    }
    assert_eq!(target.connections(), 0);
}

/// A kept connection ends without an answer to the second request: it was sent, and is not sent again.
#[tokio::test]
async fn a_kept_connection_that_takes_a_request_and_closes() {
    for reset in [false, true] {
        let server = Server::with(move |mut stream, seen| async move {
            read_request(&mut stream, &seen).await?;
            let answer = http("200 OK", PAIR);
            stream.write_all(answer.as_bytes()).await.ok()?;
            read_request(&mut stream, &seen).await?;
            if reset {
                stream.set_zero_linger().ok()?;
            }
            Some(())
        })
        .await;
        let api = api(&server);
        assert_eq!(told(&api.refresh(&secret("first")).await), "renewed");
        returned().await;
        let told_of = told(&api.refresh(&secret("second")).await);
        assert!(told_of.starts_with("unknown: the connection "), "{told_of}");
        assert_eq!((server.received("second"), server.connections()), (1, 1));
    }
}

/// The close races the next request. Whoever wins: no token arrives twice, and none that is said not to have been sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_that_close_at_any_moment() {
    let server = Server::start(&http("200 OK", PAIR), Then::Close).await;
    let api = api(&server);
    let mut outcomes = Vec::new();
    for round in 0..300 {
        let token = format!("token-{round}-end");
        let exchange = told(&api.refresh(&secret(&token)).await);
        outcomes.push((token, exchange));
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
    }
    for (token, exchange) in outcomes {
        let received = server.received(&token);
        match exchange.as_str() {
            "renewed" => assert_eq!(received, 1, "{token}"),
            told if told.starts_with("not sent: ") => assert_eq!(received, 0, "{token}: {told}"),
            told => assert!(told.starts_with("unknown: ") && received <= 1, "{token}: {told}"),
        }
    }
}

#[tokio::test]
async fn many_at_a_time() {
    let server = Server::start(&http("200 OK", PAIR), Then::Next).await;
    let api = api(&server);
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let api = api.clone();
            tokio::spawn(async move { told(&api.refresh(&secret(&format!("token-{n}-end"))).await) })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "renewed");
    }
    assert!((0..40).all(|n| server.received(&format!("token-{n}-end")) == 1));
}

#[tokio::test]
async fn a_name_that_is_none() {
    let nowhere = settings("https://ring.invalid");
    let Ok(api) = RingApi::new(Settings {
        connect_timeout: SHORT,
        ca_pem: Some(tls::Ca::new("ours").pem()),
        ..nowhere
    }) else {
        panic!("a CA of our own is enough")
    };
    let told_of = told(&api.refresh(&secret(TOKEN)).await);
    // A resolver that is out of reach may take longer than the limit.
    let expected = ["not sent: the host's name can't be resolved", "not sent: connecting took too long"];
    assert!(expected.contains(&told_of.as_str()), "{told_of}");
}
