//! A store on a simulated disk under a random load, with the ledger of what it must hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringhookd::domain::dedup::Identity;
use ringhookd::domain::event::Event;
use ringhookd::domain::ids::DeviceId;
use ringhookd::domain::receipt::Origin;
use ringhookd::domain::routing::{Filter, Selection};
use ringhookd::domain::time::Millis;
use ringhookd::store::{
    Accepted, Health, Import, Incoming, Inline, LeaseRequest, Options, Outcome, QueueSpec, StoreError,
    Unclaimed,
};

use crate::faults::ledger::{
    Call, Copy_, Findings, Ledger, MAX_ATTEMPTS, QUARANTINE, Seen, WAITING, compare, inspect,
};
use crate::support::disk::{Disk, Image};
use crate::support::rng::Rng;
use crate::support::{HOUR, account, at_once, create, options, queue, spec, user, vault};

pub(crate) const START: Millis = Millis(1_800_000_000_000);
pub(crate) const QUEUES: [&str; 3] = ["all", "anns", "eager"];
/// Accounts and the user each has or will have; those that begin with `h` are claimed only later.
const ACCOUNTS: [(&str, &str); 6] =
    [("a0", "ann"), ("a1", "bob"), ("a2", "ann"), ("a3", "cleo"), ("h0", "ann"), ("h1", "bob")];
const ANNS_MAX_AGE: Duration = Duration::from_hours(1);

pub(crate) fn harness_options() -> Options {
    let only_ann = Selection::Only(["ann".into()].into_iter().collect());
    let all = QueueSpec { max_attempts: MAX_ATTEMPTS, max_age: 1000 * HOUR, ..spec("all") };
    let anns = QueueSpec {
        filter: Filter { users: only_ann, ..Filter::default() },
        max_age: ANNS_MAX_AGE,
        ..QueueSpec { name: queue("anns"), ..all.clone() }
    };
    let eager = QueueSpec { name: queue("eager"), unclaimed: Unclaimed::Deliver, ..all.clone() };
    let mut options = options(vec![all, anns, eager]);
    options.held.max_age = 1000 * HOUR;
    options.dead.max_age = 1000 * HOUR;
    options.quarantined.max_age = 1000 * HOUR;
    options.seen_for = 1000 * HOUR;
    options
}

/// A folder with a store, and the image of its file with the linked accounts in it.
pub(crate) fn base(folder: &Path) -> Image {
    create(folder);
    let image = Image::from_bytes(&std::fs::read(folder.join("store.redb")).unwrap());
    let disk = Disk::holding(image);
    let mut inline = open(folder, &disk).unwrap();
    for (id, of) in ACCOUNTS.iter().filter(|(id, _)| id.starts_with('a')) {
        link(&mut inline, START, id, of).unwrap();
    }
    inline.store.close();
    disk.durable()
}

pub(crate) fn open(folder: &Path, disk: &Disk) -> Result<Inline, StoreError> {
    open_by(folder, disk, harness_options())
}

fn open_by(folder: &Path, disk: &Disk, options: Options) -> Result<Inline, StoreError> {
    let disk = disk.clone();
    Inline::open_with(folder, vault(), options, false, move || disk.clone())
}

fn link(inline: &mut Inline, now: Millis, id: &str, of: &str) -> Result<(), StoreError> {
    let store = inline.store.clone();
    let import = Import { account: account(id), user: Some(user(of)), tokens: None, replace: false };
    inline.run(now, async move { store.links().import(import).await }).map(|bound| assert!(bound.is_ok()))
}

/// Opens what a disk holds and compares it with the ledger.
pub(crate) fn verify(
    folder: &Path,
    image: Image,
    ledger: &Ledger,
    now: Millis,
) -> Result<(Seen, Findings), StoreError> {
    let mut inline = open(folder, &Disk::holding(image))?;
    let (seen, found) = verify_open(&mut inline, ledger, now);
    inline.store.close();
    Ok((seen, found))
}

pub(crate) fn verify_open(inline: &mut Inline, ledger: &Ledger, now: Millis) -> (Seen, Findings) {
    for (id, of) in ACCOUNTS {
        if let Err(error) = link(inline, now, id, of) {
            let seen = Seen { refused: Some(error.to_string()), ..Seen::default() };
            return (seen, Findings::default());
        }
    }
    let seen = inspect(inline, ledger, &QUEUES, now);
    let found = if seen.refused.is_some() { Findings::default() } else { compare(ledger, &seen) };
    (seen, found)
}

pub(crate) struct StoreHarness {
    pub(crate) inline: Inline,
    pub(crate) disk: Disk,
    pub(crate) folder: PathBuf,
    pub(crate) ledger: Ledger,
    pub(crate) now: Millis,
    /// The ledger as it stood while each step was under way.
    pub(crate) snapshots: Vec<Ledger>,
    rng: Rng,
    linked: Vec<&'static str>,
    count: usize,
}

impl StoreHarness {
    pub(crate) fn new(folder: &Path, base: &Image, seed: u64) -> Self {
        Self::on(folder, Disk::holding(base.clone()), seed).unwrap()
    }

    pub(crate) fn on(folder: &Path, disk: Disk, seed: u64) -> Result<Self, StoreError> {
        Ok(Self::over(open(folder, &disk)?, folder, disk, seed))
    }

    /// With a store that is larger than redb's cache, which therefore writes pages between its commits.
    pub(crate) fn large(folder: &Path, disk: Disk, seed: u64) -> Result<Self, StoreError> {
        let options = Options { cache_bytes: 32 << 10, ..harness_options() };
        Ok(Self::over(open_by(folder, &disk, options)?, folder, disk, seed))
    }

    fn over(inline: Inline, folder: &Path, disk: Disk, seed: u64) -> Self {
        let linked = ACCOUNTS.iter().map(|a| a.0).filter(|id| id.starts_with('a')).collect();
        Self {
            inline,
            disk,
            folder: folder.to_owned(),
            ledger: Ledger::default(),
            now: START,
            snapshots: Vec::new(),
            rng: Rng(seed),
            linked,
            count: 0,
        }
    }

    /// Does one thing that a daemon does. Returns whether all of it was durable.
    pub(crate) fn step(&mut self) -> bool {
        match self.rng.below(10) {
            0..=4 => self.accept_some(),
            5..=7 => self.deliver_some(),
            8 => self.pass_time(),
            _ => self.link_next(),
        }
    }

    pub(crate) fn steps(&mut self, count: usize) {
        for _ in 0..count {
            assert!(self.step(), "nothing fails here: {:?}", self.inline.store.health());
        }
    }

    /// Says again what had no 2xx, as Ring does. Returns whether all of it has one now.
    pub(crate) fn resend(&mut self) -> bool {
        let open = self.ledger.unacked();
        self.send(&open)
    }

    /// Closes the store, and compares what an image of its disk holds with the ledger.
    pub(crate) fn verify(&self, image: Image, what: &str) {
        self.inline.store.close();
        let (seen, found) = verify(&self.folder, image, &self.ledger, self.now)
            .unwrap_or_else(|error| panic!("{what}: it does not open: {error}"));
        assert_eq!((seen.refused, seen.marked), (None, 0), "{what}");
        found.assert_none(what);
    }

    /// Where the records start that are of one generation with the log's first.
    pub(crate) fn logged(&self) -> Vec<usize> {
        let room = &self.disk.durable().to_bytes()[..ringhookd::store::LOG_BYTES];
        let generation = &room[8..16];
        let starts = (0..room.len()).step_by(4096);
        starts
            .filter(|&at| room[at..].starts_with(&room[..4]) && &room[at + 8..at + 16] == generation)
            .collect()
    }

    fn under_way(&mut self) {
        self.snapshots.push(self.ledger.clone());
        self.disk.set_epoch(self.snapshots.len() - 1);
    }

    pub(crate) fn accept_some(&mut self) -> bool {
        let mut some = Vec::new();
        for _ in 0..=self.rng.below(8) {
            let acked: Vec<_> = self.ledger.events.values().filter(|e| e.acked).collect();
            if !acked.is_empty() && self.rng.chance(0.1) {
                some.push(Arc::clone(&acked[self.rng.below(acked.len())].incoming));
                continue;
            }
            let incoming = self.fresh();
            let copies = self.copies(&incoming);
            some.push(Arc::new(incoming.clone()));
            self.ledger.issue(incoming, copies);
        }
        self.under_way();
        self.send(&some)
    }

    fn send(&mut self, some: &[Arc<Incoming>]) -> bool {
        let calls = some.iter().map(|incoming| {
            let (store, incoming) = (self.inline.store.clone(), (**incoming).clone());
            Box::pin(async move { store.inbox().accept(incoming).await }) as Call<_>
        });
        let answers = self.inline.run_all(self.now, calls.collect());
        let mut fine = true;
        for (incoming, answer) in some.iter().zip(answers) {
            let key = &incoming.event.key;
            match answer {
                Ok(accepted) => {
                    let again = self.ledger.events[key].acked;
                    assert!(!again || accepted == Accepted::Duplicate, "{key} was kept twice");
                    self.ledger.ack(key, &accepted);
                }
                Err(StoreError::Unavailable(_)) => fine = false,
                Err(error) => panic!("{key}: {error}"),
            }
        }
        fine
    }

    fn fresh(&mut self) -> Incoming {
        self.count += 1;
        let id = format!("r{}", self.count);
        let (of, _) = *self.rng.pick(&ACCOUNTS);
        let filler = if self.rng.chance(0.1) { 9000 } else { self.rng.below(600) };
        let body = format!(r#"{{"meta":{{"request_id":"{id}"}},"filler":"{}"}}"#, "x".repeat(filler));
        let odd = self.rng.chance(0.05);
        let (key, identity) = Identity::of(Some(&id), body.as_bytes());
        let event = Event {
            kind: "motion_detected".into(),
            device: (!odd).then(|| DeviceId::new(&format!("d-{of}-{}", self.count % 3)).unwrap()),
            account: (!odd).then(|| account(of)),
            time: Some(self.now),
            ..Event::unread(key, body.into(), self.now)
        };
        Incoming {
            event,
            identity,
            related: Vec::new(),
            anomaly: odd.then_some("not understood"),
            origin: Origin::default(),
        }
    }

    fn copies(&self, incoming: &Incoming) -> BTreeMap<&'static str, Copy_> {
        let copy = |places, user| Copy_ { places, user, failures: (0, 0) };
        if incoming.anomaly.is_some() {
            return [(QUARANTINE, copy(crate::faults::ledger::LETTER, None))].into();
        }
        let id = incoming.event.account.as_ref().unwrap().as_str();
        let (id, of) = *ACCOUNTS.iter().find(|a| a.0 == id).unwrap();
        let known = self.linked.contains(&id);
        let mut copies: BTreeMap<_, _> =
            [("all", copy(WAITING, Some(of))), ("eager", copy(WAITING, known.then_some(of)))].into();
        if of == "ann" {
            copies.insert("anns", copy(WAITING, Some(of)));
        }
        copies
    }

    fn deliver_some(&mut self) -> bool {
        let name = *self.rng.pick(&QUEUES);
        let max_events = 1 + self.rng.below(30);
        let until = self.now.plus(HOUR);
        let wanted = LeaseRequest {
            max_events,
            max_bytes: u64::MAX,
            until,
            scope: ringhookd::store::Scope::default(),
        };
        let lease = match at_once(self.inline.store.queues().lease(&queue(name), &wanted, self.now)) {
            Ok(Some(lease)) => lease,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let outcomes: Vec<_> = lease.events.iter().map(|e| (e, self.outcome())).collect();
        for (leased, outcome) in &outcomes {
            assert!(self.ledger.copy(&leased.event.key, name).places & WAITING != 0, "delivered again");
            self.ledger.issue_outcome(&leased.event.key, name, outcome);
        }
        self.under_way();
        let store = self.inline.store.clone();
        let said = outcomes.iter().map(|(e, outcome)| (e.seq, outcome.clone())).collect();
        let settled = self
            .inline
            .run(self.now, async move { store.queues().settle(&queue(name), lease.id, said).await });
        if settled.is_err() {
            return false;
        }
        for (leased, outcome) in &outcomes {
            self.ledger.ack_outcome(&leased.event.key, name, outcome);
        }
        true
    }

    fn outcome(&mut self) -> Outcome {
        match self.rng.below(20) {
            0..=13 => Outcome::Done,
            14..=16 => Outcome::Failed { due: self.now, why: "no luck".into() },
            17 => Outcome::Dead { why: "never".into() },
            _ => Outcome::Returned,
        }
    }

    fn pass_time(&mut self) -> bool {
        self.now = self.now.plus(Duration::from_secs(30 + self.rng.next() % 1200));
        self.ledger.may_expire("anns", self.now.minus(ANNS_MAX_AGE));
        self.under_way();
        while self.inline.tick(self.now) {}
        self.inline.store.health() == Health::Ready
    }

    fn link_next(&mut self) -> bool {
        let next = ACCOUNTS.iter().find(|(id, _)| !self.linked.contains(id));
        let Some(&(id, of)) = next.filter(|_| self.count > 40) else { return true };
        self.under_way();
        if link(&mut self.inline, self.now, id, of).is_err() {
            return false;
        }
        self.linked.push(id);
        true
    }
}
