//! A look at a broker: nothing is published, and the session of a daemon with the same name stays.

use std::net::TcpListener;

use super::logins::{ALL, ann, protected};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_there_is_well_and_keeps_the_session_of_the_daemon() {
    let server = Mosquitto::open("");
    let daemon = sink(server.port());
    delivered(&daemon, [leased(1, "a")].into()).await;
    let note = sink(server.port()).probe().await.unwrap().unwrap();
    assert!(note.contains("whether its topic is allowed is told at the first event"), "{note}");
    delivered(&daemon, [leased(2, "a")].into()).await;
    server.until(2).await;
    assert_eq!(server.ids(), ["a/1", "a/2"], "nothing else was published");
    let said = server.broker.said();
    assert!(!said.contains("already connected"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_down_or_takes_another_password_is_told_without_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = sink(nobody.port()).probe().await;
    assert_eq!(down, Err(format!("mqtt://{nobody}: no connection: connection refused")));
    let server = protected(ALL);
    assert!(ann(server.port(), "hush-hush").probe().await.is_ok());
    let why = ann(server.port(), "hush-and-wrong").probe().await.unwrap_err();
    assert!(why.contains("the broker refuses the session: not authorized") && !why.contains("hush"), "{why}");
}
