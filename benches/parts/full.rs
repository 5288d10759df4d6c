//! The cost of millions of accounts and ids in rate, memory, time to start, and disk.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use super::rates::compare;
use super::{ACCOUNTS, Bench, CONNECTIONS};
use crate::load::Client;
use crate::load::events::Source;
use crate::report::{Figure, median};
use crate::servers::{Role, Server};
use crate::stores::{self, Content};

/// Starts of which the median is told.
const STARTS: usize = 5;
const MIB: f64 = 1_048_576.0;
/// Until a daemon that was just started rests.
const REST: Duration = Duration::from_secs(1);

/// Which of the two parts are wanted, and how full the store gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) rates: bool,
    pub(crate) sizes: bool,
    pub(crate) content: Content,
}

/// Fills a store step by step and measures after each.
pub(crate) fn full(bench: &mut Bench, folder: &Path, wanted: Wanted) -> Result<(), Box<dyn Error>> {
    let (empty, full) = (folder.join("empty"), folder.join("full"));
    let Content { accounts, ids, .. } = wanted.content;
    for folder in [&empty, &full] {
        stores::make(folder)?;
    }
    if wanted.sizes {
        sizes(bench, &empty, "empty")?;
    }
    stores::add(&full, Content { accounts, ..Content::default() })?;
    let before = if wanted.sizes { sizes(bench, &full, &format!("{accounts} accounts"))? } else { 0.0 };
    let file_before = stores::file_bytes(&full)?;
    stores::add(&full, Content { ids, ..Content::default() })?;
    if wanted.sizes {
        let file = stores::file_bytes(&full)?.saturating_sub(file_before) as f64 / MIB;
        let memory = sizes(bench, &full, &format!("{accounts} accounts, {ids} ids"))? - before;
        let millions = ids as f64 / 1e6;
        for (what, value) in [("memory", memory), ("file", file)] {
            let name = format!("sizes: {what} of a million ids");
            let from = format!("{value:.0} MiB more with {ids}");
            bench.report.add(Figure { name, value: value / millions, unit: "MiB", from, goal: None });
        }
    }
    if wanted.rates { rates(bench, &empty, &full, accounts) } else { Ok(()) }
}

fn rates(bench: &mut Bench, empty: &Path, full: &Path, accounts: u64) -> Result<(), Box<dyn Error>> {
    stores::add(empty, Content { accounts: ACCOUNTS, ..Content::default() })?;
    let (empty, full) = (Server::start(Role::Durable, empty)?, Server::start(Role::Durable, full)?);
    for connections in CONNECTIONS {
        let mut events = bench.events(ACCOUNTS);
        let pair = compare([&full, &empty], connections, &mut events, bench.effort)?;
        let goal = (connections == 256).then_some("0.90");
        bench.rate(format!("full: full / empty store, {connections} connections"), &pair, goal);
    }
    // Both get the same events: the empty store does not know most of these accounts, so only the full one counts.
    let baseline = Server::start(Role::Baseline, Path::new("."))?;
    let mut events = bench.events(accounts);
    let pair = compare([&full, &baseline], 256, &mut events, bench.effort)?;
    bench.rate("full: full, all its accounts / bare server, 256".into(), &pair, None);
    full.stop()?;
    empty.stop()
}

/// Memory at rest, which is returned in MiB, and how long a start takes, also after a kill under load.
fn sizes(bench: &mut Bench, folder: &Path, content: &str) -> Result<f64, Box<dyn Error>> {
    let (mut memory, mut clean, mut killed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let server = Server::start(Role::Durable, folder)?;
        clean.push(server.started_in.as_secs_f64());
        std::thread::sleep(REST);
        memory.push(server.resident()? as f64 / MIB);
        server.stop()?;
    }
    for _ in 0..STARTS {
        let server = Server::start(Role::Durable, folder)?;
        let mut client = Client::connect(&server.address, 64)?;
        // Held or queued alike: the commits are what the kill cuts off.
        let mut requests = bench.events(ACCOUNTS).requests(20_000);
        client.run(&mut requests, Duration::from_millis(300))?;
        server.kill()?;
        let server = Server::start(Role::Durable, folder)?;
        killed.push(server.started_in.as_secs_f64());
        server.stop()?;
    }
    let resident = median(&mut memory);
    let file = stores::file_bytes(folder)? as f64 / MIB;
    let empty = content == "empty";
    let figures = [
        ("memory at rest", resident, "MiB", empty.then_some("16")),
        ("start to ready", median(&mut clean), "s", Some("0.5 with a million accounts")),
        ("start to ready after SIGKILL", median(&mut killed), "s", None),
        ("file", file, "MiB", None),
    ];
    for (what, value, unit, goal) in figures {
        let name = format!("sizes: {what}, {content}");
        bench.report.add(Figure { name, value, unit, from: String::new(), goal });
    }
    Ok(resident)
}
