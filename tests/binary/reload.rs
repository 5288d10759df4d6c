//! `ringhookd reload` and SIGHUP: what can change at once does, what can't is named, and a bad file changes nothing.

mod doors;
mod flow;
mod installed;
mod keys;
mod limits;
mod queues;
mod ring;
mod sinks;
mod sockets;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use self::installed::Installed;
use crate::support::configuration::OPEN_QUEUE;
use crate::support::process::Running;

const DEBUG: &str = "[log]\nlevel = \"debug\"\n";
const MORE: &str = "[[queue]]\nname = \"more\"\nkind = \"embedded\"\n";
/// The same, with a key that takes a restart.
const RESTART: &str = "[log]\nlevel = \"debug\"\nformat = \"json\"\n";
const BAD: &str = "[log]\nlevel = \"loud\"\n[http]\nmax_requests = -1\n";
/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The log's words for a backup.
const BACKED_UP: &str = "the store is read for a backup";
const REFUSED: &str = "the new configuration is refused, and the old one stays";

fn told(daemon: &Running, words: &str) {
    daemon.wait_for(|log| log.contains(words).then_some(()));
}

#[test]
fn what_can_change_does_and_all_else_is_named() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    let nothing = "the configuration was read anew: nothing has changed\n";
    assert_eq!(installed.reloaded(), (0, nothing.to_owned()));
    installed.configure(&format!("{OPEN_QUEUE}{DEBUG}"));
    assert_eq!(installed.reloaded(), (0, "log.level has changed\n".to_owned()));
    assert_eq!(installed.reloaded(), (0, nothing.to_owned()));
    // The level is what says whether a line is written.
    installed.configure(&format!("{OPEN_QUEUE}[log]\nlevel = \"error\"\n"));
    assert_eq!(installed.reloaded(), (0, "log.level has changed\n".to_owned()));
    assert_eq!(installed.run(&["backup", installed.path("first").to_str().unwrap()]).code, 0);
    installed.configure(&format!("{OPEN_QUEUE}{RESTART}{MORE}"));
    let (code, out) = installed.reloaded();
    assert_eq!(code, 1, "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["log.level has changed", "queue \"more\" is new"], "{out}");
    assert!(lines[2].starts_with("log.format needs a restart, because "), "{out}");
    for line in ["queue \\\"more\\\" is new", "log.format needs a restart", "the configuration was read anew"]
    {
        told(&daemon, line);
    }
    // It is shown for as long as it is so.
    let report = installed.report();
    assert_eq!(report["problems"][0]["name"], "restart_needed", "{report}");
    assert_eq!(report["configuration"]["needs_restart"][0]["key"], "log.format");
    assert_eq!(installed.run(&["backup", installed.path("second").to_str().unwrap()]).code, 0);
    let (status, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(status.success() && log.matches(BACKED_UP).count() == 1, "{log}");
    // After the restart nothing is left to be named.
    let daemon = installed.start();
    assert_eq!((installed.reloaded(), installed.problems()), ((0, nothing.to_owned()), vec![]));
    assert!(daemon.stop().0.success());
}

#[test]
fn a_bad_file_is_refused_with_every_problem_everywhere_and_the_old_one_stays() {
    let installed = Installed::new(OPEN_QUEUE);
    let supervisor = UnixDatagram::bind(installed.path("notify")).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = |beginning: &str| {
        let mut bytes = [0; 1024];
        let mut hear =
            || supervisor.recv(&mut bytes).map(|n| String::from_utf8_lossy(&bytes[..n]).into_owned());
        while !hear().unwrap().starts_with(beginning) {}
    };
    let notify = installed.path("notify");
    let daemon = Running::start_with(&installed.config(), &[("NOTIFY_SOCKET", notify.to_str().unwrap())]);
    installed.configure(&format!("{OPEN_QUEUE}{MORE}{BAD}"));
    let ran = installed.run(&["reload"]);
    assert!(ran.code == 1 && ran.out.is_empty(), "{ran:?}");
    hears("STATUS=configuration_refused: ");
    let report = installed.report();
    let problem = &report["problems"][0];
    assert_eq!(problem["name"], "configuration_refused", "{report}");
    let listed = report["configuration"]["refused"]["problems"].as_array().unwrap();
    let listed: Vec<&str> = listed.iter().map(|problem| problem.as_str().unwrap()).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    for (problem, name) in listed.iter().zip(["log.level", "http.max_requests"]) {
        assert!(problem.contains(name) && ran.err.contains(problem), "{problem}: {ran:?}");
        daemon.wait_for(|log| {
            log.lines().any(|line| line.contains(REFUSED) && line.contains(name)).then_some(())
        });
    }
    assert!(problem["words"].as_str().unwrap().contains(&format!("{} (and 1 other problem)", listed[0])));
    assert_eq!(installed.queue_names(), ["all"], "nothing of it is in force");
    assert_eq!(installed.call("POST", "/v1/reload", "").0, 409);
    fs::remove_file(installed.config()).unwrap();
    assert!(installed.run(&["reload"]).err.contains("can't read"), "a file that is gone is a bad one");
    installed.configure(&format!("{OPEN_QUEUE}{DEBUG}"));
    let answer = installed.call("POST", "/v1/reload", "").1;
    assert_eq!(
        answer,
        json!({"applied": [{"key": "log.level", "words": "has changed"}], "needs_restart": []})
    );
    assert_eq!(
        (installed.problems(), &installed.report()["configuration"]["refused"]),
        (vec![], &Value::Null)
    );
    hears("STATUS=all well: ");
    assert!(daemon.stop().0.success());
}

#[test]
fn another_store_is_refused_as_a_whole() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    let elsewhere = installed.text(&format!("{OPEN_QUEUE}{MORE}")).replace("/data\"", "/elsewhere\"");
    fs::write(installed.config(), elsewhere).unwrap();
    let ran = installed.run(&["reload"]);
    assert!(ran.code == 1 && ran.err.contains("store.folder"), "{ran:?}");
    assert_eq!(
        (installed.queue_names(), installed.problems()),
        (vec!["all".into()], vec!["configuration_refused".into()])
    );
    assert!(!installed.path("elsewhere").exists());
    assert!(daemon.stop().0.success());
}

#[test]
fn sighup_does_the_same_and_tells_the_log() {
    let installed = Installed::new(OPEN_QUEUE);
    let daemon = installed.start();
    installed.configure(&format!("{OPEN_QUEUE}{RESTART}"));
    daemon.signal(Signal::HUP);
    told(&daemon, "the configuration was read anew");
    for words in ["log.level has changed", "log.format needs a restart"] {
        daemon.wait_for(|log| {
            log.lines().any(|line| line.contains("SIGHUP") && line.contains(words)).then_some(())
        });
    }
    assert!(daemon.stop().0.success());
}
