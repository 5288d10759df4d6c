//! `ringhookd inspect`: what became of each event and of each request, for whom it may tell, through restarts, and until the account is
//! forgotten.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::configuration::{Configuration, KEY, SOCKET, signature};
use crate::support::process::{Running, run};
use ringhookd::domain::signature::{Keys, sign};

fn configured(folder: &Path) -> PathBuf {
    let queues = "[[queue]]\nname = \"all\"\nkind = \"embedded\"\nmax_attempts = 2\n\
        [[queue]]\nname = \"files\"\nkind = \"spool\"\nfolder = \"FOLDER/files\"\n";
    let anns = "[[socket]]\npath = \"FOLDER/ann.sock\"\ncalls = [\"inspect\"]\nusers = [\"ann\"]\n\
        [[socket]]\npath = \"FOLDER/bob.sock\"\ncalls = [\"inspect\"]\nusers = [\"bob\"]\n";
    Configuration::of(queues).with(SOCKET).with(anns).write(folder)
}

/// A daemon's folder, and commands to it.
struct Folder(PathBuf);

impl Folder {
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let config = self.0.join("config.toml");
        let output = run(&[args, &["--config", config.to_str().unwrap()]].concat(), b"");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    }

    /// What a command says, which must be fine.
    fn ok(&self, args: &[&str]) -> String {
        let (code, text) = self.run(args);
        assert_eq!(code, Some(0), "{args:?}: {text}");
        text
    }

    fn inspect(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["inspect", id, "--json"])).unwrap()
    }

    /// Through the socket of one user.
    fn sees(&self, user: &str, args: &[&str]) -> (Option<i32>, String) {
        let socket = self.0.join(format!("{user}.sock"));
        let output = run(&[args, &["--socket", socket.to_str().unwrap()]].concat(), b"");
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    fn place<'v>(found: &'v Value, queue: &str) -> &'v Value {
        let places = found["event"]["places"].as_array().unwrap();
        places
            .iter()
            .rev()
            .find(|place| place["queue"] == queue)
            .unwrap_or_else(|| panic!("{queue}: {found}"))
    }

    fn until(&self, id: &str, queue: &str, state: &str) -> Value {
        for _ in 0..6000 {
            let found = self.inspect(id);
            if Self::place(&found, queue)["state"] == state {
                return found;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{}", self.inspect(id));
    }
}

fn body(id: &str, account: &str) -> Vec<u8> {
    let event = json!({"meta": {"request_id": id, "account_id": account}, "data": {"type": "button_press"}});
    event.to_string().into_bytes()
}

fn webhook(daemon: &Running, id: &str, account: &str) {
    let body = body(id, account);
    assert_eq!(daemon.post(&signature(&body), &body), 200);
}

#[test]
fn an_event_is_followed_from_its_receipt_to_its_end_also_through_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder(dir.path().to_owned());
    let config = configured(dir.path());
    let daemon = Running::start(&config);
    webhook(&daemon, "r-1", "a");
    let held = folder.inspect("r-1");
    let event = &held["event"];
    assert_eq!((&event["outcome"], &event["places"][0]["state"]), (&json!("held"), &json!("held")), "{held}");
    folder.ok(&["accounts", "set-user", "a", "ann"]);
    let found = folder.until("r-1", "files", "done");
    let event = &found["event"];
    let key = Keys::new([KEY.as_bytes()]).fingerprints().next().unwrap().to_string();
    for (name, value) in [
        ("id", json!("r-1")),
        ("type", json!("button_press")),
        ("from", json!("127.0.0.1")),
        ("verified_by", json!(key)),
        ("verdict", json!("accepted")),
        ("account", json!("a")),
        ("user", json!("ann")),
    ] {
        assert_eq!(event[name], value, "{found}");
    }
    assert_eq!(
        (&event["places"][0]["state"], &event["renewed"][0]["why"]),
        (&json!("renewed"), &json!("released"))
    );
    assert_eq!(Folder::place(&found, "files")["ended"]["by"], "the receiver of kind spool");
    assert_eq!(Folder::place(&found, "all")["state"], "waiting");
    // The command fails twice, which is as often as the queue allows.
    for _ in 0..2 {
        folder.run(&["queue", "read", "all", "--max", "1", "--wait", "--later", "1ms", "--exec", "false"]);
    }
    daemon.kill();
    let daemon = Running::start(&config);
    assert!(folder.ok(&["audit", "--account", "a"]).contains("set_user"), "durable before it was answered");
    let found = folder.inspect("r-1");
    let place = Folder::place(&found, "all");
    assert_eq!(
        (&place["state"], place["attempts"].as_array().map(Vec::len)),
        (&json!("dead_letter"), Some(1)),
        "{found}"
    );
    let letter = place["letter"].as_str().unwrap().to_owned();
    assert_eq!(folder.inspect(&letter), found, "by the id of its letter");
    folder.ok(&["dead-letters", "replay", &letter]);
    folder.ok(&["queue", "read", "all"]);
    let found = folder.inspect("r-1");
    let place = Folder::place(&found, "all");
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(place["state"], "done", "{found}");
    assert!(place["ended"]["by"].as_str().unwrap().starts_with(&format!("uid {uid} on ")), "{found}");
    assert_eq!(found["event"]["renewed"].as_array().map(Vec::len), Some(2), "{found}");
    let seq = place["sequence"].to_string();
    assert_eq!(folder.inspect(&seq), found, "by its last sequence");
    let shown = folder.ok(&["inspect", "r-1"]);
    for words in ["verified by key", "attempt 1 failed", "replayed", "delivered by uid", "now done"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(folder.run(&["inspect", "r-2"]).0, Some(1));
    drop(daemon);
}

#[test]
fn requests_that_leave_no_event_are_listed_counted_and_logged() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder(dir.path().to_owned());
    let daemon = Running::start(&configured(dir.path()));
    folder.ok(&["accounts", "list"]);
    webhook(&daemon, "r-1", "a");
    webhook(&daemon, "r-1", "a");
    let forged = body("r-secret", "a");
    let wrong = sign(b"another key", &forged);
    assert_eq!(daemon.post(&format!("X-Signature: {wrong}\r\n"), &forged), 401);
    assert_eq!(daemon.post("", b"{}"), 401);
    let to = |line: &str, more: &str| {
        daemon.send(
            format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{more}Content-Length: 0\r\n\r\n")
                .as_bytes(),
        )
    };
    assert_eq!(to("POST /webhooks/rong?token=secret", "X-Forwarded-For: 203.0.113.9\r\n"), 404);
    assert_eq!(to("GET /webhooks/ring", ""), 405);
    assert_eq!(to("POST /webhooks/ring", "Host: another\r\n"), 400);
    let large = format!(
        "POST /webhooks/ring HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{}Content-Length: 99999999\r\n\r\n",
        signature(b"")
    );
    assert_eq!(daemon.send(large.as_bytes()), 413);
    let listed = folder.ok(&["inspect", "--json", "--recent", "500"]);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |outcome: &str| {
        listed
            .iter()
            .find(|entry| entry["outcome"] == outcome)
            .unwrap_or_else(|| panic!("{outcome}: {listed:?}"))
    };
    assert_eq!((&of("duplicate")["id"], &of("duplicate")["count"]), (&json!("r-1"), &json!(1)));
    assert_eq!((&of("forged")["status"], &of("forged")["id"]), (&json!(401), &json!(null)));
    assert_eq!(
        (&of("not_found")["path"], &of("not_found")["forwarded_for"]),
        (&json!("/webhooks/rong"), &json!("203.0.113.9"))
    );
    assert_eq!((&of("wrong_method")["method"], &of("too_large")["status"]), (&json!("GET"), &json!(413)));
    assert_eq!((&of("held")["id"], &of("no_signature")["from"]), (&json!("r-1"), &json!("127.0.0.1")));
    assert_eq!(
        (&of("malformed")["path"], &of("malformed")["status"]),
        (&json!("/webhooks/ring"), &json!(400))
    );
    let found = folder.inspect("r-1");
    assert_eq!(found["requests"][0]["outcome"], "duplicate", "{found}");
    let shown = folder.ok(&["inspect"]);
    assert!(shown.contains("POST /webhooks/rong answered 404"), "{shown}");
    assert!(!format!("{listed:?}{shown}").contains("secret"), "{shown}");
    let (_, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("a method that its path does not take") && log.contains("/webhooks/rong"), "{log}");
}

#[test]
fn each_user_sees_their_own_events_and_a_forgotten_account_leaves_none() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder(dir.path().to_owned());
    let config = configured(dir.path());
    let daemon = Running::start(&config);
    for (account, user) in [("a", "ann"), ("b", "bob")] {
        webhook(&daemon, "r-0", "nobody");
        folder.run(&["accounts", "list"]);
        webhook(&daemon, &format!("r-{account}-held"), account);
        folder.ok(&["accounts", "set-user", account, user]);
        webhook(&daemon, &format!("r-{account}"), account);
    }
    assert_eq!(daemon.post("", b"{}"), 401);
    for (user, own, other) in [("ann", "r-a", "r-b"), ("bob", "r-b", "r-a")] {
        assert_eq!(folder.sees(user, &["inspect", own]).0, Some(0));
        assert_eq!(
            folder.sees(user, &["inspect", &format!("{own}-held")]).0,
            Some(0),
            "it was released to them"
        );
        for hidden in [other, "r-0"] {
            assert_eq!(folder.sees(user, &["inspect", hidden]).0, Some(1));
        }
        let (_, listed) = folder.sees(user, &["inspect", "--json"]);
        let ids: Vec<Value> =
            listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
        assert_eq!(ids, [json!(own)], "{listed}");
    }
    folder.ok(&["accounts", "forget", "a", "--yes"]);
    for id in ["r-a", "r-a-held"] {
        assert_eq!(folder.run(&["inspect", id]).0, Some(1), "{id}");
    }
    assert!(!folder.ok(&["inspect", "--json"]).contains("r-a"));
    folder.inspect("r-b");
    daemon.kill();
    let daemon = Running::start(&config);
    assert_eq!(folder.run(&["inspect", "r-a"]).0, Some(1));
    folder.inspect("r-b");
    drop(daemon);
}
