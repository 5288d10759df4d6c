//! Full load, and the ledger of what was acknowledged, with which a restored store is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use ringhookd::store::Store;
use ringhookd::vault::Vault;
use serde_json::{Value, json};

use crate::support::configuration::signature;
use crate::support::http::Client;
use crate::support::{account, drain_keys, options, spec};

const SENDERS: usize = 6;
/// More answers than this have come since the load went on when it is full.
const BUSY: u64 = 300;

/// How it stands at one moment. Each sender has one account and one event under way, so numbers say it all.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    sent: [u64; SENDERS],
    acknowledged: [u64; SENDERS],
    /// Keys whose settlement was sent.
    settling: BTreeSet<String>,
    /// Keys whose settlement was answered.
    settled: BTreeSet<String>,
}

impl Standing {
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.iter().sum()
    }
}

#[derive(Debug, Default)]
struct State {
    standing: Standing,
    on: bool,
    over: bool,
    /// Threads that are in the middle of something.
    working: usize,
}

#[derive(Debug, Default)]
struct Ledger {
    state: Mutex<State>,
    changed: Condvar,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits for its turn to do something; nothing when it is over.
    fn go(&self) -> Option<Work<'_>> {
        let mut state = self.changed.wait_while(self.state(), |state| !state.on && !state.over).unwrap();
        if state.over {
            return None;
        }
        state.working += 1;
        Some(Work(self))
    }

    fn note(&self, note: impl FnOnce(&mut Standing)) {
        note(&mut self.state().standing);
        self.changed.notify_all();
    }
}

struct Work<'a>(&'a Ledger);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state.lock() {
            state.working -= 1;
        }
        self.0.changed.notify_all();
    }
}

pub(super) struct Load {
    ledger: Arc<Ledger>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Paused at first.
    pub(super) fn start(address: SocketAddr, socket: &Path) -> Self {
        let ledger = Arc::<Ledger>::default();
        let mut threads: Vec<_> = (0..SENDERS)
            .map(|sender| (sender, Arc::clone(&ledger)))
            .map(|(sender, ledger)| thread::spawn(move || send(&ledger, sender, address)))
            .collect();
        let (reader, socket) = (Arc::clone(&ledger), socket.to_owned());
        threads.push(thread::spawn(move || read(&reader, &socket)));
        Self { ledger, threads }
    }

    pub(super) fn run_until_busy(&self) {
        let mut state = self.ledger.state();
        let wanted = state.standing.acknowledged() + BUSY;
        state.on = true;
        self.ledger.changed.notify_all();
        drop(self.ledger.changed.wait_while(state, |state| state.standing.acknowledged() < wanted).unwrap());
    }

    /// Until nothing is under way.
    pub(super) fn pause(&self) {
        let mut state = self.ledger.state();
        state.on = false;
        drop(self.ledger.changed.wait_while(state, |state| state.working > 0).unwrap());
    }

    pub(super) fn standing(&self) -> Standing {
        self.ledger.state().standing.clone()
    }

    pub(super) fn end(self) {
        self.ledger.state().over = true;
        self.ledger.changed.notify_all();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// What was acknowledged before and not settled since is there once and in order, and nothing that was never sent.
pub(super) fn compare(before: &Standing, after: &Standing, folder: &Path, vault: Vault, token: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::open(folder, "test", vault, options(vec![spec("all")])).unwrap();
    let (found, access) = runtime.block_on(async {
        let access = store.links().access(account("with-tokens")).await.unwrap().unwrap();
        (drain_keys(&store, "all").await, access)
    });
    assert_eq!(access.token.unwrap().expose(), token);
    store.close();
    let mut numbers: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for key in &found {
        let (sender, n) = key.split_once('-').unwrap();
        numbers.entry(sender.parse().unwrap()).or_default().push(n.parse().unwrap());
    }
    for sender in 0..SENDERS {
        let there = numbers.remove(&sender).unwrap_or_default();
        assert!(
            there.is_sorted_by(|one, next| one < next),
            "sender {sender}: twice, or out of order: {there:?}"
        );
        assert!(there.last().is_none_or(|last| *last < after.sent[sender]), "sender {sender}: never sent");
        let there: BTreeSet<u64> = there.into_iter().collect();
        for n in 0..before.acknowledged[sender] {
            let key = key(sender, n);
            assert!(there.contains(&n) || after.settling.contains(&key), "{key} was acknowledged");
            assert!(!there.contains(&n) || !before.settled.contains(&key), "{key} was settled");
        }
    }
    assert!(numbers.is_empty(), "of nobody: {numbers:?}");
}

fn key(sender: usize, n: u64) -> String {
    format!("{sender}-{n}")
}

fn send(ledger: &Ledger, sender: usize, address: SocketAddr) {
    let mut client = Client::tcp(address).unwrap();
    let mut n = 0;
    while let Some(_work) = ledger.go() {
        ledger.note(|standing| standing.sent[sender] = n + 1);
        let id = key(sender, n);
        let body = format!(
            r#"{{"meta":{{"request_id":"{id}","account_id":"account-{sender}"}},"data":{{"type":"motion_detected"}}}}"#
        );
        let answer = client.send("POST", "/webhooks/ring", &signature(body.as_bytes()), body.as_bytes());
        // A pause outlives the idle connection; the daemon takes a repeat for what it is.
        match answer {
            Ok((200, _)) => {
                n += 1;
                ledger.note(|standing| standing.acknowledged[sender] = n);
            }
            Ok((503, _)) => {}
            Ok((status, _)) => panic!("{id} was answered {status}"),
            Err(_) => client = Client::tcp(address).unwrap(),
        }
    }
}

/// Takes a few events now and then, so that a backlog stays and settlements go on.
fn read(ledger: &Ledger, socket: &Path) {
    let ask = |what: &str, body: &Value| {
        let path = format!("/v1/queues/all/{what}");
        let (status, text) =
            Client::unix(socket).unwrap().send("POST", &path, "", body.to_string().as_bytes()).unwrap();
        assert_eq!(status, 200, "{what}: {}", String::from_utf8_lossy(&text));
        serde_json::from_slice::<Value>(&text).unwrap()
    };
    while let Some(_work) = ledger.go() {
        let leased = ask("lease", &json!({"max": 20}));
        let events = leased["events"].as_array().unwrap();
        if events.is_empty() {
            continue;
        }
        let keys: Vec<String> =
            events.iter().map(|event| event["event"]["id"].as_str().unwrap().to_owned()).collect();
        let seqs: Vec<&Value> = events.iter().map(|event| &event["seq"]).collect();
        ledger.note(|standing| standing.settling.extend(keys.iter().cloned()));
        let done = ask("settle", &json!({"lease": leased["lease"], "ack": seqs}));
        assert_eq!(done["lost"], 0, "{done}");
        ledger.note(|standing| standing.settled.extend(keys));
    }
}
