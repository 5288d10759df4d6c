//! `check --event`: the queues that an event would reach, as the daemon routes the same body.

use std::fs;

use serde_json::Value;

use crate::support::configuration::Configuration;
use crate::support::process::run;

const QUEUES: &str = r#"
[[queue]]
name = "front-door"
kind = "embedded"
subtypes = ["human"]
unclaimed = "deliver"
[[queue.body]]
pointer = "/data/attributes/source"
one_of = ["front-door"]

[[queue]]
name = "vehicles"
kind = "embedded"
subtypes = ["vehicle"]

[[queue]]
name = "anns"
kind = "embedded"
users = ["ann"]
format = "raw"
"#;

fn body(source: &str) -> String {
    format!(
        r#"{{"meta":{{"request_id":"r-1","account_id":"acc"}},"data":{{"type":"motion_detected","subType":"human","attributes":{{"source":"{source}"}}}}}}"#
    )
}

/// Whether it exits with 0, and a line for each queue.
fn check(config: &str, body: &str, args: &[&str]) -> (bool, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let file = Configuration::of(config).write(dir.path());
    let event = dir.path().join("event.json");
    fs::write(&event, body).unwrap();
    let fixed = ["check", "--config", file.to_str().unwrap(), "--json", "--event", event.to_str().unwrap()];
    let output = run(&[&fixed[..], args].concat(), b"");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn fates(lines: &[Value]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|line| (line["fate"].as_str().unwrap(), line["against"].as_str().unwrap_or("")))
        .collect()
}

#[test]
fn each_queue_says_whether_it_takes_the_event_and_which_part_of_its_filter_is_against() {
    let (any, lines) = check(QUEUES, &body("front-door"), &["--user", "ann"]);
    assert_eq!(fates(&lines), [("taken", ""), ("not", "subtypes"), ("taken", "")]);
    assert!(any);
    let sent: Value = serde_json::from_str(lines[0]["sent"].as_str().unwrap()).unwrap();
    assert_eq!((&sent["type"], &sent["ringsubtype"]), (&"com.ring.motion_detected".into(), &"human".into()));
    assert_eq!(lines[2]["sent"], body("front-door"), "as Ring sends it");

    let (_, lines) = check(QUEUES, &body("garage"), &["--user", "bob"]);
    assert_eq!(fates(&lines), [("not", "body"), ("not", "subtypes"), ("not", "users")]);
}

#[test]
fn an_event_of_an_unclaimed_account_is_held_where_a_user_may_want_it() {
    let (any, lines) = check(QUEUES, &body("garage"), &[]);
    assert_eq!(fates(&lines), [("not", "body"), ("not", "subtypes"), ("held", "")]);
    assert!(any);
}

#[test]
fn no_queue_at_all_is_exit_1() {
    let one = "[[queue]]\nname = \"a\"\nkind = \"embedded\"\ntypes = [\"button_press\"]\n";
    let (any, lines) = check(one, &body("garage"), &["--user", "ann"]);
    assert_eq!((any, fates(&lines)), (false, vec![("not", "types")]));
}

#[test]
fn a_body_that_would_be_quarantined_is_told_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = Configuration::of(QUEUES).write(dir.path());
    let event = dir.path().join("event.json");
    for (body, why) in [("no JSON", "not JSON"), ("{}", "no usable data.type")] {
        fs::write(&event, body).unwrap();
        let args = ["check", "--config", file.to_str().unwrap(), "--event", event.to_str().unwrap()];
        let output = run(&args, b"");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && said.contains("event.json"), "{said}");
    }
}
