//! `ringhookd status` of a well daemon and of ill ones: its first line, and its exit code.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Child;

use ringhookd::domain::signature::sign;
use ringhookd::sim::{Options, Ring};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::configuration::{Configuration, KEY, OPEN_QUEUE, SOCKET};
use crate::support::installation::{Installation, Ran, soon};
use crate::support::process::{Running, ringhookd, run};

/// A daemon of this configuration beside its folder.
fn daemon(configuration: Configuration) -> (tempfile::TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration.with(SOCKET).write(dir.path());
    (dir, Running::start(&config))
}

fn status(dir: &tempfile::TempDir, args: &[&str]) -> Ran {
    let socket = dir.path().join("admin.sock");
    Ran::of(run(&[&["status", "--socket", socket.to_str().unwrap()], args].concat(), b""))
}

fn first_line(ran: &Ran) -> (i32, &str) {
    (ran.code, ran.out.lines().next().unwrap())
}

/// Ring sends an event of an account, with so much in it.
fn event(daemon: &Running, id: &str, bytes: usize) -> u16 {
    let filler = "x".repeat(bytes);
    let body = format!(
        r#"{{"meta":{{"request_id":"{id}","account_id":"A"}},"data":{{"type":"button_press","attributes":{{"x":"{filler}"}}}}}}"#
    );
    let signature = sign(KEY.as_bytes(), body.as_bytes());
    daemon.post(&format!("X-Signature: {signature}\r\n"), body.as_bytes())
}

#[test]
fn a_well_daemon_is_well_and_shows_what_it_did() {
    let (dir, daemon) = daemon(Configuration::of(OPEN_QUEUE));
    assert_eq!(event(&daemon, "1", 0), 200);
    assert_eq!(event(&daemon, "1", 0), 200);
    assert_eq!(daemon.post("X-Signature: sha256=00\r\n", b"{}"), 401);
    let ran = status(&dir, &[]);
    assert_eq!(first_line(&ran), (0, "all well"), "{ran:?}");
    for line in [
        "webhooks 1 accepted, 1 duplicate, 1 malformed_signature",
        "links 1 unclaimed",
        "last refusal malformed_signature, ",
    ] {
        assert!(ran.has_line(line), "{line} in {}", ran.out);
    }
    let mut rows = ran.out.lines().filter(|line| line.contains("embedded"));
    assert!(
        rows.next().is_some_and(|row| row.starts_with("all ") && row.ends_with("for readers")),
        "{}",
        ran.out
    );
    let json = status(&dir, &["--json"]);
    let document: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &document["problems"]), (0, &json!([])));
    assert!(daemon.stop().0.success());
    let gone = status(&dir, &[]);
    assert_eq!((gone.code, gone.out.as_str()), (1, ""), "{gone:?}");
}

#[test]
fn a_queue_whose_receiver_is_down_comes_first() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let queue = format!(
        "[[queue]]\nname = \"out\"\nkind = \"http\"\nurl = \"http://{nobody}/\"\nunclaimed = \"deliver\"\n"
    );
    let (dir, daemon) = daemon(Configuration::of(&queue));
    assert_eq!(first_line(&status(&dir, &[])), (0, "all well"));
    assert_eq!(event(&daemon, "1", 0), 200);
    soon("delivery fails", || status(&dir, &[]).code == 3);
    let ran = status(&dir, &[]);
    let first = first_line(&ran).1;
    assert!(first.starts_with("queue_stalled: Queue out has delivered nothing for "), "{ran:?}");
    assert!(first.contains("1 event wait: ") && first.contains("See to its receiver."), "{first}");
    let row = ran.out.lines().find(|line| line.starts_with("out ")).unwrap();
    assert!(row.contains("http") && row.contains("stalled for "), "{row}");
}

#[test]
fn a_queue_that_is_nearly_full_needs_an_operator() {
    let (dir, daemon) = daemon(Configuration::of(&format!("{OPEN_QUEUE}max_bytes = \"1 MiB\"\n")));
    assert_eq!(event(&daemon, "1", 900_000), 200);
    let ran = status(&dir, &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.starts_with("queue_near_bound: Queue all is near its bounds: 1 event of "), "{ran:?}");
}

#[test]
fn a_silence_needs_an_operator_and_the_log_tells_when_it_begins_and_ends() {
    let (dir, daemon) = daemon(Configuration::of(&format!("[silence]\nafter = \"1s\"\n{OPEN_QUEUE}")));
    assert_eq!(first_line(&status(&dir, &[])), (0, "all well"), "nothing is missed before the first");
    assert_eq!(event(&daemon, "1", 0), 200);
    soon("it is silent", || status(&dir, &[]).code == 3);
    let ran = status(&dir, &[]);
    assert!(first_line(&ran).1.starts_with("intake_silent: No webhook has arrived for "), "{ran:?}");
    assert_eq!(event(&daemon, "2", 0), 200);
    daemon.wait_for(|log| log.contains("webhooks arrive again").then_some(()));
    let (_, _, log) = daemon.stop();
    assert!(
        String::from_utf8_lossy(&log).contains("no webhook has arrived for longer than expected"),
        "{log:?}"
    );
}

#[test]
fn a_token_that_oauth_refuses_needs_an_operator() {
    let installation = Installation::new(Ring::start(Options::default()).unwrap(), "");
    let _daemon = installation.serve();
    let well = installation.ring().add_account("WELL");
    installation.imported(&json!({"account_id": "WELL", "user": "ann", "refresh_token": well.refresh}));
    let given = installation.ring().add_account("A");
    installation.ring().revoke("A");
    installation.imported(&json!({"account_id": "A", "user": "ann", "refresh_token": given.refresh}));
    soon("OAuth refuses it", || installation.problems().contains(&"tokens_refused".into()));
    let ran = installation.run(&["status"]);
    let first = first_line(&ran);
    assert_eq!((first.0, first.1.split_once(": ").unwrap().0), (3, "tokens_refused"), "{ran:?}");
    assert!(first.1.contains("the tokens of 1 account (invalid_grant)"), "{first:?}");
    for (limit, urgent) in [(1, &["A"][..]), (9, &["A", "WELL"])] {
        let path = format!("/v1/accounts?order=urgency&limit={limit}");
        let (_, answer) = installation.call("admin.sock", "GET", &path, "");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let ids = answer["accounts"].as_array().unwrap().iter().map(|account| &account["account_id"]);
        assert!(ids.eq(urgent), "{answer}");
    }
}

fn watch(dir: &tempfile::TempDir, args: &[&str]) -> (Child, BufReader<impl Read + use<>>) {
    let socket = dir.path().join("admin.sock");
    let args = [&["status", "--watch", "--socket", socket.to_str().unwrap()], args].concat();
    let mut child = ringhookd(&args).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn interrupt(child: &mut Child) -> bool {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn a_watch_goes_on_until_it_is_told_and_writes_no_control_characters_into_a_pipe() {
    let (dir, daemon) = daemon(Configuration::of(OPEN_QUEUE));
    let (mut child, mut out) = watch(&dir, &[]);
    let mut read = |until: &str| {
        let mut text = String::new();
        while !text.contains(until) {
            assert!(out.read_line(&mut text).unwrap() > 0, "{until} is not in {text}");
        }
        text
    };
    let first = read("WEBHOOK KEY");
    assert!(first.starts_with("all well\n"), "{first}");
    let second = read("WEBHOOK KEY");
    assert!(second.contains("\n\nall well\n"), "a page begins behind an empty line: {second}");
    let (_, _, log) = daemon.stop();
    let gone = read("can't reach the daemon");
    assert!(!format!("{first}{second}{gone}").contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
    assert!(interrupt(&mut child));
}

#[test]
fn a_watch_in_json_is_an_object_a_line() {
    let (dir, _daemon) = daemon(Configuration::of(OPEN_QUEUE));
    let (mut child, out) = watch(&dir, &["--json"]);
    let reports = out.lines().take(2).map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    for report in reports {
        assert_eq!(report["problems"], json!([]));
        assert!(report["uptime_s"].is_u64());
    }
    assert!(interrupt(&mut child));
}
