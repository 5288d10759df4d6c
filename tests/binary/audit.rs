//! The log tells what happens to links, events, queues and keys, with account and cause, and no flood fills it.

use std::path::{Path, PathBuf};

use ringhookd::clock;
use ringhookd::logging::audit::PER_MINUTE;
use serde_json::{Value, json};

use crate::support::api::Door_;
use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::process::{Running, run};

fn config(dir: &Path, queues: &[&str]) -> PathBuf {
    let queue =
        |name: &&str| format!("[[queue]]\nname = \"{name}\"\nkind = \"embedded\"\nmax_attempts = 1\n");
    let queues: String = queues.iter().map(queue).collect();
    Configuration::of("[log]\nlevel = \"info\"\nformat = \"json\"").with(SOCKET).with(&queues).write(dir)
}

/// The daemon's admin socket.
fn admin(dir: &Path) -> Door_ {
    Door_ { path: dir.join("admin.sock") }
}

/// A call that must be fine.
async fn call(dir: &Path, method: &str, path: &str, body: &str) -> Value {
    let (status, answer) = admin(dir).call(method, path, body).await;
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

fn webhook(daemon: &Running, id: &str, account: &str, kind: &str) {
    let event = json!({
        "meta": {"request_id": id, "account_id": account},
        "data": {"type": kind, "attributes": {"source": account, "timestamp": clock::now().0 + 60_000}},
    });
    let body = event.to_string().into_bytes();
    assert_eq!(daemon.post(&signature(&body), &body), 200);
}

/// The lines of the log with this message.
fn told(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == message).collect()
}

fn log_of(daemon: Running) -> String {
    let (status, _, log) = daemon.stop();
    assert!(status.success());
    String::from_utf8(log).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_told_once_with_its_account_and_who_caused_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let daemon = Running::start(&config(dir, &["all", "old"]));
    let account = "a\u{202e}b";
    let (shown, path) = ("a\\u{202e}b", "/v1/accounts/a%E2%80%AEb");
    call(dir, "POST", "/v1/accounts", &json!({"account_id": account, "user": "ann"}).to_string()).await;
    call(dir, "POST", &format!("{path}/user"), r#"{"user":"bob","replace":true}"#).await;
    webhook(&daemon, "1", account, "motion_detected");
    let leased = call(dir, "POST", "/v1/queues/all/lease", r#"{"max":1}"#).await;
    let settled =
        json!({"lease": leased["lease"], "nack": [{"seq": leased["events"][0]["seq"], "why": "no\nuse"}]});
    call(dir, "POST", "/v1/queues/all/settle", &settled.to_string()).await;
    call(dir, "POST", "/v1/dead-letters/replay", r#"{"all":true}"#).await;
    let leased = call(dir, "POST", "/v1/queues/all/lease", r#"{"max":1}"#).await;
    let settled =
        json!({"lease": leased["lease"], "nack": [{"seq": leased["events"][0]["seq"], "why": "no use"}]});
    call(dir, "POST", "/v1/queues/all/settle", &settled.to_string()).await;
    call(dir, "POST", "/v1/dead-letters/drop", r#"{"all":true}"#).await;
    // A second call changes nothing, and is no change.
    for change in ["pause", "pause", "resume", "resume"] {
        call(dir, "POST", &format!("/v1/queues/all/{change}"), "").await;
    }
    call(dir, "POST", "/v1/keys/rotate", "{}").await;
    call(dir, "POST", "/v1/restore/accept", "{}").await;
    let (written, file) = (dir.join("config.toml"), dir.join("backup"));
    let args = ["--config", written.to_str().unwrap(), "backup", file.to_str().unwrap()];
    assert!(run(&args, b"").status.success());
    assert!(run(&["--config", written.to_str().unwrap(), "compact"], b"").status.success());
    webhook(&daemon, "2", account, "app_integration_removed");
    call(dir, "DELETE", path, "").await;
    let mut log = log_of(daemon);
    let daemon = Running::start(&config(dir, &["all"]));
    call(dir, "DELETE", "/v1/queues/old", "").await;
    log += &log_of(daemon);

    let one = |message: &str| {
        let mut lines = told(&log, message);
        assert_eq!(lines.len(), 1, "{message}: {lines:?}");
        let line = lines.remove(0);
        assert_eq!(line["level"], "INFO");
        line
    };
    let caller = format!("uid {} on {}/admin.sock", rustix::process::getuid().as_raw(), dir.display());
    for (message, account, by) in [
        ("a link is made", shown, caller.as_str()),
        ("a link has moved to another user", shown, &caller),
        ("a link is removed", shown, "Ring"),
        ("an account is forgotten", shown, &caller),
        ("accounts are imported", "", &caller),
        ("dead letters are replayed", "", &caller),
        ("dead letters are dropped", "", &caller),
        ("data keys are under the current master key", "", &caller),
        ("an older copy of the store is accepted", "", &caller),
        ("the store is read for a backup", "", &caller),
        ("the store's file is compacted", "", &caller),
        ("a queue is paused", "", &caller),
        ("a queue goes on after its pause", "", &caller),
        ("a queue is removed", "", &caller),
    ] {
        let line = one(message);
        assert_eq!((line["account"].as_str().unwrap_or_default(), line["by"].as_str()), (account, Some(by)));
    }
    assert_eq!(one("a link is made")["user"], "ann");
    let moved = one("a link has moved to another user");
    assert_eq!((&moved["former"], &moved["user"]), (&json!("ann"), &json!("bob")));
    let dead = told(&log, "an event is a dead letter");
    assert_eq!((dead.len(), &dead[0]["account"], &dead[0]["user"]), (2, &json!(shown), &json!("bob")));
    let why = dead[0]["detail"].as_str().unwrap();
    assert!(why.contains("from queue all: ") && why.contains("no\\u{a}use"), "{why}");
    assert_eq!(one("a queue is paused")["detail"], "queue all");
    assert!(one("a queue is removed")["detail"].as_str().unwrap().starts_with("queue old, "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_changes_leaves_few_lines_and_the_sum() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let daemon = Running::start(&config(dir, &["all"]));
    let line = |n: u32| json!({"account_id": n.to_string(), "user": "ann"}).to_string() + "\n";
    call(dir, "POST", "/v1/accounts", &(0..20 * PER_MINUTE).map(line).collect::<String>()).await;
    let log = log_of(daemon);
    let lines = told(&log, "a link is made").len();
    // A minute may have ended meanwhile.
    assert!((PER_MINUTE as usize..=10 * PER_MINUTE as usize).contains(&lines), "{lines}");
    let sums = told(&log, "accounts are imported");
    assert!(sums[0]["detail"].as_str().unwrap().starts_with("1200 in this call"), "{sums:?}");
}
