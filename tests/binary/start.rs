//! That a store has one daemon, and that one whose doors are taken leaves it alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::configuration::{Configuration, OPEN_QUEUE, signature};
use crate::support::process::{Running, run};

/// A configuration over the store in `folder`, with sockets of its own.
fn config(folder: &Path, name: &str, listen: &str, socket: &str) -> PathBuf {
    let socket = format!("[[socket]]\npath = \"FOLDER/{socket}\"\n");
    Configuration::of(OPEN_QUEUE).with(&socket).listen(listen).write_as(folder, name)
}

fn serve(config: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = run(&["serve", "--config", config.to_str().unwrap()], b"");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn post(daemon: &Running, id: &str) -> u16 {
    let body =
        format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected"}}}}"#);
    daemon.post(&signature(body.as_bytes()), body.as_bytes())
}

#[test]
fn a_second_daemon_is_refused_whatever_was_deleted_beside_the_store_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path(), "first.toml", "127.0.0.1:0", "first.sock");
    let second = config(dir.path(), "second.toml", "127.0.0.1:0", "second.sock");
    let daemon = Running::start(&first);
    assert_eq!(post(&daemon, "1"), 200);
    let store = dir.path().join("data");
    for name in ["holder", "identity.json", "reserve"] {
        let file = store.join(name);
        let before = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let (code, said) = serve(&second);
        assert_eq!(code, Some(75), "without {name}: {said}");
        fs::write(&file, before).unwrap();
    }
    assert!(!dir.path().join("second.sock").exists(), "its doors are gone with it");
    assert_eq!(post(&daemon, "2"), 200);
    assert!(daemon.stop().0.success());
    let daemon = Running::start(&second);
    assert_eq!((post(&daemon, "1"), post(&daemon, "3")), (200, 200));
    assert!(daemon.stop().0.success());
}

#[test]
fn a_daemon_whose_door_is_taken_leaves_the_store_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path(), "first.toml", "127.0.0.1:0", "first.sock");
    let daemon = Running::start(&first);
    // The store is in use, which would be 75: it is not even looked at.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = serve(&config(dir.path(), "second.toml", &address, "second.sock"));
    assert!(code == Some(1) && said.contains(&address), "{code:?}: {said}");
    let (code, said) = serve(&config(dir.path(), "third.toml", "127.0.0.1:0", "first.sock"));
    assert!(code == Some(1) && said.contains("first.sock"), "{code:?}: {said}");
    assert_eq!(post(&daemon, "1"), 200);
    assert!(daemon.stop().0.success());
}
