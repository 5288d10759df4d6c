//! The rights of a socket change by a reload: an open connection, a lease and a call that waits keep nothing that was taken away.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::PATIENCE;
use super::installed::{Installed, body, post};
use crate::support::configuration::{KEY, OPEN_QUEUE};
use crate::support::http::{Client, request};

fn narrow(calls: &str, user: &str) -> String {
    format!(
        "{OPEN_QUEUE}[[socket]]\npath = \"FOLDER/narrow.sock\"\ncalls = [{calls}]\nusers = [\"{user}\"]\n"
    )
}

fn call(client: &mut Client, path: &str, body: &Value) -> (u16, Value) {
    let (status, answer) = client.send("POST", path, "", body.to_string().as_bytes()).unwrap();
    (status, serde_json::from_slice(&answer).unwrap())
}

/// A tail that has shown what waits.
fn begun(installed: &Installed) -> UnixStream {
    let mut stream = UnixStream::connect(installed.path("narrow.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&request("GET", "/v1/queues/all/tail", "", "")).unwrap();
    let (mut shown, mut piece) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&shown).contains("ann-1") {
        let n = stream.read(&mut piece).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&piece[..n]);
    }
    stream
}

fn ids(leased: &Value) -> Vec<&str> {
    let events = leased["events"].as_array().unwrap_or_else(|| panic!("{leased}"));
    events.iter().map(|event| event["event"]["id"].as_str().unwrap()).collect()
}

#[test]
fn rights_that_move_to_another_user_are_kept_by_no_connection_and_no_lease() {
    let read = "\"queue.read\", \"queue.tail\"";
    let installed = Installed::new(&narrow(read, "ann"));
    let daemon = installed.start();
    for (account, user) in [("a", "ann"), ("b", "bob")] {
        let entry = json!({"account_id": account, "user": user}).to_string();
        let (status, answer) = installed.call("POST", "/v1/accounts", &entry);
        assert_eq!(status, 200, "{answer}");
        for n in 0..2 {
            let body = body(&format!("{user}-{n}"), account, "motion_detected");
            assert_eq!(post(&daemon, KEY, &body), 200);
        }
    }
    let mut tail = begun(&installed);
    let mut client = Client::unix(&installed.path("narrow.sock")).unwrap();
    let lease = |client: &mut Client| call(client, "/v1/queues/all/lease", &json!({"max": 9}));
    let (status, of_ann) = lease(&mut client);
    assert_eq!((status, ids(&of_ann)), (200, vec!["ann-0", "ann-1"]));
    installed.configure(&narrow(read, "bob"));
    let changed = format!("socket \"{}\".users has changed\n", installed.path("narrow.sock").display());
    assert_eq!(installed.reload(), changed);
    let mut rest = String::new();
    tail.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("bob"), "it has ended: {rest}");
    let settle = json!({"lease": of_ann["lease"], "ack": [of_ann["events"][0]["seq"]]});
    let (status, answer) = call(&mut client, "/v1/queues/all/settle", &settle);
    assert_eq!(status, 409, "{answer}");
    // They have gone back, and the attempt does not count.
    let (_, again) = installed.call("POST", "/v1/queues/all/lease", r#"{"max": 9, "user": "ann"}"#);
    assert_eq!((ids(&again), &again["events"][0]["attempt"]), (vec!["ann-0", "ann-1"], &json!(1)), "{again}");
    let (status, of_bob) = lease(&mut client);
    assert_eq!((status, ids(&of_bob)), (200, vec!["bob-0", "bob-1"]));
    // More rights, and the lease goes on; then none.
    installed.configure(&narrow("\"queue.*\"", "bob"));
    installed.reload();
    let settle = json!({"lease": of_bob["lease"], "ack": [of_bob["events"][0]["seq"]]});
    assert_eq!(call(&mut client, "/v1/queues/all/settle", &settle), (200, json!({"settled": 1, "lost": 0})));
    installed.configure(&narrow("\"status\"", "bob"));
    installed.reload();
    assert_eq!(lease(&mut client).0, 403);
    assert!(daemon.stop().0.success());
}
