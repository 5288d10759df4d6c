//! `queue read --exec`: each event is a run of a command, and nothing is lost however a run, the reader or the daemon ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::store::{Class, LetterFilter, Outcome};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::support::api::{Api, Door_};
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET, signature};
use crate::support::process::{Running, run};
use crate::support::*;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until there is what is looked for; only that is looked at, never the time.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = clock::instant();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Ended, or only waiting for a parent that does not ask.
fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_err() || stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// A reader that runs; killed when a test ends early.
struct Reader(Option<Child>);

impl Reader {
    fn signal(&self, signal: Signal) {
        let id = self.0.as_ref().unwrap().id();
        kill_process(pid(&id.to_string()), signal).unwrap();
    }

    /// Tells it to stop, and waits until it says that it does.
    fn signal_and_hear(&mut self, signal: Signal) -> impl Read + use<> {
        self.signal(signal);
        let mut said = BufReader::new(self.0.as_mut().unwrap().stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("stopping"), "{line}");
        said
    }

    fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts `queue read` in a folder, so that commands can name files in it.
fn start(folder: &Path, socket: &Path, queue: &str, args: &[&str]) -> Reader {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringhookd"));
    command.args(["--socket", socket.to_str().unwrap(), "queue", "read", queue]).args(args);
    command.current_dir(folder).env("CE_SUBJECT", "of-another-event").env("CE_OTHER", "x");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Reader(Some(command.spawn().unwrap()))
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// A daemon's admin socket in this process, and a folder for commands.
struct ExecHarness {
    api: Api,
    door: Door_,
    folder: PathBuf,
}

impl ExecHarness {
    /// These events as (id, account), for users of the accounts' names.
    async fn with(events: &[(&str, &str)]) -> Self {
        let api = Api::start().await;
        let door = api.open_door();
        let folder = api.dir.path().join("work");
        fs::create_dir(&folder).unwrap();
        for (id, account) in events {
            link(&api.store, account, account).await;
            api.store.inbox().accept(event(id, account)).await.unwrap();
        }
        Self { api, door, folder }
    }

    fn start(&self, queue: &str, args: &[&str]) -> Reader {
        start(&self.folder, &self.door.path, queue, args)
    }

    async fn read(&self, queue: &str, args: &[&str]) -> Output {
        let reader = self.start(queue, args);
        tokio::task::spawn_blocking(|| reader.end()).await.unwrap()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// The content of a file that a command moves to its place when it is whole.
    fn wait_for(&self, name: &str) -> String {
        tokio::task::block_in_place(|| until(name, || fs::read_to_string(self.folder.join(name)).ok()))
    }

    /// What waits in the queue: id and attempt, as the next reader gets them.
    async fn left(&self) -> Vec<(String, u64)> {
        let answer = self.door.ok("POST", "/v1/queues/all/lease", json!({"max": 100})).await;
        let of = |event: &Value| {
            (event["event"]["id"].as_str().unwrap().into(), event["attempt"].as_u64().unwrap())
        };
        answer["events"].as_array().unwrap().iter().map(of).collect()
    }

    /// Fails all that waits so often, at once.
    async fn fail(&self, times: usize) {
        for _ in 0..times {
            let lease = self
                .api
                .store
                .queues()
                .lease(&queue("all"), &request(100), clock::now())
                .await
                .unwrap()
                .unwrap();
            let failed = |seq| (seq, Outcome::Failed { due: clock::now(), why: "before".into() });
            let outcomes = lease.events.iter().map(|leased| failed(leased.seq)).collect();
            self.api.store.queues().settle(&queue("all"), lease.id, outcomes).await.unwrap();
        }
    }

    async fn reasons(&self) -> Vec<String> {
        let filter = LetterFilter { class: Some(Class::Dead), ..LetterFilter::default() };
        let (letters, _) = self.api.store.queues().letters(&filter, None).await.unwrap();
        letters.into_iter().map(|letter| letter.why).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_acknowledged_when_its_command_has_done_the_work() {
    let harness = ExecHarness::with(&[("1", "a"), ("2", "b"), ("3", "a")]).await;
    let work = "cat >> events; echo $CE_ID $CE_TYPE $CE_RINGUSER $CE_SUBJECT $CE_OTHER $RINGHOOKD_QUEUE $RINGHOOKD_ATTEMPT; \
                test -S $RINGHOOKD_SOCKET";
    let output = harness.read("all", &["--exec", work]).await;
    assert_eq!((code(&output), err(&output)), (0, String::new()));
    let told = |id: &str, user: &str| format!("{id} com.ring.motion_detected {user} device-1 all 1\n");
    assert_eq!(out(&output), [told("1", "a"), told("2", "b"), told("3", "a")].concat());
    let events = harness.file("events");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(harness.left().await, []);

    // The queue of raw bodies: the line holds the body, or the body stands for itself.
    let output = harness.read("raws", &["--max", "1", "--", "cat"]).await;
    assert_eq!(serde_json::from_str::<Value>(&out(&output)).unwrap()["id"], "1");
    let output = harness.read("raws", &["--max", "1", "--body", "--", "cat"]).await;
    assert_eq!(out(&output).as_bytes(), &event("2", "b").event.body[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_killed_in_the_middle_loses_nothing() {
    let harness = ExecHarness::with(&[("1", "a"), ("2", "a")]).await;
    let hang = ["--lease", "1s", "--exec", "echo $$ > part; mv part pid; exec sleep 1000"];
    let reader = harness.start("all", &hang);
    let worker = pid(&harness.wait_for("pid"));
    reader.signal(Signal::KILL);
    // Nobody else is left to end it, and it has the reader's output.
    kill_process(worker, Signal::KILL).unwrap();
    reader.end();
    let again = ["--wait", "--max", "2", "--exec", "echo $CE_ID $RINGHOOKD_ATTEMPT"];
    let output = harness.read("all", &again).await;
    let output = (code(&output), out(&output), err(&output));
    assert!(output.0 == 0 && output.1.starts_with("1 ") && output.1.ends_with("\n2 1\n"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_told_with_its_last_line_and_ends_in_the_dead_letters() {
    for (work, why) in [
        (
            "printf 'first\\n\\033[2Jbad\\377 luck\\n\\n' >&2; exit 3",
            "exit code 3: \\u{1b}[2Jbad\u{fffd} luck",
        ),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("exit 1", "exit code 1"),
    ] {
        let harness = ExecHarness::with(&[("1", "a")]).await;
        harness.fail(2).await;
        let output = harness.read("all", &["--exec", work]).await;
        assert_eq!(code(&output), 1);
        let said = format!("ringhookd: event 1 (attempt 3): {why}\n");
        assert!(err(&output).contains(&said), "{said}{}", err(&output));
        assert_eq!(harness.reasons().await, [format!("failed 3 times, last: {why}")]);
        assert_eq!(harness.left().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_holds_up_its_account_and_no_other() {
    let harness = ExecHarness::with(&[("1", "a"), ("2", "b"), ("3", "a")]).await;
    let output = harness.read("all", &["--exec", "echo $CE_ID; test $CE_RINGACCOUNT = b"]).await;
    assert_eq!((code(&output), out(&output)), (1, "1\n2\n".into()));
    let queues = harness.door.ok("GET", "/v1/queues", Value::Null).await;
    let all = &queues["queues"][0];
    assert_eq!(
        (&all["waiting"], &all["delayed_accounts"], &all["leased"]),
        (&json!(2), &json!(1), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn later_counts_no_attempt() {
    let harness = ExecHarness::with(&[("1", "a")]).await;
    let output = harness.read("all", &["--later", "1h", "--exec", "exit 75"]).await;
    assert_eq!((code(&output), err(&output)), (0, String::new()));
    assert_eq!(harness.left().await, [], "it waits");
    let harness = ExecHarness::with(&[("1", "a")]).await;
    harness.read("all", &["--later", "100ms", "--exec", "exit 75"]).await;
    let output =
        harness.read("all", &["--wait", "--max", "1", "--exec", "echo $CE_ID $RINGHOOKD_ATTEMPT"]).await;
    assert_eq!(out(&output), "1 1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_can_not_be_run_stops_the_reader_and_uses_up_nothing() {
    let harness = ExecHarness::with(&[("1", "a"), ("2", "b")]).await;
    fs::write(harness.folder.join("plain"), "no program").unwrap();
    for args in [
        &["--", "./none"][..],
        &["--", "./plain"],
        &["--exec", "./none"],
        &["--exec", "./plain"],
        &["--follow", "--parallel", "2", "--exec", "./none"],
    ] {
        let output = harness.read("all", args).await;
        assert_eq!(code(&output), 1, "{args:?}");
        assert!(err(&output).contains("the command can't be run: "), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(args.last().unwrap()), "{args:?}: {}", err(&output));
        assert_eq!(harness.api.leased("all"), 0, "{args:?}");
    }
    assert_eq!(harness.left().await, [("1".into(), 1), ("2".into(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_run_beside_each_other_and_each_in_its_order() {
    let events: Vec<_> = ["a1", "b1", "a2", "b2", "a3", "b3"].map(|id| (id, &id[..1])).into();
    let harness = ExecHarness::with(&events).await;
    // The first of each account waits for the other's.
    let work = "echo +$CE_ID >> log; touch begun.$CE_RINGACCOUNT
                until [ -e begun.a ] && [ -e begun.b ]; do sleep 0.01; done; echo -$CE_ID >> log";
    let output = harness.read("all", &["--parallel", "2", "--exec", work]).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    for account in ["a", "b"] {
        let log = harness.file("log");
        let steps: Vec<_> = log.lines().filter(|step| step[1..].starts_with(account)).collect();
        let expected = ["+1", "-1", "+2", "-2", "+3", "-3"]
            .map(|step| step.replace(['1', '2', '3'], account) + &step[1..]);
        assert_eq!(steps, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_lease_is_lost_is_killed_with_all_that_it_started() {
    let harness = ExecHarness::with(&[("0", "z"), ("1", "a")]).await;
    let held =
        harness.api.store.queues().lease(&queue("all"), &request(1), clock::now()).await.unwrap().unwrap();
    // Neither of the two heeds SIGTERM.
    let work = "trap '' TERM; sleep 1000 & echo $! > part; echo $$ >> part; mv part pids; wait";
    let reader = harness.start("all", &["--lease", "9s", "--exec", work]);
    let pids = harness.wait_for("pids");
    harness.api.store.queues().release(&queue("all"), held.id + 1);
    assert_eq!(harness.left().await, [("1".into(), 1)], "no attempt was counted");
    let output = tokio::task::spawn_blocking(|| reader.end()).await.unwrap();
    assert!(err(&output).contains("its lease was lost"), "{}", err(&output));
    assert_eq!(code(&output), 0);
    assert!(pids.lines().map(pid).all(is_gone), "{pids}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_kept_while_the_command_runs() {
    let harness = ExecHarness::with(&[("1", "a")]).await;
    let work = "until [ -e end ]; do sleep 0.05; done; echo $RINGHOOKD_ATTEMPT";
    let reader = harness.start("all", &["--lease", "8s", "--exec", work]);
    let ends = || harness.api.store.queues().next_change(&queue("all"));
    let first = tokio::task::block_in_place(|| until("a lease", ends));
    let beyond = first.plus(Duration::from_secs(8));
    tokio::task::block_in_place(|| until("a longer one", || ends().filter(|at| *at > beyond)));
    fs::write(harness.folder.join("end"), "").unwrap();
    let output = tokio::task::spawn_blocking(|| reader.end()).await.unwrap();
    assert_eq!((code(&output), out(&output)), (0, "1\n".into()), "{}", err(&output));
    assert_eq!(harness.left().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_killed_and_a_failed_attempt() {
    let harness = ExecHarness::with(&[("1", "a")]).await;
    harness.fail(2).await;
    let work = "echo $$ > pid; echo thinking >&2; exec sleep 1000";
    let output = harness.read("all", &["--timeout", "5s", "--exec", work]).await;
    assert_eq!(code(&output), 1);
    let reasons = harness.reasons().await;
    assert!(
        reasons.len() == 1 && reasons[0].starts_with("failed 3 times, last: took longer than 5s"),
        "{reasons:?}"
    );
    assert!(is_gone(pid(&harness.file("pid"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_told_to_stop_lets_commands_end_and_gives_back_the_others() {
    let harness = ExecHarness::with(&[("1", "a"), ("2", "b"), ("3", "c")]).await;
    let work = "echo $$ > part.$CE_ID; mv part.$CE_ID pid.$CE_ID
                until [ -e end.$CE_ID ]; do sleep 0.01; done";
    let mut reader = harness.start("all", &["--follow", "--parallel", "2", "--grace", "1h", "--exec", work]);
    let (_, second) = (harness.wait_for("pid.1"), harness.wait_for("pid.2"));
    let mut said = reader.signal_and_hear(Signal::TERM);
    fs::write(harness.folder.join("end.1"), "").unwrap();
    let waiting =
        || harness.api.store.queues().list().iter().find(|view| view.name == queue("all")).unwrap().waiting;
    tokio::task::block_in_place(|| until("the first is acknowledged", || (waiting() == 2).then_some(())));
    reader.signal(Signal::INT);
    let output = tokio::task::spawn_blocking(|| reader.end()).await.unwrap();
    let mut more = String::new();
    said.read_to_string(&mut more).unwrap();
    assert_eq!((code(&output), more), (0, String::new()));
    assert!(is_gone(pid(&second)));
    assert_eq!(harness.left().await, [("2".into(), 1), ("3".into(), 1)]);
    assert_eq!(harness.file("pid.3"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_after_a_signal_is_given_back() {
    let harness = ExecHarness::with(&[("1", "a")]).await;
    let work = "trap '' TERM; echo $$ > part; mv part pid; while :; do sleep 1000; done";
    let reader = harness.start("all", &["--follow", "--lease", "10s", "--grace", "50ms", "--exec", work]);
    let worker = pid(&harness.wait_for("pid"));
    reader.signal(Signal::TERM);
    let output = tokio::task::spawn_blocking(|| reader.end()).await.unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(is_gone(worker));
    assert_eq!(harness.left().await, [("1".into(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_may_read_nothing_and_leave_something_in_the_background() {
    let harness = ExecHarness::with(&[]).await;
    link(&harness.api.store, "a", "a").await;
    let body = format!("{{\"x\":\"{}\"}}", "y".repeat(900_000));
    let large = with_body(event("1", "a"), body.clone());
    harness.api.store.inbox().accept(large).await.unwrap();
    // What is left has our standard error, and the pipe to it is full.
    let work = "sleep 1000 > /dev/null & echo $! > pid";
    let output = harness.read("all", &["--exec", work]).await;
    kill_process(pid(&harness.file("pid")), Signal::KILL).expect("it runs on");
    assert_eq!((code(&output), err(&output)), (0, String::new()));
    assert_eq!(harness.left().await, []);
    let output = harness.read("raws", &["--body", "--exec", "cat > body"]).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(harness.file("body") == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_checked_before_anything_is_taken() {
    let harness = ExecHarness::with(&[("1", "a")]).await;
    for (args, words) in [
        (&["--exec", "true", "--", "true"][..], "--exec"),
        (&["--exec", "true", "--ack", "after-print"], "--ack"),
        (&["--ack", "never"], "after-print"),
        (&["--parallel", "2"], "--exec"),
        (&["--follow"], "--exec"),
        (&["--exec", "true", "--parallel", "0"], "--parallel"),
        (&["--exec", "true", "--lease", "10ms"], "1s to 12h"),
    ] {
        let output = harness.read("all", args).await;
        assert_eq!(code(&output), 2, "{args:?}: {}", err(&output));
        assert!(err(&output).contains(words), "{args:?}: {}", err(&output));
    }
    assert_eq!(code(&harness.read("none", &["--follow", "--exec", "true"]).await), 1, "no such queue");
    let printed = harness.read("all", &["--ack", "after-print"]).await;
    assert!(out(&printed).contains("id 1"), "{}", out(&printed));
    assert_eq!(harness.left().await, []);
}

fn post(daemon: &Running, id: &str, account: &str) {
    let body = format!(
        r#"{{"meta":{{"request_id":"{id}","account_id":"{account}"}},"data":{{"type":"button_press","attributes":{{}}}}}}"#
    );
    assert_eq!(daemon.post(&signature(body.as_bytes()), body.as_bytes()), 200);
}

#[test]
fn a_daemon_that_is_killed_and_comes_back_finds_its_reader_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, config) = (dir.path(), Configuration::of(OPEN_QUEUE).with(SOCKET).write(dir.path()));
    let socket = folder.join("admin.sock");
    let daemon = Running::start(&config);
    for (id, account) in [("1", "a"), ("2", "b"), ("3", "a")] {
        post(&daemon, id, account);
    }
    let work = "echo $$ > part.$CE_ID; mv part.$CE_ID begun.$CE_ID; until [ -e back ]; do sleep 0.01; done; echo $CE_ID >> done";
    let mut reader =
        start(folder, &socket, "all", &["--follow", "--parallel", "2", "--lease", "20s", "--exec", work]);
    for id in ["1", "2"] {
        until("it runs", || fs::read(folder.join(format!("begun.{id}"))).ok());
    }
    daemon.kill();
    let daemon = Running::start(&config);
    fs::write(folder.join("back"), "").unwrap();
    post(&daemon, "4", "b");
    let read = |args: &[&str]| run(&[&["--json", "--config", config.to_str().unwrap()], args].concat(), b"");
    until("all is acknowledged", || {
        let list: Value = serde_json::from_slice(&read(&["queue", "list"]).stdout).ok()?;
        (list["waiting"] == 0).then_some(())
    });
    let done = fs::read_to_string(folder.join("done")).unwrap();
    for id in ["1", "2", "3", "4"] {
        assert!(done.lines().any(|line| line == id), "{id} in {done:?}");
    }
    let order: Vec<_> = done.lines().filter(|id| ["1", "3"].contains(id)).collect();
    assert!(order.is_sorted(), "{done:?}");
    reader.signal(Signal::TERM);
    let output = reader.0.take().unwrap().wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    daemon.stop();
}
