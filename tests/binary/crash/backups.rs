//! Kills `backup` and `restore` in the middle: nothing has the final name before it is whole, and the same command can be run again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use super::points::{BACKING_UP, RESTORING};
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::process::{Running, ringhookd};

#[test]
fn a_backup_or_a_restore_that_is_killed_can_be_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = Configuration::of(OPEN_QUEUE).with(SOCKET).write(dir.path());
    let daemon = Running::start(&config);
    let body = br#"{"meta":{"request_id":"1","account_id":"a"},"data":{"type":"x"}}"#;
    assert_eq!(daemon.post(&signature(body), body), 200);
    let backup = dir.path().join("backup");
    for point in BACKING_UP {
        killed_at(point, &config, "backup", &backup);
        assert!(!backup.exists(), "{point}");
    }
    ends_well(&config, "backup", &backup);
    assert!(!dir.path().join(".backup.unfinished").exists());
    assert!(daemon.stop().0.success());

    for name in ["store.redb", "identity.json"] {
        fs::remove_file(dir.path().join("data").join(name)).unwrap();
    }
    for point in RESTORING {
        killed_at(point, &config, "restore", &backup);
    }
    ends_well(&config, "restore", &backup);
    let read = ringhookd(&["--config", config.to_str().unwrap(), "check"]).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    let daemon = Running::start(&config);
    let queues =
        ringhookd(&["--config", config.to_str().unwrap(), "--json", "queue", "read", "all"]).output();
    assert!(String::from_utf8(queues.unwrap().stdout).unwrap().contains("\"request_id\":\"1\""));
    assert!(daemon.stop().0.success());
}

fn killed_at(point: &str, config: &Path, command: &str, file: &Path) {
    let args = ["--config", config.to_str().unwrap(), command, file.to_str().unwrap()];
    let killed = ringhookd(&args).env("RINGHOOKD_FAILPOINT", format!("{point}:kill")).output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{point}: {killed:?}");
}

fn ends_well(config: &Path, command: &str, file: &Path) {
    let args = ["--config", config.to_str().unwrap(), command, file.to_str().unwrap()];
    let ended = ringhookd(&args).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}
