//! A look at a server: nothing is published, and a stream, a login or a right that is missing is told.

use std::net::TcpListener;

use ringhookd::domain::secret::Secret;

use super::*;

fn at(port: u16, user: Option<(&str, &str)>) -> Nats {
    let target = Target { username: user.map(|(name, _)| name.to_owned()), ..to(port) };
    let password = user.map(|(_, password)| Secret::new(password.to_owned()));
    sink(target, "out", ReceiverSecrets { password, ..ReceiverSecrets::default() })
}

async fn why(sink: &Nats) -> String {
    sink.probe().await.expect_err("something is wrong")
}

fn streams(more: &str) -> Streams {
    Streams { broker: Mutex::new(server(more)), seen: Arc::default() }
}

#[tokio::test]
async fn a_server_with_a_stream_for_the_subjects_is_well_and_keeps_nothing_of_it() {
    let streams = streams("");
    let missing = why(&at(streams.port(), None)).await;
    assert!(missing.contains("no stream takes q.out.>: start the server with JetStream"), "{missing}");
    streams.create(&json!({}));
    assert_eq!(at(streams.port(), None).probe().await, Ok(None));
    assert!(streams.client().stored(1).is_none(), "nothing was published");
}

#[tokio::test]
async fn a_server_that_is_down_or_takes_another_password_is_told_without_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = why(&at(nobody.port(), None)).await;
    assert_eq!(down, format!("nats://{nobody}: no connection: connection refused"));
    let narrow = "permissions: { publish: [\"q.>\"], subscribe: [\"_INBOX.>\"] }";
    let users = streams(&format!(
        "authorization {{ users: [{{ user: ann, password: right-password }}, {{ user: bob, password: right-password, {narrow} }}] }}"
    ));
    let wrong = why(&at(users.port(), Some(("ann", "wrong-password")))).await;
    assert!(wrong.contains("takes no such user") && !wrong.contains("wrong-password"), "{wrong}");
    let missing = why(&at(users.port(), Some(("ann", "right-password")))).await;
    assert!(missing.contains("no stream takes q.out.>"), "{missing}");
    let note = at(users.port(), Some(("bob", "right-password"))).probe().await.unwrap().unwrap();
    assert!(note.contains("may not ask which stream takes q.out.>"), "{note}");
}
