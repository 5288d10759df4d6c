//! A look at a server: nothing is added, and what would keep an entry away is told.

use std::net::TcpListener;

use ringhookd::domain::secret::Secret;

use super::*;

fn with_password(password: &str) -> ReceiverSecrets {
    ReceiverSecrets { password: Some(Secret::new(password.to_owned())), ..ReceiverSecrets::default() }
}

async fn why(sink: &Redis) -> String {
    sink.probe().await.expect_err("something is wrong")
}

#[tokio::test]
async fn a_server_that_is_there_is_well_and_keeps_nothing_of_it() {
    let server = Server::start(&[]);
    let options = config::Redis { stream: Template::parse("ring:{user}").unwrap(), ..to(server.port()) };
    assert_eq!(sink(&options).probe().await, Ok(None));
    assert_eq!(server.ask::<u32>("DBSIZE"), 0);
    let lazy = Server::start(&["appendonly no"]);
    let note = sink(&to(lazy.port())).probe().await.unwrap().unwrap();
    assert!(note.contains("appendonly no"), "{note}");
}

#[tokio::test]
async fn a_server_that_is_down_or_takes_another_password_is_told_without_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = why(&sink(&to(nobody.port()))).await;
    assert_eq!(down, format!("redis://{nobody}: no connection: connection refused"));
    let server = Server::start(&["requirepass right-password"]);
    let options = to(server.port());
    let without = why(&sink(&options)).await;
    assert!(without.contains("NOAUTH"), "{without}");
    let wrong = why(&sink_of(&options, with_password("wrong-password"))).await;
    assert!(wrong.contains(": WRONGPASS") && !wrong.contains("wrong-password"), "{wrong}");
    assert_eq!(sink_of(&options, with_password("right-password")).probe().await, Ok(None));
}

#[tokio::test]
async fn what_would_keep_an_entry_away_is_told() {
    let server = Server::start(&[
        "user ann on >right-password ~* +@all -xadd",
        "user bob on >right-password ~other:* +@all",
        "user eve on >right-password ~ring:* -@all +xadd",
    ]);
    let of = |user: &str| {
        let mut options = to(server.port());
        options.target.username = Some(user.into());
        sink_of(&options, with_password("right-password"))
    };
    let command = why(&of("ann")).await;
    assert!(command.contains("'xadd' command"), "{command}");
    let key = why(&of("bob")).await;
    assert!(key.contains("ring:all"), "{key}");
    assert_eq!(of("eve").probe().await, Ok(None), "she may add, and ask nothing");
    let replicas = config::Redis { wait_replicas: 1, ..to(server.port()) };
    let none = why(&sink(&replicas)).await;
    assert!(none.contains("0 replicas") && none.contains("wait_replicas"), "{none}");
    server.ask::<()>("SET ring:all taken");
    let taken = why(&sink(&to(server.port()))).await;
    assert!(taken.contains("ring:all is no stream but of type string"), "{taken}");
    server.ask::<()>("REPLICAOF 127.0.0.1 1");
    let replica = why(&sink(&to(server.port()))).await;
    assert!(replica.contains("is a replica"), "{replica}");
}
