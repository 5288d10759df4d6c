//! The parts of the measurements.

pub(crate) mod backlog;
pub(crate) mod beside;
pub(crate) mod claims;
pub(crate) mod compaction;
pub(crate) mod disk;
pub(crate) mod forward;
pub(crate) mod full;
pub(crate) mod loads;
pub(crate) mod loans;
pub(crate) mod pace;
pub(crate) mod rates;
pub(crate) mod refreshing;
pub(crate) mod schedule;
pub(crate) mod secured;

use std::error::Error;
use std::path::Path;

use crate::load::Client;
use crate::load::events::Events;
use crate::report::{Figure, Report, median};
use crate::servers::{Role, Server};
use crate::stores::{self, Content};
use disk::fdatasync;
use rates::{Effort, Pair, compare, once};

/// Numbers of connections.
const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// Accounts that events are of, unless a part says otherwise.
const ACCOUNTS: u64 = 1000;
/// Syncs of the disk beside each round.
const SYNCS: usize = 200;

/// What parts share.
pub(crate) struct Bench {
    pub(crate) report: Report,
    pub(crate) effort: Effort,
    /// Of events, so that no two parts send the same to one store.
    pub(crate) seed: u64,
}

impl Bench {
    fn events(&mut self, accounts: u64) -> Events {
        self.seed += 1;
        Events::new(accounts, self.seed)
    }

    fn rate(&mut self, name: String, pair: &Pair, goal: Option<&'static str>) {
        let (ours, theirs) = (pair.ours, pair.theirs);
        let from = format!(
            "{:.0}/s over {:.0}/s; p50 {:.0} and {:.0} µs, p99 {:.0} and {:.0} µs; processor {:.1} and {:.1} µs each, \
             load {:.1} µs: would allow {:.2}",
            ours.per_second,
            theirs.per_second,
            ours.p50,
            theirs.p50,
            ours.p99,
            theirs.p99,
            ours.busy,
            theirs.busy,
            ours.load,
            pair.by_processor()
        );
        self.report.add(Figure { name, value: pair.ratio, unit: "", from, goal });
    }
}

/// The HTTP room alone, and durable accepts, over the bare server.
pub(crate) fn over_baseline(bench: &mut Bench, folder: &Path, role: Role) -> Result<(), Box<dyn Error>> {
    if role == Role::Durable {
        stores::make(folder)?;
        stores::add(folder, Content { accounts: ACCOUNTS, ..Content::default() })?;
    }
    let (ours, theirs) = (Server::start(role, folder)?, Server::start(Role::Baseline, folder)?);
    for connections in CONNECTIONS {
        let mut events = bench.events(ACCOUNTS);
        let pair = compare([&ours, &theirs], connections, &mut events, bench.effort)?;
        let (name, goal) = match role {
            Role::Durable => ("rates: durable / bare server", (connections == 256).then_some("0.90")),
            _ => ("http: http room / bare server", None),
        };
        bench.rate(format!("{name}, {connections} connections"), &pair, goal);
    }
    ours.stop()
}

/// One durable answer over one sync of the disk.
pub(crate) fn latency(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    stores::make(folder)?;
    stores::add(folder, Content { accounts: ACCOUNTS, ..Content::default() })?;
    let server = Server::start(Role::Durable, folder)?;
    let mut client = Client::connect(&server.address, 1)?;
    let mut events = bench.events(ACCOUNTS);
    let (mut ratios, mut answers, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=bench.effort.rounds {
        let answer = once(&server, &mut client, &mut events, bench.effort.span)?.p50;
        let sync = fdatasync(folder, SYNCS)?;
        ratios.push(answer / sync);
        answers.push(answer);
        syncs.push(sync);
    }
    let from = format!("{:.0} µs over {:.0} µs", median(&mut answers), median(&mut syncs));
    bench.report.add(Figure {
        name: "latency: p50 of a durable answer / fdatasync".into(),
        value: median(&mut ratios),
        unit: "",
        from,
        goal: Some("at most 4"),
    });
    server.stop()
}
