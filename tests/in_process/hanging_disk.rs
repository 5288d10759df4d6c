//! A disk that hangs: webhooks have their 503 in time, people see how it stands, and all goes on when it answers again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use redb::StorageBackend;
use ringhookd::clock;
use ringhookd::daemon::{self, Daemon};
use ringhookd::domain::tokens::{Pair, Span};
use ringhookd::sim::{Options as SimOptions, Ring};
use ringhookd::store::{Health, Import, NewTokens, Options, Store};
use serde_json::json;
use tokio::time::sleep;

use crate::support::api::Door_;
use crate::support::configuration::{Configuration, OPEN_QUEUE, SOCKET};
use crate::support::disk::{Disk, Image};
use crate::support::http::{exchange_beside, request};
use crate::support::{account, create, tokens, user, vault};
use crate::token_service::hung_guard::Hanging as HangingFile;
use crate::webhooks::signed;

/// A call that hangs ends after this, so that a test that fails ends. Far more than the answers take.
const LONGEST: Duration = Duration::from_mins(2);

#[derive(Debug, Default)]
struct Gate {
    hangs: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
    gave_up: AtomicBool,
}

impl Gate {
    fn set(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }

    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let hangs = self.hangs.lock().unwrap();
        let (_hangs, waited) = self.changed.wait_timeout_while(hangs, LONGEST, |hangs| *hangs).unwrap();
        if waited.timed_out() {
            self.gave_up.store(true, Ordering::Release);
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A disk whose every call waits while its gate hangs.
#[derive(Debug, Clone)]
struct Hanging {
    disk: Disk,
    gate: Arc<Gate>,
}

impl StorageBackend for Hanging {
    fn len(&self) -> std::io::Result<u64> {
        self.gate.pass();
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.gate.pass();
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.gate.pass();
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.gate.pass();
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.gate.pass();
        self.disk.write(offset, data)
    }
}

/// A daemon over a store on such a disk; redb keeps next to nothing of it in memory.
async fn daemon(folder: &Path, gate: &Arc<Gate>) -> Daemon {
    daemon_of(folder, gate, Configuration::of(OPEN_QUEUE)).await
}

async fn daemon_of(folder: &Path, gate: &Arc<Gate>, configuration: Configuration) -> Daemon {
    let limits = "[webhook]\nanswer_within = \"500ms\"\nbody_timeout = \"400ms\"";
    let config = configuration.with(SOCKET).with(limits).parse(folder);
    let of = folder.join("data");
    create(&of);
    let image = Image::from_bytes(&std::fs::read(of.join("store.redb")).unwrap());
    let disk = Hanging { disk: Disk::holding(image), gate: Arc::clone(gate) };
    let options = Options { cache_bytes: 0, ..daemon::options(&config) };
    let store = Store::open_with(&of, vault(), options, false, move || disk.clone()).unwrap();
    Daemon::start_over(config, store).await.unwrap()
}

fn event(id: u32) -> Vec<u8> {
    format!(r#"{{"meta":{{"request_id":"{id}","account_id":"a"}},"data":{{"type":"motion_detected"}}}}"#)
        .into()
}

// One thread for all of it: a single call that blocks it would stop every answer.
#[tokio::test]
async fn a_disk_that_hangs_stops_no_answer_and_all_goes_on_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let daemon = daemon(dir.path(), &gate).await;
    let door = || Door_ { path: dir.path().join("admin.sock") };
    let import = Import {
        account: account("a"),
        user: Some(user("ann")),
        tokens: Some(tokens("at", "rt")),
        replace: false,
    };
    daemon.store().links().import(import).await.unwrap().unwrap();
    assert_eq!(signed(&daemon, &event(1)).await, 200);

    gate.set(true);
    let reads = [
        ("POST", "/v1/queues/all/lease"),
        ("POST", "/v1/accounts/a/token"),
        ("GET", "/v1/accounts"),
        ("GET", "/v1/accounts/a"),
        ("GET", "/v1/dead-letters"),
        ("GET", "/v1/keys"),
    ];
    let reads = reads.map(|(method, path)| {
        let door = door();
        let body = if method == "POST" { "{}" } else { "" };
        tokio::spawn(async move { door.call(method, path, body).await })
    });
    for _ in 0..3 {
        let door = door();
        let (kept, status, metrics, queues) = tokio::join!(
            async { signed(&daemon, &event(2)).await },
            door.get("/v1/status"),
            door.get("/v1/metrics"),
            door.get("/v1/queues"),
        );
        assert_eq!((kept, status.0, metrics.0, queues.0), (503, 200, 200, 200));
    }
    // The writer and a reader at least.
    while gate.waiting.load(Ordering::Acquire) < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    while daemon.store().health() == Health::Ready {
        sleep(Duration::from_millis(20)).await;
    }
    let shown = door().get("/v1/status").await.1;
    let store = (&shown["store"]["state"], &shown["store"]["why"]);
    assert_eq!(store, (&json!("failing"), &json!("its disk does not answer")), "{shown}");
    for read in reads {
        let (status, answer) = read.await.unwrap();
        assert_eq!(status, 503, "{answer}");
    }
    assert!(!gate.gave_up.load(Ordering::Acquire), "the answers came while the disk hung");

    gate.set(false);
    while signed(&daemon, &event(2)).await != 200 {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(signed(&daemon, &event(3)).await, 200);
    assert_eq!(daemon.store().health(), Health::Ready);
    // The lease that nobody waited for came back.
    assert_eq!(door().lease_ids("all", json!({"max": 9, "wait_ms": 30_000})).await, ["1", "2", "3"]);
    daemon.stop().await;
}

/// The store's disk and the guard folder's hang together for 20 s, in the middle of a refresh, on the one thread of the daemon.
#[tokio::test]
async fn while_the_disks_of_store_and_guard_hang_for_20_s_every_answer_is_bounded() {
    const HANGS: Duration = Duration::from_secs(20);
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let ring = Ring::start(SimOptions::default()).unwrap();
    let daemon = daemon_of(dir.path(), &gate, Configuration::of(OPEN_QUEUE).ring(&ring, "")).await;
    let door = || Door_ { path: dir.path().join("admin.sock") };
    let links = daemon.store().links();
    let import = |id: &str, span: Span| {
        let given = ring.add_account(id);
        let pair = Pair::of(Some(&given.access), &given.refresh);
        Import {
            account: account(id),
            user: Some(user("ann")),
            tokens: Some(NewTokens { pair, span }),
            replace: false,
        }
    };
    let fresh = Span { renewed_at: clock::now(), expires_at: clock::now().plus(Duration::from_hours(4)) };
    links.import(import("a", fresh)).await.unwrap().unwrap();
    let guard = dir.path().join("data-guard");
    let guard = HangingFile::at(guard.join(format!("{}.unfinished", daemon.store().identity().store)));
    links.import(import("b", Span::of_import(None, clock::now()))).await.unwrap().unwrap();
    let before = daemon.store().outbox().epoch().await.unwrap();
    // Its intent is in the store, and its epoch is next.
    while daemon.store().outbox().epoch().await.unwrap() == before
        && daemon.tokens().status().overview.in_flight == 0
    {
        sleep(Duration::from_millis(5)).await;
    }

    gate.set(true);
    let address = daemon.address();
    let code =
        request("POST", "/ring/token", "Content-Type: application/x-www-form-urlencoded\r\n", "code=x");
    let code = tokio::spawn(exchange_beside(address, code));
    let claim =
        json!({"nonce": "A".repeat(43), "time": clock::now().0.to_string(), "user": "ann"}).to_string();
    let calls = [("/v1/accounts/a/token", "{}".to_owned()), ("/v1/claims", claim)].map(|(path, body)| {
        let door = door();
        tokio::spawn(async move { door.call("POST", path, &body).await })
    });
    let began = clock::ticks();
    let mut id = 0;
    while began.elapsed() < HANGS {
        id += 1;
        let door = door();
        let (kept, status, metrics, queues) = tokio::join!(
            async { signed(&daemon, &event(id)).await },
            door.get("/v1/status"),
            door.get("/v1/metrics"),
            door.get("/v1/queues"),
        );
        assert_eq!((kept, status.0, metrics.0, queues.0), (503, 200, 200, 200), "{:?}", began.elapsed());
    }
    assert_eq!(code.await.unwrap().status(), 503, "Ring brings the code again");
    for call in calls {
        let (status, answer) = call.await.unwrap();
        assert_eq!(status, 503, "{answer}");
    }
    assert!(!gate.gave_up.load(Ordering::Acquire) && guard.still_hangs(), "the answers came while both hung");
    assert_eq!(ring.counts("b").granted, 0, "nothing is sent before its epoch is noted");

    gate.set(false);
    drop(guard);
    while signed(&daemon, &event(id + 1)).await != 200 || ring.counts("b").granted == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    daemon.stop().await;
}
