//! `doctor` before a simulated Ring and broken variants of it, with and without a daemon that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ringhookd::sim::{Options, Ring};
use serde_json::Value;

use crate::support::configuration::{Configuration, KEY, OPEN_QUEUE, SOCKET};
use crate::support::installation::{Installation, Ran};
use crate::support::process::run;

/// The findings of a check: their states and words, in order.
fn of<'f>(found: &'f Value, check: &str) -> Vec<(&'f str, &'f str)> {
    let all = found["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    all.map(|finding| (finding["state"].as_str().unwrap(), finding["words"].as_str().unwrap())).collect()
}

/// What `doctor` found, and that its exit code says the same.
fn examined(ran: &Ran) -> Value {
    let found: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(ran.code, i32::from(found["ok"] == false), "{ran:?}");
    for finding in found["findings"].as_array().unwrap() {
        let needs_hands = ["warning", "failed"].contains(&finding["state"].as_str().unwrap());
        let is_problem_of_check = finding["check"] == "configuration";
        assert!(!needs_hands || is_problem_of_check || finding["action"].is_string(), "{finding}");
    }
    found
}

#[test]
fn a_daemon_that_runs_is_looked_at_and_nothing_is_sent_to_ring() {
    let mut installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    let daemon = installation.serve();
    let found = examined(&installation.run(&["--json", "doctor"]));
    assert_eq!(found["ok"], true, "{found}");
    for check in ["daemon", "configuration", "disk", "signature", "reach"] {
        assert_eq!(of(&found, check)[0].0, "well", "{check}: {found}");
    }
    assert_eq!(of(&found, "reach").len(), 2, "{found}");
    // The answer may have been long on its way.
    assert_ne!(of(&found, "clock")[0].0, "failed", "{found}");
    assert_eq!(of(&found, "calls")[0].0, "warning", "no webhook has come yet: {found}");
    assert!(of(&found, "calls").iter().any(|(_, words)| words.contains("Log in with Ring")), "{found}");
    // The example's key.
    assert_eq!(of(&found, "credentials")[0].0, "warning", "{found}");

    // Through a front in the clear: the addresses are the daemon's, and Ring takes none of them.
    let url = format!("http://{}", daemon.address());
    let found = examined(&installation.run(&["--json", "doctor", "--url", &url]));
    assert_eq!(found["ok"], false);
    assert!(of(&found, "address")[0].1.contains("do not begin with https"), "{found}");
    let front = of(&found, "front");
    assert_eq!((front[0].0, front[1].0), ("well", "well"), "{found}");
    let status = installation.report();
    assert_eq!(status["webhooks"]["refusals"], serde_json::json!({}), "no refusal by it: {status}");
    assert!(status["unmatched_posts"].is_null(), "{status}");

    let page = installation.run(&["doctor"]);
    assert_eq!(page.code, 0, "{page:?}");
    assert!(page.out.contains("well     signature: ") && page.out.contains("         do: "), "{page:?}");
    assert!(page.out.trim_end().lines().last().unwrap().starts_with("nothing fails; warnings: "), "{page:?}");
    assert!(!page.out.contains(KEY), "{page:?}");

    // What status says of the running daemon: a paused queue can wait, webhooks that no key verifies can't.
    assert_eq!(installation.run(&["queue", "pause", "all"]).code, 0);
    let found = examined(&installation.run(&["--json", "doctor"]));
    assert!(
        of(&found, "daemon")[0].0 == "warning" && of(&found, "daemon")[0].1.contains("queue_paused"),
        "{found}"
    );
    let forged = format!("X-Signature: sha256={}\r\n", "0".repeat(64));
    assert_eq!(daemon.post(&forged, b"{}"), 503);
    let found = examined(&installation.run(&["--json", "doctor"]));
    assert!(
        of(&found, "daemon")[0].0 == "failed" && of(&found, "daemon")[0].1.contains("keys_unproven"),
        "{found}"
    );

    // OAuth and API are gone, and then the daemon.
    installation.stop_ring();
    let found = examined(&installation.run(&["--json", "doctor"]));
    assert!(of(&found, "reach").iter().all(|(state, _)| *state == "failed"), "{found}");
    daemon.stop();
    let found = examined(&installation.run(&["--json", "doctor"]));
    assert_eq!(of(&found, "daemon")[0].0, "note", "{found}");
    assert_eq!(of(&found, "disk").last().unwrap().0, "well", "{found}");
}

#[test]
fn what_is_wrong_without_a_daemon_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let broken = "hush-hush-hush-hush\nhush-hush-hush-hush\n";
    fs::write(dir.path().join("key"), broken).unwrap();
    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let idle = "[[socket]]\npath = \"FOLDER/idle.sock\"\ncalls = [\"queue.read:none\"]\n";
    let configuration = Configuration::of(OPEN_QUEUE).with(SOCKET).with(idle);
    let text =
        configuration.text(dir.path()).replacen("[store]", "hmac_key_files = [\"FOLDER/key\"]\n[store]", 1);
    let text = text.replace("FOLDER", dir.path().to_str().unwrap());
    let file = dir.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let doctor = |args: &[&str]| {
        Ran::of(run(&[&["doctor", "--config", file.to_str().unwrap(), "--json"], args].concat(), b""))
    };
    let ran = doctor(&["--url", "https://localhost:1"]);
    let found = examined(&ran);
    assert_eq!(found["ok"], false);
    let problems = of(&found, "configuration");
    assert!(problems[0].0 == "failed" && problems[0].1.contains("calls allows nothing"), "{found}");
    let credentials = of(&found, "credentials");
    assert!(
        credentials.iter().any(|(state, words)| *state == "failed" && words.contains("a line end")),
        "{found}"
    );
    assert!(
        credentials.iter().any(|(state, words)| *state == "warning" && words.contains("client_id")),
        "{found}"
    );
    assert_eq!(of(&found, "reach")[0].0, "note", "{found}");
    assert!(of(&found, "address")[0].1.contains("Ring refuses localhost"), "{found}");
    assert_eq!(of(&found, "certificate")[0].0, "failed", "{found}");
    assert_eq!(of(&found, "front")[0].0, "failed", "{found}");
    assert!(!ran.out.contains("hush"), "{ran:?}");

    fs::write(&file, "listen = 5\n").unwrap();
    let found = examined(&doctor(&[]));
    assert!(of(&found, "configuration")[0].1.contains("listen"), "{found}");
    assert_eq!(doctor(&["--url", "hooks.example.com"]).code, 2);
}
