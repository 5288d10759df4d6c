//! `queue pause` and `queue resume` of a real daemon: what comes during a pause waits through a kill, and goes out once and in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::configuration::{Configuration, SOCKET, signature};
use crate::support::process::{Running, run};

/// Looks at a spool, 20 ms apart. Far more than anything takes; only a hang meets it.
const LOOKS: usize = 6000;

fn configured(folder: &Path) -> PathBuf {
    let spool = |name: &str| {
        format!(
            "[[queue]]\nname = \"{name}\"\nkind = \"spool\"\nfolder = \"FOLDER/{name}\"\nunclaimed = \"deliver\"\n"
        )
    };
    let read = "[[queue]]\nname = \"read\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\n";
    let narrow = "[[socket]]\npath = \"FOLDER/narrow.sock\"\ncalls = [\"queue.read\", \"status\"]\n";
    Configuration::of(&(spool("out") + &spool("control") + read)).with(SOCKET).with(narrow).write(folder)
}

/// The exit code of a command, and all that it printed.
fn said(config: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = run(&[args, &["--config", config.to_str().unwrap()]].concat(), b"");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn webhook(daemon: &Running, n: usize) {
    let event = json!({"meta": {"request_id": format!("r-{n}"), "account_id": "a"}, "data": {"type": "button_press"}});
    let body = event.to_string().into_bytes();
    assert_eq!(daemon.post(&signature(&body), &body), 200);
}

/// The ids in a spool, in the order of its names.
fn spooled(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    let id = |file: &PathBuf| {
        let event: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    files.iter().map(id).collect()
}

fn until_spooled(folder: &Path, count: usize) -> Vec<String> {
    for _ in 0..LOOKS {
        let ids = spooled(folder);
        if ids.len() >= count {
            return ids;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{:?}", spooled(folder));
}

#[test]
fn events_of_a_pause_wait_through_a_kill_and_go_out_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (out, control) = (folder.path().join("out"), folder.path().join("control"));
    let config = configured(folder.path());
    let mut daemon = Running::start(&config);
    webhook(&daemon, 0);
    assert_eq!(until_spooled(&out, 1), ["r-0"]);
    for name in ["out", "read"] {
        let (code, words) = said(&config, &["queue", "pause", name]);
        assert_eq!(
            (code, words.trim()),
            (Some(0), format!("queue {name} is paused, until `ringhookd queue resume`").as_str())
        );
    }
    let (code, words) = said(&config, &["queue", "pause", "out"]);
    assert!(code == Some(0) && words.starts_with("queue out has been paused since 20"), "{words}");
    for n in 1..=20 {
        webhook(&daemon, n);
        if n == 10 {
            daemon.kill();
            daemon = Running::start(&config);
        }
    }
    // The control has all of them, and had no longer for it than the paused queue.
    until_spooled(&control, 21);
    assert_eq!(spooled(&out), ["r-0"]);
    let (code, status) = said(&config, &["status"]);
    assert!(code == Some(3) && status.contains("queue_paused: Queue out has been paused for"), "{status}");
    assert!(status.contains("and 20 events wait"), "{status}");
    let (code, list) = said(&config, &["queue", "list", "--json"]);
    assert!(code == Some(0) && list.matches("\"paused_since\":\"20").count() == 2, "{list}");
    for args in [&["queue", "read", "read"][..], &["queue", "read", "read", "--exec", "cat"]] {
        let (code, words) = said(&config, args);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("queue read has been paused since") && !words.contains("r-1"), "{words}");
    }
    for name in ["out", "read"] {
        let (code, words) = said(&config, &["queue", "resume", name]);
        assert_eq!((code, words.trim()), (Some(0), format!("queue {name} goes on").as_str()));
    }
    let expected: Vec<String> = (0..=20).map(|n| format!("r-{n}")).collect();
    assert_eq!(until_spooled(&out, 21), expected);
    let (code, printed) = said(&config, &["queue", "read", "read", "--max", "50", "--json"]);
    let ids: Vec<String> = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((code, ids), (Some(0), expected));
    assert_eq!(said(&config, &["queue", "resume", "out"]), (Some(0), "queue out was not paused\n".into()));
    assert_eq!(said(&config, &["status"]).0, Some(0));
}

#[test]
fn an_unknown_queue_and_a_socket_without_the_right_are_a_no() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let _daemon = Running::start(&config);
    for call in ["pause", "resume"] {
        let (code, words) = said(&config, &["queue", call, "nowhere"]);
        assert!(code == Some(1) && words.contains("there is no such queue"), "{words}");
        let socket = folder.path().join("narrow.sock");
        let output = run(&["queue", call, "out", "--socket", socket.to_str().unwrap()], b"");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("queue.manage"), "{words}");
    }
    let (code, list) = said(&config, &["queue", "list", "--json"]);
    assert!(code == Some(0) && !list.contains("\"paused_since\":\""), "{list}");
}
