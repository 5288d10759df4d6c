//! `check` finds what is sound and can hardly be meant.

use serde_json::Value;

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET};
use crate::support::process::run;

fn checked(configuration: &Configuration) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration.write(dir.path());
    let output = run(&["--json", "check", "--config", config.to_str().unwrap()], b"");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = |key: &str| {
        let lines = found[key].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(output.status.code(), Some(i32::from(found["ok"] == false)), "{found}");
    (said("problems"), said("notes"))
}

#[test]
fn a_value_of_an_example_and_a_socket_for_nobody_are_problems() {
    let (problems, notes) = checked(&Configuration::of(OPEN_QUEUE).with(SOCKET));
    assert_eq!(problems, "");
    assert!(!notes.contains("no [["), "{notes}");
    let ring = "[ring]\nclient_id = \"put-here-what-ring-shows\"\nclient_secret = \"made-up-secret\"\n";
    let (problems, _) = checked(&Configuration::of(OPEN_QUEUE).with(SOCKET).with(ring));
    assert!(problems.contains("ring.client_id = \"put-here-what-ring-shows\""), "{problems}");
    let idle = "[[socket]]\npath = \"FOLDER/idle.sock\"\ncalls = [\"queue.read:none\"]\n";
    let (problems, _) = checked(&Configuration::of(OPEN_QUEUE).with(SOCKET).with(idle));
    assert!(problems.contains("idle.sock: calls allows nothing"), "{problems}");
}

#[test]
fn no_queue_and_no_socket_for_oneself_are_told() {
    let (_, notes) = checked(&Configuration::of(SOCKET));
    assert!(notes.contains("there is no [[queue]]"), "{notes}");
    let some = "[[socket]]\npath = \"FOLDER/some.sock\"\naccounts = [\"a\"]\n\
                [[socket]]\npath = \"FOLDER/status.sock\"\ncalls = [\"status\"]\n";
    let (_, notes) = checked(&Configuration::of(OPEN_QUEUE).with(some));
    assert!(notes.contains("no [[socket]] allows every call"), "{notes}");
}
