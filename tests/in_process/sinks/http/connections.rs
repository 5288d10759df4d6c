//! Connections: kept, shared, broken off in every way, and never waited for without end.

use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::Barrier;

use super::*;

/// What is said of one event to a receiver that behaves so; the request may take a second.
async fn hasty(behave: impl Fn() -> Act + Send + Sync + 'static) -> Vec<Verdict> {
    let receiver = Receiver::start(move |_, _| behave());
    let queue = Target { timeout: Duration::from_secs(1), ..to(&receiver.url()) };
    sink_of(queue, secrets()).deliver(one()).await
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up_in_time() {
    for (_, why) in [
        busy(&hasty(|| Act::Silence).await),
        busy(&hasty(|| Act::Drip("HTTP/1.1 200 OK\r\nx: ".into())).await),
        busy(&hasty(|| Act::Drip("HTTP/1.1 100 Continue\r\n\r\n".repeat(50))).await),
    ] {
        assert!(why.ends_with(": no answer in time") || why.ends_with(": the answer is not HTTP"), "{why}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_or_is_none_uses_up_no_attempt() {
    for answer in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\u{16}\u{3}\u{1}\u{0}garbage that goes on and on\r\n\r\n",
    ] {
        let (retry_after, why) = busy(&hasty(move || Act::SayAndClose(answer.into())).await);
        assert!(retry_after.is_none() && why.starts_with("http://127.0.0.1:"), "{answer}: {why}");
    }
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let (_, why) = busy(&hasty(move || Act::SayAndClose(huge.clone())).await);
    assert!(why.starts_with("http://127.0.0.1:"), "{why}");
}

#[tokio::test]
async fn the_status_is_the_confirmation_whatever_comes_of_the_body() {
    for act in [
        || Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut".into()),
        || Act::Drip("HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n".into()),
        || Act::Drip("HTTP/1.1 200 OK\r\n\r\n".into()),
        || Act::Say(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n{OK}")),
        || Act::SayAndClose(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(200_000))),
        || Act::SayAndClose("HTTP/1.0 200 OK\r\n\r\n".into()),
    ] {
        assert_eq!(hasty(act).await, [Verdict::Done]);
    }
    // A refusal is one too.
    let drip = || Act::Drip("HTTP/1.1 400 Bad Request\r\ncontent-length: 100000\r\n\r\nwhy".into());
    assert!(words(&hasty(drip).await).contains("400 Bad Request: why."));
}

#[tokio::test]
async fn nobody_there_uses_up_no_attempt() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, why) = busy(&sink_of(to(&format!("http://{nobody}/")), secrets()).deliver(one()).await);
    assert_eq!(why, format!("http://{nobody}: no connection: connection refused"));
    let nowhere = sink_of(to("http://receiver.invalid/hush"), secrets()).deliver(one()).await;
    let (_, why) = busy(&nowhere);
    assert_eq!(why, "http://receiver.invalid: the host's name can't be resolved");
}

#[tokio::test]
async fn a_receiver_that_closes_after_it_accepted_uses_up_no_attempt() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let (_, why) = busy(&sink_of(to(&format!("http://{address}/")), secrets()).deliver(one()).await);
    assert!(why.starts_with(&format!("http://{address}: the connection ")), "{why}");
    closing.abort();
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let receiver = Receiver::start(|n, _| {
        let body = "x".repeat(n * 10);
        Act::Say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    });
    let sink = sink(&receiver);
    for round in 0..3 {
        let events: Vec<_> = (0..20).map(|n| leased(round * 20 + n, "a")).collect();
        assert_eq!(sink.deliver(events.into()).await, vec![Verdict::Done; 20]);
    }
    assert_eq!((receiver.posts().len(), receiver.connections()), (60, 1));
}

#[tokio::test]
async fn a_connection_that_the_receiver_closes_between_requests_costs_no_attempt() {
    let receiver = Receiver::start(|_, _| Act::SayAndClose(OK.into()));
    let sink = sink(&receiver);
    for seq in 0..20 {
        let mut tries = 0;
        loop {
            match &sink.deliver([leased(seq, "a")].into()).await[..] {
                [Verdict::Done] => break,
                [Verdict::Busy { .. }] => tries += 1,
                other => panic!("{other:?}"),
            }
            assert!(tries < 10);
        }
    }
    let mut ids: Vec<_> =
        receiver.posts().iter().map(|post| post.header("webhook-id").unwrap().to_owned()).collect();
    ids.dedup();
    assert_eq!(ids, (0..20).map(|seq| format!("a/{seq}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn accounts_go_beside_each_other_and_one_account_in_its_order() {
    let together = Arc::new(Barrier::new(3));
    let receiver = Receiver::start({
        let together = Arc::clone(&together);
        move |n, _| if n < 3 { Act::Together(Arc::clone(&together)) } else { Act::Say(OK.into()) }
    });
    let events: Vec<_> =
        (0..30).zip(["a", "b", "c"].iter().cycle()).map(|(n, account)| leased(n, account)).collect();
    assert_eq!(sink(&receiver).deliver(events.into()).await, vec![Verdict::Done; 30]);
    for account in ["a", "b", "c"] {
        let of = |post: &receiver::Post| {
            let id = post.header("webhook-id").unwrap();
            Some(id.strip_prefix(account)?[1..].parse::<u32>().unwrap())
        };
        let order: Vec<_> = receiver.posts().iter().filter_map(of).collect();
        assert!(order.len() == 10 && order.is_sorted(), "{account}: {order:?}");
    }
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_in_flight() {
    let receiver = Receiver::start(|_, _| Act::Silence);
    let queue = Target { timeout: Duration::from_secs(1), parallel: 2, ..to(&receiver.url()) };
    let events: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|account| leased(1, account)).collect();
    let verdicts = sink_of(queue, secrets()).deliver(events.into()).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
    // Nothing more begins once the first was given up.
    assert_eq!((receiver.posts().len(), receiver.connections()), (2, 2));
}

#[tokio::test]
async fn a_delivery_that_is_dropped_ends_its_requests() {
    let receiver = Receiver::start(|n, _| if n == 0 { Act::Silence } else { Act::Say(OK.into()) });
    let sink = sink_of(Target { parallel: 1, ..to(&receiver.url()) }, secrets());
    let arrived = async {
        while receiver.posts().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        verdicts = sink.deliver(one()) => panic!("{verdicts:?}"),
        () = arrived => {}
    }
    // The only permit comes back, and the same event goes again.
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    let ids: Vec<_> =
        receiver.posts().iter().map(|post| post.header("webhook-id").map(str::to_owned)).collect();
    assert!(ids.iter().all(|id| id.as_deref() == Some("a/7")), "{ids:?}");
}

struct Ca {
    pem: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let base64 = data_encoding::BASE64.encode(params.self_signed(&key).unwrap().der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n").into_bytes();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn receiver(&self, host: &str) -> Receiver {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config =
            config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        Receiver::with(|_, _| Act::Say(OK.into()), Some(Arc::new(config)))
    }

    async fn tried(&self, receiver: &Receiver) -> Vec<Verdict> {
        let secrets = ReceiverSecrets { ca_pem: Some(self.pem.clone()), ..secrets() };
        sink_of(to(&receiver.url()), secrets).deliver(one()).await
    }
}

#[tokio::test]
async fn a_private_ca_is_trusted_and_no_other() {
    let ca = Ca::new();
    let receiver = ca.receiver("127.0.0.1");
    assert_eq!(ca.tried(&receiver).await, [Verdict::Done]);
    let (_, why) = busy(&Ca::new().tried(&receiver).await);
    assert!(why.ends_with(": TLS: the certificate is from no CA that is trusted here"), "{why}");
    assert_eq!(receiver.posts().len(), 1);
    let other = ca.receiver("other.example");
    let (_, why) = busy(&ca.tried(&other).await);
    assert!(why.ends_with(": TLS: the certificate is for another host"), "{why}");
    let plain = Receiver::start(|_, _| Act::SayAndClose("HTTP/1.1 400 Bad\r\n\r\n".into()));
    let queue = Target { timeout: Duration::from_secs(1), ..to(&plain.url().replace("http:", "https:")) };
    let secrets = ReceiverSecrets { ca_pem: Some(ca.pem.clone()), ..secrets() };
    let (_, why) = busy(&sink_of(queue, secrets).deliver(one()).await);
    assert!(why.starts_with("https://127.0.0.1:"), "{why}");
}
