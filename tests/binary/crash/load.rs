//! Full load on one site: senders, claims and readers all the while, and the supervisor's own steps between.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::Duration;

use ringhookd::clock;
use serde_json::Value;

use super::daemon::{Daemon, Installed};
use super::event::BUTTON_EVERY;
use super::ledger::Queue;
use super::random::Random;
use super::workload::{EndOnDrop, Workload};
use super::{reader, sender};
use crate::support::http::Client;

const SENDERS: u64 = 10;
const PACE_MS: u64 = 8;
const QUEUES: &[Queue] = &[
    Queue { name: "all", every: 1, unclaimed: false },
    Queue { name: "buttons", every: BUTTON_EVERY, unclaimed: true },
    Queue { name: "files", every: 1, unclaimed: false },
];
/// Readers of each queue that is leased.
const READERS: [usize; 3] = [0, 0, 1];
const FILES: usize = 2;

/// Longest time in which nothing more arrives while something is missing.
const STALLS_AFTER: Duration = Duration::from_mins(1);
const STOPS_WITHIN: Duration = Duration::from_mins(1);

/// What a run of the harness did.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) kills: u32,
    pub(crate) before_ready: u32,
    pub(crate) starts: u32,
    recoveries: Vec<Duration>,
}

/// One daemon after another under load.
pub(crate) struct Supervisor<'a> {
    pub(crate) workload: &'a Workload,
    installed: &'a Installed,
    pub(crate) numbers: Numbers,
}

/// Runs `act` under load, then lets everything arrive and demands that every promise was kept.
pub(crate) fn under_load(mut random: Random, act: impl FnOnce(&mut Supervisor<'_>, &mut Random)) {
    let installed = Installed::new("");
    installed.configure(&queues(&installed));
    let workload = Workload::new(QUEUES, installed.socket());
    thread::scope(|scope| {
        let end = EndOnDrop(&workload);
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| (random.fork(), &workload))
            .map(|(random, workload)| scope.spawn(move || sender::send(workload, random, PACE_MS)))
            .collect();
        for queue in READERS {
            let (random, workload) = (random.fork(), &workload);
            scope.spawn(move || reader::lease(workload, queue, QUEUES[queue].name, random));
        }
        let (files, claims) = (installed.folder().join(QUEUES[FILES].name), random.fork());
        let workload = &workload;
        scope.spawn(move || reader::take_files(workload, FILES, &files));
        scope.spawn(move || sender::claim_now_and_then(workload, claims));

        let mut supervisor = Supervisor { workload, installed: &installed, numbers: Numbers::default() };
        act(&mut supervisor, &mut random);
        let daemon = supervisor.start();
        workload.quiet.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().unwrap();
        }
        supervisor.finish(daemon);
        drop(end);
        println!("{}", Report(&supervisor));
    });
    let verdict = workload.ledger().verdict();
    assert!(verdict.is_empty(), "broken promises:\n{}", verdict.join("\n"));
}

fn queues(installed: &Installed) -> String {
    format!(
        r#"
        [held]
        max_events = 100_000
        max_bytes = "256 MiB"
        [[queue]]
        name = "all"
        kind = "embedded"
        max_attempts = 10_000
        [[queue]]
        name = "buttons"
        kind = "embedded"
        types = ["button_press"]
        unclaimed = "deliver"
        max_attempts = 10_000
        [[queue]]
        name = "files"
        kind = "spool"
        folder = "{}/files"
        max_attempts = 10_000
        "#,
        installed.folder().display()
    )
}

impl Supervisor<'_> {
    /// Starts a daemon without waiting for it.
    pub(crate) fn spawn(&mut self, failpoint: Option<&str>) -> Daemon {
        self.workload.begin_run();
        self.numbers.starts += 1;
        self.installed.spawn(failpoint)
    }

    /// Waits for READY and lets the senders know. False when the daemon ended before.
    pub(crate) fn ready(&mut self, daemon: &mut Daemon) -> bool {
        let began = clock::instant();
        let Some(address) = self.installed.ready(daemon) else { return false };
        self.numbers.recoveries.push(began.elapsed());
        self.workload.set_address(address);
        true
    }

    pub(crate) fn start(&mut self) -> Daemon {
        let mut daemon = self.spawn(None);
        assert!(self.ready(&mut daemon), "it ended:\n{}", daemon.log());
        daemon
    }

    /// Stops the daemon as systemd does.
    pub(crate) fn stop(mut daemon: Daemon) -> Duration {
        let ended = daemon.terminate(STOPS_WITHIN);
        let Some((status, took)) = ended else { panic!("SIGTERM did not end it:\n{}", daemon.log()) };
        assert_eq!(status.code(), Some(0), "after SIGTERM:\n{}", daemon.log());
        assert_eq!(daemon.errors(), [""; 0]);
        took
    }

    /// Every account is claimed and everything arrives; a clean restart then brings nothing again.
    fn finish(&mut self, daemon: Daemon) {
        let accounts = self.workload.ledger().accounts();
        for account in 0..accounts {
            if !self.workload.ledger().is_claimed(account) {
                sender::claim(self.workload, account);
            }
        }
        self.wait_for_all();
        if self.workload.ledger().broken() {
            // The verdict says which promise; nothing after that is worth a look.
            return;
        }
        assert_eq!(waiting(&self.workload.socket), 0, "events stay in the queues");
        Self::stop(daemon);
        let before = self.workload.ledger().counts().again;
        let daemon = self.start();
        sleep(Duration::from_secs(1));
        assert_eq!(self.workload.ledger().counts().again, before, "a clean restart brings nothing again");
        Self::stop(daemon);
    }

    fn wait_for_all(&self) {
        let (mut missing, mut since) = (u64::MAX, clock::instant());
        while missing > 0 && !self.workload.ledger().broken() && since.elapsed() < STALLS_AFTER {
            let now = self.workload.ledger().missing() + waiting(&self.workload.socket);
            if now < missing {
                (missing, since) = (now, clock::instant());
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// How many events wait in all queues, as the daemon says.
fn waiting(socket: &Path) -> u64 {
    let (_, text) = Client::unix(socket).unwrap().send("GET", "/v1/queues", "", b"").unwrap();
    let answer: Value = serde_json::from_slice(&text).unwrap();
    let queues = answer["queues"].as_array().unwrap();
    assert_eq!(queues.len(), QUEUES.len());
    queues.iter().map(|queue| queue["waiting"].as_u64().unwrap()).sum()
}

struct Report<'a>(&'a Supervisor<'a>);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Supervisor { workload, numbers, .. } = self.0;
        let ledger = workload.ledger();
        let counts = ledger.counts();
        let mut recoveries = numbers.recoveries.clone();
        recoveries.sort();
        let p50 = recoveries.get(recoveries.len() / 2).copied().unwrap_or_default();
        let max = recoveries.last().copied().unwrap_or_default();
        writeln!(f, "kills            {} ({} before READY)", numbers.kills, numbers.before_ready)?;
        writeln!(f, "starts           {}", numbers.starts)?;
        writeln!(f, "accounts         {}", ledger.accounts())?;
        writeln!(f, "requests         {}", workload.tries.load(Ordering::Relaxed))?;
        writeln!(f, "events answered  {} (200 once more for {} repeats)", counts.accepted, counts.repeats)?;
        writeln!(f, "deliveries       {} ({} of them again)", counts.delivered, counts.again)?;
        writeln!(f, "acknowledged     {}", counts.settled)?;
        write!(f, "start to READY   p50 {} ms, max {} ms", p50.as_millis(), max.as_millis())
    }
}
