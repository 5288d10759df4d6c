//! The cost of each kind of event, over that of few accounts with one device each: many accounts with several devices, devices and
//! accounts that are new, events that come again, and a mix; and what receipts are of it.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use super::rates::{Pair, once};
use super::{ACCOUNTS, Bench};
use crate::load::Client;
use crate::load::events::{Events, Population, REPEATED, Source};
use crate::report::Figure;
use crate::servers::{Role, Server};
use crate::stores::{self, Content, MORE};

const MANY: u64 = 20_000;
const DEVICES: u64 = 3;
const CONNECTIONS: usize = 64;
/// Named, because it is configured otherwise.
const WITHOUT_RECEIPTS: &str = "one device, without receipts";
/// Far longer than the first events take.
const FIRST: Duration = Duration::from_mins(1);

/// Each kind beside the plain one, in alternating rounds, each on a store of its own.
pub(crate) fn over_one_device(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (plain, many) = (Population::of(ACCOUNTS, 1), Population::of(MANY, DEVICES));
    let kinds = [
        ("20,000 accounts with 3 devices", many, Some("at most 1.10")),
        ("events that come again", Population { repeats: 1000, ..many }, Some("at most 1.10")),
        (
            "a mix: 10 % again, 4 % new devices",
            Population { repeats: 100, new_devices: 40, ..many },
            Some("at most 1.10"),
        ),
        ("new devices of known accounts", Population { new_devices: 1000, ..many }, None),
        ("new accounts", Population { new_accounts: 1000, ..many }, None),
        (WITHOUT_RECEIPTS, plain, None),
    ];
    for (at, (kind, population, goal)) in kinds.into_iter().enumerate() {
        let folder = |name: &str| folder.join(format!("loads-{name}{at}"));
        let more = if kind == WITHOUT_RECEIPTS { "[receipts]\nmax_bytes = \"0 B\"\n" } else { "" };
        let theirs = Load::start(bench, &folder("plain"), plain, "")?;
        let ours = Load::start(bench, &folder("kind"), population, more)?;
        compare(bench, kind, [ours, theirs], goal)?;
    }
    Ok(())
}

/// A daemon and what is sent to it.
struct Load {
    server: Server,
    client: Client,
    events: Events,
}

impl Load {
    /// With the first events accepted, so that they can come again, and nearly every device heard of.
    fn start(
        bench: &mut Bench,
        folder: &Path,
        population: Population,
        more: &str,
    ) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(MORE), more)?;
        stores::make(folder)?;
        let Population { accounts, devices, .. } = population;
        stores::add(folder, Content { accounts, devices, ..Content::default() })?;
        let server = Server::start(Role::Durable, folder)?;
        let mut client = Client::connect(&server.address, CONNECTIONS)?;
        bench.seed += 1;
        let mut events = Events::of(population, bench.seed);
        let first = REPEATED.max(3 * accounts * devices);
        client.run(&mut events.requests(first as usize), FIRST)?;
        Ok(Self { server, client, events })
    }
}

fn compare(
    bench: &mut Bench,
    kind: &str,
    mut loads: [Load; 2],
    goal: Option<&'static str>,
) -> Result<(), Box<dyn Error>> {
    let mut rates = [Vec::new(), Vec::new()];
    // One that rested while the other load was made ready may have been closed.
    for Load { server, client, .. } in &mut loads {
        *client = Client::connect(&server.address, CONNECTIONS)?;
    }
    // One round more: the first warms up and does not count.
    for round in 0..=bench.effort.rounds {
        for (Load { server, client, events }, rates) in loads.iter_mut().zip(&mut rates) {
            let one = once(server, client, events, bench.effort.span)?;
            if round > 0 {
                rates.push(one);
            }
        }
    }
    let pair = Pair::of(&rates[0], &rates[1]);
    let from = format!(
        "{:.1} and {:.1} µs of processor time each; {:.0}/s and {:.0}/s, p99 {:.0} and {:.0} µs",
        pair.ours.busy,
        pair.theirs.busy,
        pair.ours.per_second,
        pair.theirs.per_second,
        pair.ours.p99,
        pair.theirs.p99
    );
    let name = format!("loads: {kind} / one device");
    bench.report.add(Figure { name, value: pair.ours.busy / pair.theirs.busy, unit: "", from, goal });
    let [ours, theirs] = loads;
    ours.server.stop()?;
    theirs.server.stop()
}
