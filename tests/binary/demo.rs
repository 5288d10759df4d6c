//! The demo as a newcomer plays with it: it goes on, shows what is sent, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

use crate::support::http::{exchange, request};
use crate::support::process::ringhookd;
use ringhookd::domain::signature::sign;
use rustix::process::{Pid, Signal, kill_process};

const README: &str = include_str!("../../README.md");

#[test]
fn a_demo_that_goes_on_shows_every_event_that_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = ringhookd(&["demo", "--keep-running"]).env("TMPDIR", folder.path()).spawn().unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut before = Vec::new();
    let socket = loop {
        let line = said.next().unwrap();
        if let Some((_, socket)) = line.split_once("RINGHOOKD_SOCKET=") {
            break socket.to_owned();
        }
        before.push(line);
    };
    let (_, excerpt) = README.split_once("```text\n").unwrap();
    let (excerpt, _) = excerpt.split_once("```").unwrap();
    for line in excerpt.lines() {
        assert!(before.iter().any(|shown| shown == line), "README.md shows what the demo does not: {line}");
    }
    let curl = said.find(|line| line.trim_start().starts_with("curl ")).unwrap();
    let (_, rest) = curl.split_once("http://").unwrap();
    let address: SocketAddr = rest.split_once('/').unwrap().0.parse().unwrap();
    // More than any buffer between the reader and the screen holds.
    for n in 0..100 {
        let body = format!(
            r#"{{"meta":{{"request_id":"{n}","account_id":"ava1.ring.account.DEMO1"}},"data":{{"type":"button_press","attributes":{{"source":"front-door"}}}}}}"#
        );
        let signature = sign(b"made-up-signing-key-for-the-demo", body.as_bytes());
        let signature = format!("X-Signature: {signature}\r\n");
        let answer = exchange(address, &request("POST", "/webhooks/ring", &signature, body));
        assert_eq!(answer.status(), 200, "{answer:?}");
        let shown = said.find(|line| !line.trim().is_empty()).unwrap();
        assert_eq!(shown.trim(), "queue user-1: com.ring.button_press from front-door");
    }
    // What is in quarantine wants an operator.
    for (args, shows, exit) in [
        (&["status"][..], "quarantined: 1 webhook", 3),
        (&["accounts", "list"], "ava1.ring.account.DEMO1", 0),
        (&["queue", "read", "yours", "--max", "1"], "device_added", 0),
    ] {
        let looked = ringhookd(args).env("RINGHOOKD_SOCKET", &socket).output().unwrap();
        let shown = String::from_utf8_lossy(&looked.stdout);
        assert_eq!((looked.status.code(), shown.contains(shows)), (Some(exit), true), "{args:?}: {looked:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // As Ctrl-C does.
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    assert!(demo.wait().unwrap().success());
    let rest: Vec<String> = said.collect();
    assert!(rest.iter().any(|line| line.contains("What next:")), "{rest:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing behind");
}
