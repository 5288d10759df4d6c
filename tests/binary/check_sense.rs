//! `check` finds what is sound and can hardly be meant.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET};
use crate::support::process::{Running, run};

fn checked(configuration: &Configuration) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    checked_file(&configuration.write(dir.path()))
}

fn checked_file(config: &Path) -> (String, String) {
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
fn filters_that_nothing_passes_are_problems_and_unknown_types_are_told() {
    let never = format!("{OPEN_QUEUE}types = [\"link.*\"]\ndevices = [\"d\"]\n");
    let (problems, _) = checked(&Configuration::of(&never).with(SOCKET));
    assert!(
        problems.contains("queue all: nothing can pass its filter: types asks for events of links"),
        "{problems}"
    );
    let mistyped = format!("{OPEN_QUEUE}types = [\"button_pres\", \"motion_*\"]\n");
    let (problems, notes) = checked(&Configuration::of(&mistyped).with(SOCKET));
    assert_eq!(problems, "", "Ring may send what it does not document");
    assert!(notes.contains("types has \"button_pres\"") && !notes.contains("motion_*"), "{notes}");
}

#[test]
fn a_disk_without_room_is_a_problem() {
    let (problems, _) = checked(&Configuration::of(OPEN_QUEUE).with(SOCKET).store("min_free = \"1 TiB\"\n"));
    assert!(
        problems.contains("every webhook is answered 503 below store.min_free, 1048576 MiB"),
        "{problems}"
    );
}

#[test]
fn an_address_of_another_program_is_a_problem_and_the_daemons_own_is_none() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    for (key, configuration) in [
        ("listen", Configuration::of(OPEN_QUEUE).listen(&address)),
        ("metrics.listen", Configuration::of(OPEN_QUEUE).with(&format!("[metrics]\nlisten = \"{address}\""))),
    ] {
        let (problems, _) = checked(&configuration.with(SOCKET));
        let by_us = format!("{key} = \"{address}\": is in use by ");
        // By this process, or by a child of it that is just being started.
        assert!(problems.starts_with(&by_us), "{problems}");
    }
    // Its own, while it runs.
    let dir = tempfile::tempdir().unwrap();
    let open = Configuration::of(OPEN_QUEUE).with(SOCKET);
    let daemon = Running::start(&open.write(dir.path()));
    let address = daemon.address().to_string();
    let open = open.listen(&address);
    let (problems, notes) = checked_file(&open.write_as(dir.path(), "same.toml"));
    assert_eq!(problems, "", "{notes}");
    assert!(notes.contains("the store is in use by pid "), "{notes}");
    // Of another store's daemon. Not every user may see whose it is.
    let (problems, notes) = checked(&open);
    let said = format!("{problems}{notes}");
    assert!(said.contains(&format!("listen = \"{address}\": is in use by ")), "{said}");
    assert!(daemon.stop().0.success());
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
