//! A week of traffic in and out, in virtual time: the file stays within a stated bound.

use std::collections::HashMap;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::time::Millis;
use ringhookd::store::{
    Accepted, Bounds, Inline, LeaseRequest, Options, Outcome, QueueSpec, ReceiptBounds, StoreError, Unclaimed,
};

use crate::faults::harness::START;
use crate::faults::ledger::Call;
use crate::support::disk::Disk;
use crate::support::{HOUR, MIB, at_once, create, event, options, queue, spec, vault};

const MINUTE: Duration = Duration::from_mins(1);
const WEEK_MINUTES: u64 = 7 * 24 * 60;
const PER_STEP: u64 = 24;
const STEP_MINUTES: u64 = 10;
/// Bodies are padded to this.
const BODY: usize = 600;

/// `live` delivers, `dead` never does and keeps a day at most, `stuck` fails for one account in fifty.
fn week_options() -> Options {
    let live = QueueSpec { max_age: 48 * HOUR, max_attempts: u32::MAX, ..spec("live") };
    let dead = QueueSpec { name: queue("dead"), max_age: 24 * HOUR, max_bytes: MIB, ..live.clone() };
    let stuck = QueueSpec { name: queue("stuck"), unclaimed: Unclaimed::Deliver, ..live.clone() };
    let letters = Bounds { max_age: 24 * HOUR, max_events: 2000, max_bytes: MIB };
    Options {
        seen_for: 76 * HOUR,
        dead: letters,
        unrouted: letters,
        receipts: ReceiptBounds { max_age: 24 * HOUR, max_bytes: MIB / 4 },
        ..options(vec![
            QueueSpec { unclaimed: Unclaimed::Deliver, ..live },
            QueueSpec { unclaimed: Unclaimed::Deliver, ..dead },
            stuck,
        ])
    }
}

struct Week {
    inline: Inline,
    now: Millis,
    sent: u64,
    slowest_tick: Duration,
}

#[test]
fn a_week_of_traffic_leaves_the_file_within_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    create(&folder);
    let image = crate::support::disk::Image::from_bytes(&std::fs::read(folder.join("store.redb")).unwrap());
    let disk = Disk::holding(image);
    let opened = disk.clone();
    let inline = Inline::open_with(&folder, vault(), week_options(), false, move || opened.clone()).unwrap();
    let mut week = Week { inline, now: START, sent: 0, slowest_tick: Duration::ZERO };
    let mut sizes = Vec::new();
    for day in 1..=7 {
        for _ in 0..WEEK_MINUTES / 7 / STEP_MINUTES {
            week.step();
        }
        let stats = week.inline.store.stats();
        let load =
            |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        sizes.push(disk.size());
        println!(
            "day {day}: file {} KiB, log {} KiB, aside {} KiB, ids {}, dead letters {}",
            disk.size() >> 10,
            load(&stats.log_bytes) >> 10,
            load(&stats.aside_bytes) >> 10,
            load(&stats.ids),
            load(&stats.dead_events),
        );
    }
    println!("{} events; the slowest step of retention took {:?}", week.sent, week.slowest_tick);
    // What is kept at most: a day and a bit in `dead` (1 MiB), 48 h of one account in fifty, letters (1 MiB), ids, receipts.
    // redb doubles the file when it grows, and a commit needs its pages twice.
    assert!(sizes[6] <= 12 * MIB, "{} bytes", sizes[6]);
    assert!(sizes[6] <= sizes[3], "it grows no more once retention has caught up: {sizes:?}");
    assert!(week.sent * BODY as u64 > 12 * MIB, "more went through than the file may hold");
}

impl Week {
    fn step(&mut self) {
        self.now = self.now.plus(MINUTE * u32::try_from(STEP_MINUTES).unwrap());
        self.accept();
        self.deliver("live", |_| Outcome::Done);
        let due = self.now.plus(4 * HOUR);
        self.deliver("stuck", |account| {
            let stuck = account.ends_with("17");
            if stuck { Outcome::Failed { due, why: "no luck".into() } } else { Outcome::Done }
        });
        loop {
            let began = clock::instant();
            let more = self.inline.tick(self.now);
            self.slowest_tick = self.slowest_tick.max(began.elapsed());
            if !more {
                return;
            }
        }
    }

    fn accept(&mut self) {
        let calls: Vec<Call<Result<Accepted, StoreError>>> = (0..PER_STEP)
            .map(|_| {
                self.sent += 1;
                let mut incoming = event(&format!("r{}", self.sent), &format!("a{}", self.sent % 50));
                incoming.event.received_at = self.now;
                incoming.event.body = [&incoming.event.body[..], &vec![b' '; BODY]].concat().into();
                let store = self.inline.store.clone();
                Box::pin(async move { store.inbox().accept(incoming).await }) as Call<_>
            })
            .collect();
        for answer in self.inline.run_all(self.now, calls) {
            answer.unwrap();
        }
    }

    fn deliver(&mut self, name: &str, outcome: impl Fn(&str) -> Outcome) {
        let until = self.now.plus(HOUR);
        let all = LeaseRequest {
            max_events: 1000,
            max_bytes: u64::MAX,
            until,
            scope: ringhookd::store::Scope::default(),
        };
        let Some(lease) = at_once(self.inline.store.queues().lease(&queue(name), &all, self.now)).unwrap()
        else {
            return;
        };
        let mut lanes = HashMap::new();
        let mut said = Vec::new();
        for leased in &lease.events {
            let account = leased.event.account.as_ref().unwrap().as_str().to_owned();
            let outcome = outcome(&account);
            // Behind a failed event nothing of its account is delivered.
            let blocked = lanes.insert(account, outcome != Outcome::Done).unwrap_or(false);
            if !blocked {
                said.push((leased.seq, outcome));
            }
        }
        let (store, name) = (self.inline.store.clone(), queue(name));
        self.inline.run(self.now, async move { store.queues().settle(&name, lease.id, said).await }).unwrap();
    }
}
