//! Signals to the real binary: only SIGKILL ends it before it has finished.

use std::fs;
use std::thread;

use ringhookd::sim::{Options, Place as Called, Plan, Ring};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::json;

use crate::support::configuration::signature;
use crate::support::installation::{Installation, soon};
use crate::support::process::Running;

/// Signals whose default would end the process, and that say nothing of a fault in it.
const HARMLESS: [Signal; 14] = [
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::PIPE,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::POWER,
    Signal::STKFLT,
    Signal::TRAP,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::WINCH,
];

fn installation() -> Installation {
    Installation::new(Ring::start(Options::default()).unwrap(), "")
}

/// In the middle of a refresh whose answer OAuth holds back; `meanwhile` is what happens then.
fn beside_a_slow_refresh(installation: &Installation, meanwhile: impl FnOnce()) {
    let given = installation.ring().add_account("A");
    installation.ring().inject(Plan {
        fault: "oauth-slow-after:2s".parse().unwrap(),
        times: Some(1),
        account: None,
    });
    thread::scope(|scope| {
        let importing =
            scope.spawn(|| installation.import(&json!({"refresh_token": given.refresh, "user": "ann"})));
        soon("OAuth was asked", || installation.ring().requests(Called::OAuth) > 0);
        meanwhile();
        // How it is answered is the caller's matter: what counts is that the link lives on.
        let _ = importing.join().unwrap();
    });
}

#[test]
fn a_signal_in_the_middle_of_a_refresh_costs_no_link() {
    let installation = installation();
    let daemon = installation.serve();
    beside_a_slow_refresh(&installation, || HARMLESS.iter().for_each(|signal| daemon.signal(*signal)));
    soon("the link lives", || installation.lend("A", &[]).code == 0);
    assert_eq!(installation.ring().counts("A").granted, 1, "one refresh, whose answer was heard");
    daemon.wait_for(|log| log.contains("the configuration was read anew").then_some(()));
    let (status, _, log) = daemon.stop();
    let log = String::from_utf8(log).unwrap();
    assert!(status.success() && log.contains("SIGUSR1") && log.contains("\"stopped\""), "{log}");
}

#[test]
fn every_signal_that_ends_it_lets_it_finish_and_a_second_one_cuts_nothing_off() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let installation = installation();
        let daemon = installation.serve();
        beside_a_slow_refresh(&installation, || {
            daemon.signal(signal);
            daemon.wait_for(|log| log.contains("\"stopping\"").then_some(()));
            daemon.signal(signal);
            daemon.signal(Signal::TERM);
        });
        let (status, log) = daemon.ended();
        assert!(status.success() && log.contains("\"stopped\""), "{signal:?}: {log}");
        let _daemon = installation.serve();
        soon("the link lives", || installation.lend("A", &[]).code == 0);
    }
}

fn event(daemon: &Running, n: usize) -> u16 {
    let filler = "x".repeat(20_000);
    let body = format!(
        r#"{{"meta":{{"request_id":"{n}","account_id":"acc"}},"data":{{"type":"motion_detected","filler":"{filler}"}}}}"#
    );
    daemon.post(&signature(body.as_bytes()), body.as_bytes())
}

#[test]
fn a_limit_of_file_sizes_is_a_full_store_and_not_the_end() {
    let installation = installation();
    let daemon = installation.serve();
    assert_eq!(event(&daemon, 0), 200);
    let sizes =
        fs::read_dir(installation.path("data")).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let limit = |current| {
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    limit(sizes.max());
    let refused = (1..2000).find(|n| event(&daemon, *n) != 200).unwrap();
    assert_eq!(event(&daemon, refused), 503);
    daemon.wait_for(|log| log.contains("a file is at the limit of its size").then_some(()));
    limit(None);
    soon("it has recovered", || event(&daemon, refused) == 200);
    let (status, _, _) = daemon.stop();
    assert!(status.success());
    // Everything that was acknowledged is there.
    let daemon = installation.serve();
    let held = installation.report()["kept"]["held"].as_u64().unwrap();
    assert_eq!(held, u64::try_from(refused).unwrap() + 1);
    daemon.stop();
}
