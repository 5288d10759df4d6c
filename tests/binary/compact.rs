//! `ringhookd compact`: the file shrinks beside the daemon's work, and nothing is lost.

use std::fs;

use serde_json::{Value, json};

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{Client, exchange, request};
use crate::support::installation::Ran;
use crate::support::process::{Running, run};

const BIG: usize = 300;

#[test]
fn the_file_shrinks_after_a_backlog_and_what_is_left_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = Configuration::of(OPEN_QUEUE).with(SOCKET).write(dir.path());
    let config = config.to_str().unwrap();
    let daemon = Running::start(config.as_ref());
    let command = |args: &[&str]| Ran::of(run(&[&["--config", config, "--json"], args].concat(), b""));
    let json = |args: &[&str]| -> Value {
        let ran = command(args);
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    };
    let filling = "x".repeat(100_000);
    let post = |daemon: &Running, id: &str| {
        let body = format!(
            r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"x","big":"{filling}"}}}}"#
        );
        assert_eq!(daemon.post(&signature(body.as_bytes()), body.as_bytes()), 200);
    };
    (0..BIG).for_each(|n| post(&daemon, &n.to_string()));
    let socket = dir.path().join("admin.sock");
    let call = |path: &str, body: Value| -> Value {
        let mut client = Client::unix(&socket).unwrap();
        let (status, answer) = client.send("POST", path, "", body.to_string().as_bytes()).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    };
    let mut taken = 0;
    while taken < BIG - 3 {
        let leased = call("/v1/queues/all/lease", json!({"max": (BIG - 3 - taken).min(20)}));
        let events = leased["events"].as_array().unwrap();
        taken += events.len();
        let seqs: Vec<&Value> = events.iter().map(|event| &event["seq"]).collect();
        call("/v1/queues/all/settle", json!({"lease": leased["lease"], "ack": seqs}));
    }
    let file = dir.path().join("data/store.redb");
    let before = fs::metadata(&file).unwrap().len();
    let done = json(&["compact"]);
    let after = fs::metadata(&file).unwrap().len();
    assert_eq!(done, json!({"before": before, "after": after}));
    assert!(after < before / 4, "{done}");
    assert!(!dir.path().join("data/store.compacting").exists());
    assert!(!dir.path().join("data/store.compacting.log").exists());
    let again = json(&["compact"]);
    assert!(again["after"].as_u64().unwrap() <= after, "{again}");

    // It goes on in the new file, also across a restart.
    post(&daemon, "after");
    assert!(daemon.stop().0.success());
    let daemon = Running::start(config.as_ref());
    post(&daemon, "7");
    let read = command(&["queue", "read", "all", "--max", "100"]);
    let ids: Vec<Value> =
        read.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["297", "298", "299", "after"], "the repeat of 7 is known");
    assert!(daemon.stop().0.success());
    assert_eq!(command(&["check"]).code, 0);
}

#[test]
fn status_and_metrics_say_how_much_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let config = Configuration::of(OPEN_QUEUE).with(SOCKET).write(dir.path());
    let _daemon = Running::start(&config);
    let socket = dir.path().join("admin.sock");
    let status = exchange(&socket, &request("GET", "/v1/status", "", "")).json();
    let (file, free) = (&status["store"]["file_bytes"], &status["store"]["free_bytes"]);
    assert!(free.as_u64().unwrap() < file.as_u64().unwrap(), "{status}");
    let metrics = exchange(&socket, &request("GET", "/v1/metrics", "", ""));
    assert!(metrics.body().contains("\nringhookd_store_file_bytes "), "{metrics:?}");
    assert!(metrics.body().contains("\nringhookd_store_free_bytes "), "{metrics:?}");
}
