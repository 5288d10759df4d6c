//! `ringhookd reload` and SIGHUP: what can change at once does, what can't is named, and a bad file changes nothing.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET};
use crate::support::http::{exchange, request};
use crate::support::installation::Ran;
use crate::support::process::{Running, run};

const DEBUG: &str = "[log]\nlevel = \"debug\"\n";
const MORE: &str = "[[queue]]\nname = \"more\"\nkind = \"embedded\"\n[http]\nmax_requests = 77\n";

/// The log's words for a backup.
const BACKED_UP: &str = "the store is read for a backup";

fn configure(folder: &Path, sections: &str) {
    Configuration::of(OPEN_QUEUE).with(SOCKET).with(sections).write(folder);
}

fn reload(folder: &Path) -> Ran {
    let socket = folder.join("admin.sock");
    Ran::of(run(&["--socket", socket.to_str().unwrap(), "reload"], b""))
}

/// Has the daemon write a line at `info` before it answers.
fn back_up(folder: &Path, name: &str) {
    let (socket, file) = (folder.join("admin.sock"), folder.join(name));
    let ran = Ran::of(run(&["--socket", socket.to_str().unwrap(), "backup", file.to_str().unwrap()], b""));
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn told(daemon: &Running, words: &str) {
    daemon.wait_for(|log| log.contains(words).then_some(()));
}

#[test]
fn the_log_level_changes_at_once_and_all_else_is_named() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let daemon = Running::start(&dir.path().join("config.toml"));
    let ran = reload(dir.path());
    assert_eq!((ran.code, ran.out.as_str()), (0, "the configuration was read anew: nothing has changed\n"));
    configure(dir.path(), DEBUG);
    let ran = reload(dir.path());
    assert_eq!((ran.code, ran.out.as_str()), (0, "the configuration was read anew: log.level\n"), "{ran:?}");
    assert_eq!(reload(dir.path()).out, "the configuration was read anew: nothing has changed\n");
    // The level is what says whether a line is written.
    configure(dir.path(), "[log]\nlevel = \"error\"\n");
    assert_eq!(reload(dir.path()).code, 0);
    back_up(dir.path(), "first");
    configure(dir.path(), &format!("{DEBUG}{MORE}"));
    let ran = reload(dir.path());
    assert_eq!(ran.code, 1, "{ran:?}");
    let named = "changed: log.level; a restart is needed for: http.max_requests, queue \"more\"\n";
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (named, ""));
    told(&daemon, "some of it needs a restart");
    back_up(dir.path(), "second");
    let (status, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(status.success() && log.matches(BACKED_UP).count() == 1, "{log}");
    // After the restart nothing is left to be named.
    let daemon = Running::start(&dir.path().join("config.toml"));
    assert_eq!(reload(dir.path()).code, 0);
    assert!(daemon.stop().0.success());
}

#[test]
fn a_bad_file_is_refused_with_every_problem_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let daemon = Running::start(&dir.path().join("config.toml"));
    configure(dir.path(), "[log]\nlevel = \"loud\"\n[http]\nmax_requests = -1\n");
    let ran = reload(dir.path());
    assert!(ran.code == 1 && ran.out.is_empty(), "{ran:?}");
    for problem in ["log.level", "http.max_requests"] {
        assert!(ran.err.contains(problem), "{problem}: {ran:?}");
    }
    told(&daemon, "the new configuration is refused, and the old one stays");
    let answer = exchange(&dir.path().join("admin.sock"), &request("POST", "/v1/reload", "", ""));
    assert_eq!(answer.status(), 409);
    fs::remove_file(dir.path().join("config.toml")).unwrap();
    assert!(reload(dir.path()).err.contains("can't read"), "a file that is gone is a bad one");
    configure(dir.path(), DEBUG);
    let answer = exchange(&dir.path().join("admin.sock"), &request("POST", "/v1/reload", "", ""));
    assert_eq!(answer.json(), json!({"applied": ["log.level"], "needs_restart": []}));
    assert!(daemon.stop().0.success());
}

#[test]
fn sighup_does_the_same_and_tells_the_log() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let daemon = Running::start(&dir.path().join("config.toml"));
    configure(dir.path(), &format!("{DEBUG}{MORE}"));
    daemon.signal(Signal::HUP);
    let line =
        daemon.wait_for(|log| log.lines().find(|line| line.contains("was read anew")).map(str::to_owned));
    for words in ["SIGHUP", "log.level", "http.max_requests", "more"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert!(daemon.stop().0.success());
}
