//! Who we are at the broker: passwords, rights, virtual hosts, TLS with its certificates; and what is no broker.

use ringhookd::config::Identity;
use ringhookd::domain::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::support::user;

fn ann(password: &str, exchange: &str, queue: &str) -> Amqp {
    let mut options = options(peaceful().port());
    options.target.username = Some("ann".into());
    options.exchange = Some(template(exchange));
    options.routing_key = template(&format!("{queue}.{{user}}.{{type}}"));
    let password = Some(Secret::new(password.to_owned()));
    sink_of(options, ReceiverSecrets { password, ..ReceiverSecrets::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_without_it() {
    let queue = peaceful().queue("password", &[]);
    delivered(&ann("right-password", "amq.topic", &queue), one()).await;
    let wrong = ann("hush-and-wrong", "amq.topic", &queue);
    let why = obstacle(&wrong, one()).await;
    let begins = format!(
        "amqp://127.0.0.1:{}: the broker refuses the login: 403 ACCESS_REFUSED - Login was refused",
        peaceful().port()
    );
    assert!(why.starts_with(&begins), "{why}");
    assert!(!why.contains("hush") && !format!("{wrong:?}").contains("hush"), "{why} {wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_broker_logs_in_and_tells_why_it_can_not() {
    let note = ann("right-password", "amq.topic", "look").probe().await.unwrap().unwrap();
    assert!(note.contains("a channel was opened"), "{note}");
    let why = ann("hush-and-wrong", "amq.topic", "look").probe().await.unwrap_err();
    assert!(
        why.contains(": the broker refuses the login: 403 ACCESS_REFUSED") && !why.contains("hush"),
        "{why}"
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = sink_of(options(nobody.port()), ReceiverSecrets::default()).probe().await;
    assert_eq!(down, Err(format!("amqp://{nobody}: no connection: connection refused")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_without_the_right_holds_the_queue_and_a_key_without_it_fails_alone() {
    let queue = peaceful().queue("rights", &[]);
    let why = obstacle(&ann("right-password", "amq.fanout", &queue), one()).await;
    assert!(
        why.contains("403 ACCESS_REFUSED")
            && why.contains("access to exchange 'amq.fanout'")
            && why.contains("'ann'"),
        "{why}"
    );
    let sink = ann("right-password", "amq.topic", &queue);
    let mut eves = leased(1, "a");
    eves.event.user = Some(user("eve"));
    let verdicts = answered(&sink, [eves].into()).await;
    let [Verdict::Failed { why }] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(why.contains("access to topic 'rights-"), "{why}");
    delivered(&sink, one()).await;
    assert_eq!(ids(peaceful().port(), &queue), ["a/7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_host_that_is_missing_or_of_others_is_told() {
    for (vhost, words) in [("nowhere", "not found"), ("of others", "refused for user 'ann'")] {
        let mut options = options(peaceful().port());
        options.vhost = vhost.to_owned();
        options.target.username = Some("ann".into());
        let password = Some(Secret::new("right-password".to_owned()));
        let sink = sink_of(options, ReceiverSecrets { password, ..ReceiverSecrets::default() });
        let why = obstacle(&sink, one()).await;
        assert!(
            why.contains(": the broker refuses the login: 530 NOT_ALLOWED") && why.contains(words),
            "{why}"
        );
    }
}

fn over_tls(queue: &str, secrets: ReceiverSecrets) -> Amqp {
    let mut options = options(peaceful().port());
    let url = format!("amqps://127.0.0.1:{}", peaceful().tls_port);
    options.target.url = Receiver::parse(&url, &["amqps"]).unwrap();
    options.routing_key = template(&format!("{queue}.{{type}}"));
    sink_of(options, secrets)
}

fn identity() -> Identity {
    let (certificate, key) = peaceful().certificates.client.clone();
    Identity { certificates: certificate.into_bytes(), key: Secret::new(key.into_bytes()) }
}

/// The broker asks for a certificate, and lets its name in as a user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_is_trusted_where_it_is_named_and_our_certificate_says_who_we_are() {
    let queue = peaceful().queue("tls", &[]);
    let ca_pem = || Some(peaceful().certificates.ca.clone().into_bytes());
    let known =
        ReceiverSecrets { ca_pem: ca_pem(), identity: Some(identity()), ..ReceiverSecrets::default() };
    delivered(&over_tls(&queue, known), one()).await;
    assert_eq!(ids(peaceful().port(), &queue), ["a/7"]);

    let untrusting = ReceiverSecrets { identity: Some(identity()), ..ReceiverSecrets::default() };
    let why = obstacle(&over_tls(&queue, untrusting), one()).await;
    assert!(why.ends_with("TLS: the certificate is from no CA that is trusted here"), "{why}");

    let unknown = ReceiverSecrets { ca_pem: ca_pem(), ..ReceiverSecrets::default() };
    let why = obstacle(&over_tls(&queue, unknown), one()).await;
    let told = why.ends_with("TLS: the other side does not accept our certificate, or asks for one");
    assert!(told || why.contains("the connection broke") || why.contains("closed the connection"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_by_certificate_is_told_to_be_impossible_without_tls() {
    let mut options = options(peaceful().port());
    options.routing_key = template("certificate.{type}");
    let secrets = ReceiverSecrets { identity: Some(identity()), ..ReceiverSecrets::default() };
    let why = obstacle(&sink_of(options, secrets), one()).await;
    assert!(why.ends_with(": the broker takes no login by EXTERNAL, but by: PLAIN"), "{why}");
}

/// A server that answers whatever comes with these bytes, and closes.
async fn scripted(answer: &'static [u8]) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_broker_of_this_version_is_told() {
    for (answer, ends) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            ": this is no broker of AMQP 0-9-1, or it is broken: it sent no frame",
        ),
        (b"AMQP\x00\x01\x00\x00", ": the broker speaks another version of AMQP, and not 0-9-1"),
        (b"", ": the broker closed the connection at the login"),
        (
            b"\x01\x00\x00\xFF\xFF\xFF\xFF",
            ": this is no broker of AMQP 0-9-1, or it is broken: it sent a frame that is too large",
        ),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0A\x00\x29\xCE", ": the broker does not answer as a login goes"),
    ] {
        let why = obstacle(&sink_to(scripted(answer).await, "q"), one()).await;
        assert!(why.ends_with(ends), "{why}");
    }
}
