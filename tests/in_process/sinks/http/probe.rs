//! A look at a receiver: it is connected to, and asked nothing.

use std::net::TcpListener;

use super::*;

#[tokio::test]
async fn a_receiver_is_connected_to_and_gets_no_request() {
    let receiver = Receiver::start(|_, _| Act::Say(OK.into()));
    let note = sink(&receiver).probe().await.unwrap().unwrap();
    assert!(note.starts_with("no request was made"), "{note}");
    // The next is the first that it sees.
    assert_eq!(sink(&receiver).deliver(one()).await, [Verdict::Done]);
    assert_eq!(receiver.posts().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_is_not_there_or_speaks_no_tls_is_told() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = sink_of(to(&format!("http://{nobody}/hush")), secrets()).probe().await;
    assert_eq!(down, Err(format!("http://{nobody}: no connection: connection refused")));
    let nowhere = sink_of(to("http://receiver.invalid/hush"), secrets()).probe().await;
    assert_eq!(nowhere, Err("http://receiver.invalid: the host's name can't be resolved".into()));
    let receiver = Receiver::start(|_, _| Act::SayAndClose(OK.into()));
    let url = receiver.url().replacen("http:", "https:", 1);
    let plain = sink_of(to(&url), secrets()).probe().await.unwrap_err();
    assert!(plain.starts_with("https://127.0.0.1:") && plain.contains(": TLS: "), "{plain}");
}
