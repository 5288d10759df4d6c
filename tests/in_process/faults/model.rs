//! Random commands against a model of plain maps: who gets what, in which order, also across restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringhookd::domain::dedup::Identity;
use ringhookd::domain::event::Event;
use ringhookd::domain::time::Millis;
use ringhookd::store::{
    Accepted, AccountRefusal, Incoming, Inline, LeaseRequest, Options, Outcome, QueueSpec, Unclaimed,
};

use crate::faults::harness::START;
use crate::support::disk::{Disk, Image};
use crate::support::whole::share;
use crate::support::{HOUR, account, at_once, create, event, options, queue, spec, user, vault};

const QUEUES: [&str; 3] = ["all", "eager", "extra"];
const MAX_ATTEMPTS: u32 = 2;
/// The lane of what queues are told of forgotten accounts.
const TOLD: u8 = u8::MAX;

#[derive(Debug, Clone)]
enum Op {
    Accept(u8),
    Duplicate(usize),
    Conflict(usize),
    Claim(u8, u8),
    Forget(u8),
    /// Leases from a queue; the outcome of the n-th event is by the n-th byte.
    Deliver(usize, usize, Vec<u8>),
    /// Leases and never answers: the lease runs out.
    LeaveOpen(usize, usize),
    Restart,
    /// Takes `extra` out of the configuration, or puts it back.
    Toggle,
    RemoveExtra,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..4u8).prop_map(Op::Accept),
        1 => any::<usize>().prop_map(Op::Duplicate),
        1 => any::<usize>().prop_map(Op::Conflict),
        2 => (0..4u8, 0..2u8).prop_map(|(a, u)| Op::Claim(a, u)),
        1 => (0..4u8).prop_map(Op::Forget),
        4 => (0..3usize, 1..6usize, prop::collection::vec(any::<u8>(), 6)).prop_map(|(q, n, o)| Op::Deliver(q, n, o)),
        1 => (0..3usize, 1..4usize).prop_map(|(q, n)| Op::LeaveOpen(q, n)),
        1 => Just(Op::Restart),
        1 => Just(Op::Toggle),
        1 => Just(Op::RemoveExtra),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    key: String,
    user: Option<String>,
    failures: u32,
}

type Lanes = BTreeMap<u8, Vec<Waiting>>;

#[derive(Debug, Default)]
struct Model {
    users: BTreeMap<u8, String>,
    queues: BTreeMap<&'static str, Lanes>,
    /// Held events in order, with whether `extra` had them.
    held: BTreeMap<u8, Vec<String>>,
    extra: bool,
    /// Dead letters by lane.
    dead: BTreeMap<u8, u64>,
}

impl Model {
    fn push(&mut self, name: &'static str, of: u8, key: &str) {
        let user = self.users.get(&of).cloned();
        let waiting = Waiting { key: key.to_owned(), user, failures: 0 };
        self.queues.entry(name).or_default().entry(of).or_default().push(waiting);
    }

    fn accept(&mut self, of: u8, key: &str) {
        self.push("eager", of, key);
        if self.users.contains_key(&of) {
            self.release(of, key);
        } else {
            self.held.entry(of).or_default().push(key.to_owned());
        }
    }

    fn release(&mut self, of: u8, key: &str) {
        self.push("all", of, key);
        if self.extra {
            self.push("extra", of, key);
        }
    }

    /// Takes the event out of its lane when the outcome does, else counts.
    fn settle(&mut self, name: &str, of: u8, key: &str, outcome: &Outcome) {
        // A queue that the configuration does not name has no last attempt.
        let patient = name == "extra" && !self.extra;
        let lane = self.queues.get_mut(name).unwrap().get_mut(&of).unwrap();
        let at = lane.iter().position(|w| w.key == key).unwrap();
        match outcome {
            Outcome::Returned | Outcome::Postponed { .. } => {}
            Outcome::Failed { .. } if patient || lane[at].failures + 1 < MAX_ATTEMPTS => {
                lane[at].failures += 1;
            }
            Outcome::Done => drop(lane.remove(at)),
            Outcome::Failed { .. } | Outcome::Dead { .. } => {
                lane.remove(at);
                *self.dead.entry(of).or_default() += 1;
            }
        }
    }
}

/// Where the model has an event, and under which name.
fn lane_and_key(event: &Event) -> (u8, String) {
    let id = event.account.as_ref().unwrap().as_str();
    if event.kind == "account.forgotten" {
        (TOLD, told_key(id, event.time.unwrap()))
    } else {
        (id[1..].parse().unwrap(), event.key.clone())
    }
}

fn told_key(account: &str, at: Millis) -> String {
    format!("{account} was forgotten at {}", at.0)
}

struct Run {
    inline: Option<Inline>,
    disk: Disk,
    folder: std::path::PathBuf,
    model: Model,
    now: Millis,
    sent: Vec<(u8, Incoming)>,
}

impl Run {
    fn inline(&mut self) -> &mut Inline {
        self.inline.as_mut().unwrap()
    }

    fn options(&self) -> Options {
        let eager = QueueSpec { unclaimed: Unclaimed::Deliver, ..spec("eager") };
        let mut specs = vec![spec("all"), eager];
        if self.model.extra {
            specs.push(spec("extra"));
        }
        let long = |s| QueueSpec { max_attempts: MAX_ATTEMPTS, max_age: 1000 * HOUR, ..s };
        options(specs.into_iter().map(long).collect())
    }

    fn restart(&mut self) {
        if let Some(inline) = self.inline.take() {
            inline.store.close();
        }
        let disk = self.disk.clone();
        let opened = Inline::open_with(&self.folder, vault(), self.options(), false, move || disk.clone());
        self.inline = Some(opened.unwrap());
    }

    fn accept(&mut self, incoming: &Incoming) -> Accepted {
        let (store, incoming, now) = (self.inline().store.clone(), incoming.clone(), self.now);
        self.inline().run(now, async move { store.inbox().accept(incoming).await }).unwrap()
    }

    fn apply(&mut self, op: Op) {
        self.now = self.now.plus(std::time::Duration::from_secs(40));
        match op {
            Op::Accept(of) => {
                let mut incoming = event(&format!("r{}", self.sent.len()), &format!("a{of}"));
                (incoming.event.received_at, incoming.event.time) = (self.now, Some(self.now));
                self.sent.push((of, incoming.clone()));
                assert_ne!(self.accept(&incoming), Accepted::Duplicate);
                self.model.accept(of, &incoming.event.key);
            }
            Op::Duplicate(n) if !self.sent.is_empty() => {
                let (_, incoming) = self.sent[n % self.sent.len()].clone();
                assert_eq!(self.accept(&incoming), Accepted::Duplicate);
            }
            Op::Conflict(n) if !self.sent.is_empty() => self.conflict(n % self.sent.len()),
            Op::Claim(of, by) => self.claim(of, &format!("u{by}")),
            Op::Forget(of) => self.forget(of),
            Op::Deliver(q, max, bytes) => self.deliver(QUEUES[q], max, &bytes),
            Op::LeaveOpen(q, max) => self.leave_open(QUEUES[q], max),
            Op::Restart => self.restart(),
            Op::Toggle => {
                self.model.extra = !self.model.extra;
                self.restart();
            }
            Op::RemoveExtra => self.remove_extra(),
            Op::Duplicate(_) | Op::Conflict(_) => {}
        }
        let now = self.now;
        while self.inline().tick(now) {}
    }

    fn conflict(&mut self, n: usize) {
        let (of, mut incoming) = self.sent[n].clone();
        let key = incoming.event.key.clone();
        if key.contains('~') {
            return;
        }
        incoming.event.time = Some(self.now);
        incoming.event.body = format!("{{\"other\":{}}}", self.now.0).into();
        (_, incoming.identity) = Identity::of(Some(&key), &incoming.event.body);
        assert_ne!(self.accept(&incoming), Accepted::Duplicate);
        self.model.accept(of, &incoming.identity.conflicting(&key).0);
    }

    fn claim(&mut self, of: u8, by: &str) {
        let (store, id, by_user) = (self.inline().store.clone(), account(&format!("a{of}")), user(by));
        let now = self.now;
        let bound =
            self.inline().run(now, async move { store.links().set_user(id, by_user, true).await }).unwrap();
        if bound == Err(AccountRefusal::Unknown) {
            return;
        }
        self.model.users.insert(of, by.to_owned());
        let held = self.model.held.remove(&of).unwrap_or_default();
        assert_eq!(bound.unwrap().released.events, held.len() as u64);
        for key in &held {
            self.model.release(of, key);
        }
    }

    fn forget(&mut self, of: u8) {
        let (store, id, now) = (self.inline().store.clone(), account(&format!("a{of}")), self.now);
        let forgetting = id.clone();
        let forgotten =
            self.inline().run(now, async move { store.links().forget(forgetting).await }).unwrap();
        let Ok(deletion) = forgotten else {
            assert!(!self.model.users.contains_key(&of) && !self.model.held.contains_key(&of));
            return;
        };
        let user = self.model.users.remove(&of);
        let held = self.model.held.remove(&of).unwrap_or_default();
        let lanes = self.model.queues.values_mut().filter_map(|lanes| lanes.remove(&of));
        let waiting = lanes.map(|lane| lane.len() as u64).sum::<u64>();
        let dead = self.model.dead.remove(&of).unwrap_or_default();
        assert_eq!(
            (deletion.waiting, deletion.held, deletion.dead_letters),
            (waiting, held.len() as u64, dead)
        );
        // Nobody but `eager` gets what is nobody's.
        let told = |name: &str| (name != "extra" || self.model.extra) && (name == "eager" || user.is_some());
        let told: Vec<_> = QUEUES.into_iter().filter(|name| told(name)).collect();
        let mut named: Vec<_> = deletion.queues_told.iter().map(ToString::to_string).collect();
        named.sort_unstable();
        assert_eq!(named, told);
        for name in told {
            let waiting = Waiting { key: told_key(&id.to_string(), now), user: user.clone(), failures: 0 };
            self.model.queues.entry(name).or_default().entry(TOLD).or_default().push(waiting);
        }
    }

    fn lease(&mut self, name: &'static str, max_events: usize) -> Option<ringhookd::store::Lease> {
        let until = self.now.plus(HOUR / 2);
        let wanted = LeaseRequest {
            max_events,
            max_bytes: u64::MAX,
            until,
            scope: ringhookd::store::Scope::default(),
        };
        let now = self.now;
        let lease = at_once(self.inline().store.queues().lease(&queue(name), &wanted, now)).unwrap();
        let mut seen: BTreeMap<u8, Vec<Waiting>> = BTreeMap::new();
        for leased in lease.iter().flat_map(|l| &l.events) {
            let (of, key) = lane_and_key(&leased.event);
            let user = leased.event.user.as_ref().map(|u| u.as_str().to_owned());
            let failures = leased.attempt - 1;
            seen.entry(of).or_default().push(Waiting { key, user, failures });
        }
        let lanes = self.model.queues.entry(name).or_default();
        let expected: usize = lanes.values().map(Vec::len).sum();
        assert_eq!(seen.values().map(Vec::len).sum::<usize>(), expected.min(max_events), "{name}: {lanes:?}");
        for (of, got) in seen {
            assert_eq!(lanes[&of][..got.len()], got, "{name}, account {of}");
        }
        lease
    }

    fn deliver(&mut self, name: &'static str, max: usize, bytes: &[u8]) {
        let Some(lease) = self.lease(name, max) else { return };
        let mut said = Vec::new();
        for (leased, byte) in lease.events.iter().zip(bytes) {
            let outcome = match byte % 8 {
                0..=3 => Outcome::Done,
                4 | 5 => Outcome::Failed { due: self.now, why: "no".into() },
                6 => Outcome::Dead { why: "never".into() },
                _ => Outcome::Returned,
            };
            let (of, key) = lane_and_key(&leased.event);
            self.model.settle(name, of, &key, &outcome);
            said.push((leased.seq, outcome));
        }
        let (store, now, answered) = (self.inline().store.clone(), self.now, said.len());
        let settled =
            self.inline().run(now, async move { store.queues().settle(&queue(name), lease.id, said).await });
        assert_eq!(settled, Ok(answered));
    }

    fn leave_open(&mut self, name: &'static str, max: usize) {
        let Some(lease) = self.lease(name, max) else { return };
        let mut first: BTreeMap<u8, String> = BTreeMap::new();
        for leased in &lease.events {
            let (of, key) = lane_and_key(&leased.event);
            first.entry(of).or_insert(key);
        }
        for (of, key) in first {
            let outcome = Outcome::Failed { due: self.now, why: String::new() };
            self.model.settle(name, of, &key, &outcome);
        }
        self.now = self.now.plus(HOUR);
    }

    fn remove_extra(&mut self) {
        let (store, now) = (self.inline().store.clone(), self.now);
        let known = store.queues().list().iter().any(|q| q.name == queue("extra"));
        let waiting: usize = self.model.queues.get("extra").map_or(0, |l| l.values().map(Vec::len).sum());
        let removed =
            self.inline().run(now, async move { store.queues().remove(&queue("extra")).await }).unwrap();
        if self.model.extra || !known {
            assert_eq!(removed, None);
        } else {
            assert_eq!(removed, Some(waiting as u64));
            self.model.queues.remove("extra");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: u32::try_from(share("random histories of the store")).unwrap(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_what_is_theirs_in_order(ops in prop::collection::vec(op(), 1..70)) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("store");
        create(&folder);
        let disk = Disk::holding(Image::from_bytes(&std::fs::read(folder.join("store.redb")).unwrap()));
        let model = Model { extra: true, ..Model::default() };
        let mut run = Run { inline: None, disk, folder, model, now: START, sent: Vec::new() };
        run.restart();
        for op in ops {
            run.apply(op);
        }
        run.restart();
        for name in QUEUES {
            run.lease(name, usize::MAX);
        }
        let dead = run.inline().store.stats().dead_events.load(std::sync::atomic::Ordering::Relaxed);
        prop_assert_eq!(dead, run.model.dead.values().sum::<u64>());
    }
}
