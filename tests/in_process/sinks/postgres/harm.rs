//! What harms a server or the way to it: nothing is lost, nothing comes twice, and each account keeps its order.

use super::super::certificates::{Certificates, both_sides_show_a_certificate};
use super::*;
use crate::support::proxy::{Answers, Proxy};

/// All events are there once, those of each account in order.
fn all_once_in_order(server: &Server) {
    let rows = server.rows("account_id, sequence");
    deliveries::all_in_order(rows.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())));
}

fn through(proxy: &Proxy, timeout: Duration) -> Postgres {
    let mut options = to(proxy.port());
    options.target.timeout = timeout;
    sink(&options)
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_has_all() {
    let server = Server::trusting();
    let sink = sink(&to(server.port()));
    until_done(&sink, |round, verdicts| match round {
        0 => server.kill(),
        1 => {
            assert!(matches!(verdicts[0], Verdict::Busy { .. }), "{verdicts:?}");
            server.again();
        }
        _ => {}
    })
    .await;
    all_once_in_order(&server);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_has_all_once_it_goes_on() {
    let server = Server::trusting();
    let mut options = to(server.port());
    options.target.timeout = Duration::from_secs(1);
    let sink = sink(&options);
    until_done(&sink, |round, verdicts| match round {
        0 => server.freeze(),
        1 => {
            let Verdict::Busy { why, .. } = &verdicts[0] else { panic!("{verdicts:?}") };
            assert!(why.ends_with("no answer in time"), "{why}");
        }
        2 => server.thaw(),
        _ => {}
    })
    .await;
    all_once_in_order(&server);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_brings_nothing_twice() {
    let server = Server::trusting();
    let proxy = Proxy::before(server.port()).await;
    let sink = through(&proxy, Duration::from_secs(1));
    until_done(&sink, |round, verdicts| match round {
        0 => proxy.set(Answers::Lost),
        1 => {
            assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Busy { .. })), "{verdicts:?}");
            assert!(server.rows("id").len() > 64, "it was committed");
            proxy.set(Answers::Pass);
            proxy.cut();
        }
        _ => {}
    })
    .await;
    all_once_in_order(&server);
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_makes_all_in_flight_busy_at_once() {
    let server = Server::trusting();
    let proxy = Proxy::before(server.port()).await;
    // No time-out could end it in time.
    let sink = through(&proxy, Duration::from_hours(1));
    assert_eq!(sink.deliver(one()).await, [Verdict::Done]);
    proxy.set(Answers::Lost);
    let lease = |n: u64| -> Arc<[Leased]> { [leased(n, &format!("account-{n}"))].into() };
    let cut = async {
        while server.rows("id").len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.cut();
    };
    let (first, second, ()) = tokio::join!(sink.deliver(lease(1)), sink.deliver(lease(2)), cut);
    for verdicts in [first, second] {
        let why = busy(&verdicts);
        assert!(why.ends_with("the connection ended before an answer"), "{why}");
    }
    proxy.set(Answers::Pass);
    assert_eq!(sink.deliver(lease(1)).await, [Verdict::Done], "over another connection");
    assert_eq!(server.rows("id").len(), 3);
}

#[tokio::test]
async fn nobody_there_uses_up_no_attempt() {
    let port = crate::support::broker::free_port();
    let why = busy(&sink(&to(port)).deliver(one()).await);
    assert_eq!(why, format!("postgres://127.0.0.1:{port}: no connection: connection refused"));
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_where_tls_is_asked_for() {
    let server = Server::trusting();
    let why = busy(&sink(&config::Postgres { tls: true, ..to(server.port()) }).deliver(one()).await);
    assert!(why.ends_with("the server does not speak TLS"), "{why}");
}

#[tokio::test]
async fn certificates_are_shown_and_asked_for() {
    let (certificates, folder) = (Certificates::new("daemon"), tempfile::tempdir().unwrap());
    certificates.write(folder.path());
    server::own(folder.path());
    let file = |option: &str, name: &str| format!("{option}={}", folder.path().join(name).display());
    let [certificate, key, ca] =
        [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("ssl_ca_file", "ca.pem")]
            .map(|(option, name)| file(option, name));
    let login = "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca";
    let server = Server::start(login, &["ssl=on", &certificate, &key, &ca]);
    let options = config::Postgres { tls: true, ..to(server.port()) };
    both_sides_show_a_certificate(&certificates, |secrets| sink_of(&options, secrets)).await;
}
