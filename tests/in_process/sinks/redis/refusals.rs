//! A server that takes nothing, or not this event: each in the server's own words, and no attempt is used up where others fare alike.

use ringhookd::domain::secret::Secret;

use super::super::certificates::{Certificates, both_sides_show_a_certificate};
use super::*;

fn with_password(password: &str) -> ReceiverSecrets {
    ReceiverSecrets { password: Some(Secret::new(password.to_owned())), ..ReceiverSecrets::default() }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let server = Server::start(&["requirepass right-password"]);
    let options = to(server.port());
    let why = busy(&sink(&options).deliver(one()).await);
    assert!(why.contains("NOAUTH"), "{why}");
    let why = busy(&sink_of(&options, with_password("wrong-password")).deliver(one()).await);
    let address = format!("redis://127.0.0.1:{}: WRONGPASS", server.port());
    assert!(why.starts_with(&address) && !why.contains("wrong-password"), "{why}");
    assert_eq!(sink_of(&options, with_password("right-password")).deliver(one()).await, [Verdict::Done]);
}

#[tokio::test]
async fn a_user_needs_the_right_to_add_and_no_other() {
    let server = Server::start(&["user ann on >right-password ~ring:* -@all +xadd"]);
    let mut options = to(server.port());
    options.target.username = Some("ann".into());
    let sink = sink_of(&options, with_password("right-password"));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done], "it can't see CONFIG, and does without");
    let elsewhere = config::Redis { stream: Template::parse("{user}").unwrap(), ..options };
    let why = busy(&sink_of(&elsewhere, with_password("right-password")).deliver(one()).await);
    assert!(why.contains("NOPERM"), "{why}");
}

#[tokio::test]
async fn a_full_memory_and_a_replica_are_waited_for() {
    let server = Server::start(&["maxmemory-policy noeviction"]);
    let sink = sink(&to(server.port()));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    server.ask::<()>("CONFIG SET maxmemory 1");
    let why = busy(&sink.deliver(one()).await);
    assert!(why.contains("OOM"), "{why}");
    server.ask::<()>("CONFIG SET maxmemory 0");
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    server.ask::<()>("REPLICAOF 127.0.0.1 1");
    let why = busy(&sink.deliver(one()).await);
    assert!(why.contains("READONLY"), "{why}");
    server.ask::<()>("REPLICAOF NO ONE");
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
}

#[tokio::test]
async fn a_key_of_another_type_is_the_failure_of_its_events_alone() {
    let server = Server::start(&[]);
    server.ask::<()>("SET ring:a taken");
    let options = config::Redis { stream: Template::parse("ring:{account}").unwrap(), ..to(server.port()) };
    let events = [leased(1, "a"), leased(2, "a"), leased(3, "b"), leased(4, "b")];
    let verdicts = sink(&options).deliver(events.into()).await;
    let [Verdict::Failed { why }, Verdict::Untried, Verdict::Done, Verdict::Done] = &verdicts[..] else {
        panic!("{verdicts:?}")
    };
    assert!(why.contains("WRONGTYPE") && why.contains("ring:a"), "{why}");
}

#[tokio::test]
async fn what_is_larger_than_the_server_takes_is_refused_by_name_and_the_next_goes_on() {
    let server = Server::start(&["proto-max-bulk-len 1mb"]);
    let sink = sink(&to(server.port()));
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let large = Leased { event: event_of("a/1", "a", large.as_bytes()), ..leased(1, "a") };
    let verdicts = sink.deliver([large, leased(2, "a")].into()).await;
    let [Verdict::Refused { why }, Verdict::Done] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(why.contains("the server takes 1048576 (proto-max-bulk-len)"), "{why}");
}

#[tokio::test]
async fn a_wait_that_the_server_can_not_keep_is_told() {
    let server = Server::start(&[]);
    let mut options = config::Redis { wait_replicas: 1, ..to(server.port()) };
    options.target.timeout = Duration::from_secs(1);
    let why = busy(&sink(&options).deliver(one()).await);
    assert!(why.ends_with("0 of 1 replicas have confirmed the entry (wait_replicas)"), "{why}");
    let options = config::Redis { wait_aof: true, ..to(server.port()) };
    let why = busy(&sink(&options).deliver(one()).await);
    assert!(why.ends_with("wait_aof needs Redis 7.2"), "{why}");
}

#[tokio::test]
async fn a_replica_confirms_many_entries_at_once() {
    let server = Server::start(&[]);
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", server.port())]);
    while !server.ask::<String>("INFO replication").contains("state=online") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let options = config::Redis { wait_replicas: 1, ..to(server.port()) };
    let events: Vec<_> = (0..200).map(|n| leased(n, &format!("account-{}", n % 20))).collect();
    assert_eq!(sink(&options).deliver(events.into()).await, vec![Verdict::Done; 200]);
    assert_eq!(replica.entries("ring:all").len(), 200, "each is there once it is confirmed");
}

#[tokio::test]
async fn nobody_there_uses_up_no_attempt() {
    let port = crate::support::broker::free_port();
    let why = busy(&sink(&to(port)).deliver(one()).await);
    assert_eq!(why, format!("redis://127.0.0.1:{port}: no connection: connection refused"));
    let server = Server::start(&[]);
    let out_of_range = config::Redis { database: 99, ..to(server.port()) };
    let why = busy(&sink(&out_of_range).deliver(one()).await);
    assert!(why.contains("DB index is out of range"), "{why}");
}

#[tokio::test]
async fn certificates_are_shown_and_asked_for() {
    let (certificates, folder) = (Certificates::new("daemon"), tempfile::tempdir().unwrap());
    certificates.write(folder.path());
    let file = |option: &str, name: &str| format!("{option} {}", folder.path().join(name).display());
    let files = [
        file("tls-cert-file", "server.pem"),
        file("tls-key-file", "server.key"),
        file("tls-ca-cert-file", "ca.pem"),
    ];
    let [certificate, key, ca] = &files;
    let server = Server::start(&["port 0", "tls-port PORT", "tls-auth-clients yes", certificate, key, ca]);
    let mut options = to(server.port());
    let url = format!("rediss://127.0.0.1:{}", server.port());
    options.target.url = address::Receiver::parse(&url, &["rediss"]).unwrap();
    both_sides_show_a_certificate(&certificates, |secrets| sink_of(&options, secrets)).await;
}
