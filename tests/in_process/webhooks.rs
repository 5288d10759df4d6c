//! Webhooks over a real socket into a running daemon: what Ring would see, and what is kept.

use std::path::Path;
use std::time::Duration;

use crate::support::configuration::{Configuration, KEY, OPEN_QUEUE, SOCKET, signature};
use crate::support::http::{exchange_beside, request};
use crate::support::*;
use ringhookd::config::Config;
use ringhookd::daemon::Daemon;
use ringhookd::domain::marks::Mark;
use ringhookd::domain::signature::sign;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) fn configuration(folder: &Path, more: &str) -> Config {
    Configuration::of(OPEN_QUEUE).with(SOCKET).with(more).parse(folder)
}

async fn daemon(folder: &Path, more: &str) -> Daemon {
    Daemon::start(configuration(folder, more)).await.unwrap()
}

/// Sends one request as it stands and returns the status line's code and the whole answer.
async fn send(daemon: &Daemon, request: &[u8]) -> (u16, String) {
    let answer = exchange_beside(daemon.address(), request.to_owned()).await;
    (answer.status(), answer.0)
}

async fn post(daemon: &Daemon, body: &[u8], headers: &str) -> (u16, String) {
    send(daemon, &request("POST", "/webhooks/ring", headers, body)).await
}

pub(crate) async fn signed(daemon: &Daemon, body: &[u8]) -> u16 {
    post(daemon, body, &signature(body)).await.0
}

fn body(id: &str) -> Vec<u8> {
    format!(
        r#"{{"meta":{{"request_id":"{id}","account_id":"acc"}},"data":{{"type":"button_press","attributes":{{"source":"dev"}}}}}}"#
    )
    .into_bytes()
}

#[tokio::test]
async fn a_signed_event_is_kept_once_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    let odd = b" {\"data\": {\"type\":\"x\" , \"n\":1.50e0}, \"meta\":{\"request_id\":\"1\",\"account_id\":\"a\"} }\n";
    assert_eq!(signed(&daemon, odd).await, 200);
    assert_eq!(signed(&daemon, odd).await, 200);
    let events = drain(daemon.store(), "all", 9).await;
    assert_eq!(events.len(), 1);
    assert_eq!(&events[0].event.body[..], odd);
    daemon.stop().await;
}

#[tokio::test]
async fn a_retry_with_a_new_time_is_a_duplicate_and_other_data_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    let sent = |at: &str, account: &str, n: u32| {
        format!(
            r#"{{"meta":{{"version":"1.1","time":"{at}","request_id":"1"{account}}},"data":{{"type":"button_press","attributes":{{"source":"dev","timestamp":{n}}}}}}}"#
        )
    };
    let account = r#","account_id":"acc""#;
    let first = "2026-01-01T00:00:00.000000001Z";
    for (at, account, n) in [
        (first, account, 1),
        ("2026-01-01T00:00:01Z", account, 1),
        ("2026-01-01T00:00:01Z", account, 2),
        ("2026-01-01T01:13:00Z", account, 2),
        ("2026-01-01T00:00:01Z", "", 1),
        ("2026-01-01T00:00:06Z", "", 1),
    ] {
        assert_eq!(signed(&daemon, sent(at, account, n).as_bytes()).await, 200);
    }
    let events = drain(daemon.store(), "all", 9).await;
    let bodies: Vec<_> = events.iter().map(|leased| leased.event.body.clone()).collect();
    let others = "2026-01-01T00:00:01Z";
    assert_eq!(bodies, [sent(first, account, 1), sent(others, account, 2), sent(others, "", 1)]);
    let conflicts: Vec<_> = events.iter().map(|leased| leased.event.marks.contains(Mark::Conflict)).collect();
    assert_eq!(conflicts, [false, true, true]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_not_signed_is_401_and_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    assert_eq!(signed(&daemon, &body("1")).await, 200);
    let good = sign(KEY.as_bytes(), &body("2"));
    let forged = sign(b"another-key-altogether", &body("2"));
    let headers = [
        String::new(),
        format!("X-Signature: {forged}\r\n"),
        format!("X-Signature: {good}\r\nX-Signature: {good}\r\n"),
        format!("X-Signature: {}\r\n", &good[..70]),
        "X-Signature: sha256=\r\n".into(),
        format!("X-Signature: SHA256={}\r\n", &good[7..]),
    ];
    let mut answers = Vec::new();
    for header in &headers {
        let (status, answer) = post(&daemon, &body("2"), header).await;
        assert_eq!(status, 401, "{header}");
        answers.push(answer.lines().filter(|l| !l.starts_with("date:")).collect::<Vec<_>>().join("\n"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all alike: {answers:?}");
    let bare = format!("X-Signature: {}\r\n", good[7..].to_uppercase());
    assert_eq!(post(&daemon, &body("2"), &bare).await.0, 200);
    let metrics = daemon.metrics().render();
    assert!(metrics.contains("\nringhookd_bare_signatures_total 1\n"), "{metrics}");
    assert_eq!(drain_keys(daemon.store(), "all").await, ["1", "2"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_mismatch_is_503_until_the_key_has_proven_itself() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    let forged = format!("X-Signature: {}\r\n", sign(b"another-key-altogether", &body("2")));
    let (status, answer) = post(&daemon, &body("2"), &forged).await;
    assert_eq!(status, 503);
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    assert_eq!(signed(&daemon, &body("1")).await, 200);
    for _ in 0..5 {
        assert_eq!(post(&daemon, &body("2"), &forged).await.0, 401);
    }
    assert_eq!(post(&daemon, &body("2"), &forged).await.0, 503, "so many look like our key is wrong");
    daemon.stop().await;
}

#[tokio::test]
async fn signed_text_that_is_not_an_event_is_kept_and_200() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    for text in
        [&b"1700000000000:ava1.ring.account.X"[..], b"", b"[]", b"{}", b"{\"a\":1,\"a\":2}", &[0xff, 0xfe]]
    {
        assert_eq!(signed(&daemon, text).await, 200, "{text:?}");
        assert_eq!(signed(&daemon, text).await, 200, "{text:?} again");
    }
    let stats = daemon.store().stats();
    assert_eq!(stats.quarantined_events.load(std::sync::atomic::Ordering::Relaxed), 6);
    assert!(drain_keys(daemon.store(), "all").await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn other_paths_methods_and_sizes_have_their_status() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "[webhook]\nmax_body = \"64 KiB\"").await;
    let get = |path: &str| request("GET", path, "", "");
    assert_eq!(send(&daemon, &get("/")).await.0, 404);
    let (status, answer) = send(&daemon, &get("/webhooks/ring")).await;
    assert_eq!((status, answer.to_lowercase().contains("allow: post")), (405, true));
    assert_eq!(signed(&daemon, &vec![b' '; (64 << 10) + 1]).await, 413);
    assert_eq!(signed(&daemon, &vec![b' '; 64 << 10]).await, 200);
    let text = daemon.metrics().render();
    assert!(text.contains("ringhookd_webhooks_total{verdict=\"too_large\"} 1"), "{text}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_slash_at_the_end_is_taken_and_other_paths_leave_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    let to =
        async |path: &str| send(&daemon, &request("POST", path, &signature(&body("1")), body("1"))).await.0;
    assert_eq!(to("/webhooks/ring/").await, 200);
    // Without [ring] a code can't be taken, but it has come to the right place.
    assert_eq!(to("/ring/token/").await, 400);
    assert_eq!(to("/webhooks/rings").await, 404);
    let own = dir.path().join("admin.sock");
    let status = exchange_beside(&own, request("GET", "/v1/status", "", "")).await.json();
    let unmatched = &status["unmatched_posts"];
    assert_eq!((&unmatched["count"], &unmatched["last_path"]), (&1.into(), &"/webhooks/rings".into()));
    assert!(daemon.metrics().render().contains("\nringhookd_unmatched_posts_total 1\n"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_restart_remembers_keys_ids_and_events() {
    let dir = tempfile::tempdir().unwrap();
    let first = daemon(dir.path(), "").await;
    assert_eq!(signed(&first, &body("1")).await, 200);
    first.stop().await;
    let second = daemon(dir.path(), "").await;
    let forged = format!("X-Signature: {}\r\n", sign(b"another-key-altogether", &body("2")));
    assert_eq!(post(&second, &body("2"), &forged).await.0, 401, "the key was proven before");
    assert_eq!(signed(&second, &body("1")).await, 200);
    assert_eq!(drain_keys(second.store(), "all").await, ["1"]);
    second.stop().await;
}

#[tokio::test]
async fn a_spool_queue_gets_one_file_an_event_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let more = format!(
        "[[queue]]\nname = \"files\"\nkind = \"spool\"\nunclaimed = \"deliver\"\nfolder = \"{}\"\nmax_files = 2",
        spool.display()
    );
    let files = || {
        let names = std::fs::read_dir(&spool).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    };
    let wait_for = async |count: usize| {
        while files().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let first = daemon(dir.path(), &more).await;
    for id in ["1", "2", "3", "4"] {
        assert_eq!(signed(&first, &body(id)).await, 200);
    }
    wait_for(2).await;
    first.stop().await;
    let mut ids = Vec::new();
    let second = daemon(dir.path(), &more).await;
    while ids.len() < 4 {
        wait_for(1).await;
        for name in files() {
            let event = std::fs::read(spool.join(&name)).unwrap();
            let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
            ids.push(event["id"].as_str().unwrap().to_owned());
            std::fs::remove_file(spool.join(&name)).unwrap();
        }
    }
    assert_eq!(ids, ["1", "2", "3", "4"]);
    second.stop().await;
}

#[tokio::test]
async fn events_from_another_time_are_accepted_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "").await;
    let now = ringhookd::clock::now();
    let event = |id: &str, at: u64| {
        format!(
            r#"{{"meta":{{{id}"account_id":"acc"}},"data":{{"type":"button_press","attributes":{{"source":"dev","timestamp":{at}}}}}}}"#
        )
    };
    let days = |n: u32| n * 24 * HOUR;
    let events = [
        event(r#""request_id":"late","#, now.minus(days(30)).0),
        event(r#""request_id":"early","#, now.plus(days(30)).0),
        event(r#""request_id":"now","#, now.0),
        event("", now.0),
    ];
    for event in &events {
        assert_eq!(signed(&daemon, event.as_bytes()).await, 200);
        assert_eq!(signed(&daemon, event.as_bytes()).await, 200);
    }
    let kept = drain(daemon.store(), "all", 9).await;
    let marks: Vec<String> = kept.iter().map(|leased| leased.event.marks.to_string()).collect();
    assert_eq!(marks, [Mark::Late.name(), Mark::Early.name(), "", Mark::HashedId.name()]);
    daemon.stop().await;
}

#[tokio::test]
async fn readers_that_fill_their_socket_keep_nobody_from_another() {
    let dir = tempfile::tempdir().unwrap();
    let readers = dir.path().join("readers.sock");
    let more = format!("[[socket]]\npath = \"{}\"", readers.display());
    let daemon = daemon(dir.path(), &more).await;
    let wait = r#"{"wait_ms":60000}"#;
    let poll = format!(
        "POST /v1/queues/all/lease HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{wait}",
        wait.len()
    );
    let mut polls = Vec::new();
    let refused = loop {
        let mut stream = UnixStream::connect(&readers).await.unwrap();
        stream.write_all(poll.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        match tokio::time::timeout(Duration::from_millis(20), stream.read_exact(&mut first)).await {
            Ok(read) => break read.map(|_| first).unwrap(),
            Err(_) => polls.push(stream),
        }
        assert!(polls.len() < 1000, "it takes any number");
    };
    assert_eq!(&refused, b"HTTP/1.1 503");
    let own = dir.path().join("admin.sock");
    let answer = exchange_beside(&own, request("GET", "/v1/status", "", "")).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    drop(polls);
    daemon.stop().await;
}
