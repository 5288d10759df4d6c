//! The example consumers: what they have not settled comes again, and what they can't do is told with its reason.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::api::Api;
use crate::support::*;
use ringhookd::clock;
use ringhookd::store::{Class, LetterFilter, Outcome};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

/// Far more than anything takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_mins(2);
/// A lease is extended three times in its life, so a machine that stands still for 13 s fails no test.
const LEASE_MS: &str = "20000";

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = clock::instant();
    tokio::task::block_in_place(|| {
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/consumers").join(name)
}

/// Whether there is such a program; CI has them all.
fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("version").stdin(Stdio::null()).output().is_ok();
    let must = program == "python3" || std::env::var_os("CI").is_some();
    assert!(found || !must, "{program}, which runs an example consumer, is missing");
    found
}

/// Killed at its end.
struct Consumer(Child);

impl Consumer {
    fn start(program: &[PathBuf], api: &Api, file: &str) -> Self {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).arg(api.dir.path().join("admin.sock")).args(["all", file]);
        command.current_dir(api.dir.path()).env("LEASE_MS", LEASE_MS);
        Self(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The first line on standard error. The others are read too, because a consumer whose standard error is closed ends at the next one.
    fn complaint(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        line
    }
}

impl Drop for Consumer {
    /// As a crash would.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn accept(api: &Api, ids: &[&str]) {
    for id in ids {
        link(&api.store, &id[..1], "ann").await;
        api.store.inbox().accept(event(id, &id[..1])).await.unwrap();
    }
}

fn waiting(api: &Api) -> u64 {
    api.store.queues().list().iter().find(|view| view.name == queue("all")).unwrap().waiting
}

async fn try_out(program: &[PathBuf]) {
    let api = Api::start().await;
    accept(&api, &["a1", "b1", "a2"]).await;
    // Without a reader a named pipe can't be opened: the consumer stays in the middle of its work.
    mknodat(CWD, api.dir.path().join("out"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut consumer = Consumer::start(program, &api, "out");
    let complaint = tokio::task::block_in_place(|| consumer.complaint());
    assert!(!complaint.is_empty(), "there is no daemon");
    let _door = api.open_door();
    let ends = || api.store.queues().next_change(&queue("all"));
    let first = until("a lease", ends);
    until("a longer lease", || ends().filter(|end| *end > first));
    assert_eq!((waiting(&api), api.leased("all")), (3, 1), "nothing is acknowledged before the work is done");
    drop(consumer);

    fs::remove_file(api.dir.path().join("out")).unwrap();
    let consumer = Consumer::start(program, &api, "out");
    until("all is acknowledged", || (waiting(&api) == 0).then_some(()));
    drop(consumer);
    let kept = fs::read_to_string(api.dir.path().join("out")).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |account: &str| {
        let ids = kept.iter().map(|event| event["id"].as_str().unwrap());
        let mut ids: Vec<_> = ids.filter(|id| id.starts_with(account)).map(str::to_owned).collect();
        ids.dedup();
        ids
    };
    assert_eq!((of("a"), of("b")), (vec!["a1".into(), "a2".into()], vec!["b1".into()]));
    let crashed = kept.iter().find(|event| event["id"] == "a1").unwrap();
    assert!(crashed["ringattempt"].as_u64() >= Some(2), "{crashed}");
    assert_eq!(crashed["data"]["meta"]["request_id"], "a1");

    accept(&api, &["c1"]).await;
    for _ in 0..2 {
        let lease =
            api.store.queues().lease(&queue("all"), &request(1), clock::now()).await.unwrap().unwrap();
        let failed = Outcome::Failed { due: clock::now(), why: "before".into() };
        api.store
            .queues()
            .settle(&queue("all"), lease.id, vec![(lease.events[0].seq, failed)])
            .await
            .unwrap();
    }
    let _consumer = Consumer::start(program, &api, "none/out");
    until("it is a dead letter", || (waiting(&api) == 0).then_some(()));
    let filter = LetterFilter { class: Some(Class::Dead), ..LetterFilter::default() };
    let why = api.store.queues().letters(&filter, None).await.unwrap().0.remove(0).why;
    assert!(why.starts_with("failed 3 times, last: ") && why.contains("o such file"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_consumer_loses_nothing() {
    assert!(is_here("python3"));
    try_out(&["python3".into(), "-B".into(), example("consumer.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_consumer_loses_nothing() {
    if is_here("node") {
        try_out(&["node".into(), example("consumer.mjs")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_consumer_loses_nothing() {
    if !is_here("go") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("consumer");
    let mut compile = Command::new("go");
    compile.args(["build", "-o"]).arg(&program).arg(example("consumer.go"));
    compile.env("GOCACHE", dir.path().join("cache")).env("GO111MODULE", "off").env("GOTOOLCHAIN", "local");
    let built = tokio::task::block_in_place(|| compile.output()).unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    try_out(&[program]).await;
}
