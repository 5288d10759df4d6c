//! The schedule of all accounts: its memory, how long it takes to build, and how fast it decides.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::refresh::{
    Gain, Moment, Next, Notice, Outcome, Planner, Policy, Proof, Record, Rounds,
};
use ringhookd::domain::tokens::ACCESS_LIFE;

use super::Bench;
use crate::load::events::mix;
use crate::report::{Figure, median};
use crate::servers::{Role, Server, resident};
use crate::stores::{self, Content};

/// Accounts that the daemon reads at once at start.
const PAGE: usize = 4096;
/// Far more than the schedule decides, so that it is never what is waited for.
const PER_SECOND: u32 = 1_000_000_000;
const HOUR: Duration = Duration::from_hours(1);
const STARTS: usize = 3;
/// Refreshes that land, each with its look for what there is to tell.
const LANDINGS: u64 = 10_000;

fn planner() -> Planner {
    Planner::new(Policy { per_second: PER_SECOND, ..Policy::default() })
}

/// The schedule alone, filled with accounts of all ages; then all of them come due at once, and are refreshed.
pub(crate) fn in_memory(bench: &mut Bench, accounts: u64) -> Result<(), Box<dyn Error>> {
    let wall = clock::now();
    let mut now = Moment { wall, ticks: Duration::from_secs(1) };
    let before = resident("self")?;
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / accounts as f64;
    let mut planner = planner();
    let start = clock::instant();
    for number in 0..accounts {
        let age = Duration::from_secs(mix(number) % (17 * HOUR.as_secs()));
        planner.plan(number as u32 + 1, &fresh(wall.minus(age)), now, mix(!number));
    }
    let built = start.elapsed();
    let waiting = each(resident("self")?);
    now = Moment { wall: wall.plus(25 * HOUR), ticks: now.ticks + 25 * HOUR };
    let start = clock::instant();
    let mut next = planner.next(now);
    let came_due = start.elapsed();
    let due = each(resident("self")?);
    let start = clock::instant();
    let mut refreshed: u64 = 0;
    while let Next::Refresh(number) = next {
        let answer = Outcome::Answer(Gain::Renewed { expires_in: ACCESS_LIFE });
        planner.answered(number, answer, now, mix(refreshed));
        refreshed += 1;
        now.ticks += Duration::from_nanos(10);
        next = planner.next(now);
    }
    let per_second = refreshed as f64 / start.elapsed().as_secs_f64();
    let again = each(resident("self")?);
    if refreshed != accounts {
        return Err(format!("{refreshed} of {accounts} were refreshed").into());
    }
    let mut rounds = Rounds::default();
    let start = clock::instant();
    for number in 0..LANDINGS {
        rounds.changed((mix(number) % accounts) as u32 + 1);
        black_box(rounds.look(planner.numbers(), 256, |account| planner.news_of(account, now)));
    }
    let told = start.elapsed().as_secs_f64() / LANDINGS as f64;
    let start = clock::instant();
    black_box(planner.overview(now));
    let overview = start.elapsed();
    let from = format!("{waiting:.0} at first, {due:.0} with all due, {again:.0} after all were refreshed");
    let figures = [
        ("memory of an account", waiting.max(due).max(again), "B", from, Some("at most 64")),
        ("to plan all", built.as_secs_f64(), "s", String::new(), None),
        ("until all that come due at once are so", came_due.as_secs_f64(), "s", String::new(), None),
        ("decided and answered", per_second / 1000.0, "k/s", String::new(), None),
        (
            "to look what there is to tell of one that was refreshed",
            told * 1e6,
            "µs",
            String::new(),
            Some("at most 10"),
        ),
        ("the schedule at a glance", overview.as_secs_f64() * 1e6, "µs", String::new(), Some("at most 100")),
    ];
    for (what, value, unit, from, goal) in figures {
        let name = format!("schedule: {what}, {accounts} accounts");
        bench.report.add(Figure { name, value, unit, from, goal });
    }
    Ok(())
}

/// The same out of a store, as the daemon does at start.
pub(crate) fn from_store(bench: &mut Bench, folder: &Path, accounts: u64) -> Result<(), Box<dyn Error>> {
    stores::make(folder)?;
    let start = clock::instant();
    stores::add(folder, Content { accounts, ..Content::default() })?;
    let filled = start.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut opens, mut builds) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let start = clock::instant();
        let store = stores::open(folder)?;
        opens.push(start.elapsed().as_secs_f64());
        let (mut planner, mut after, mut accounts_read) = (planner(), 0, 0);
        let start = clock::instant();
        loop {
            let page = runtime.block_on(store.links().token_records(after, PAGE))?;
            let now = Moment { wall: clock::now(), ticks: start.elapsed() };
            for found in &page {
                planner.plan(found.number, &found.record, now, mix(u64::from(found.number)));
            }
            accounts_read += page.len() as u64;
            let Some(last) = page.last() else { break };
            after = last.number;
        }
        builds.push(start.elapsed().as_secs_f64());
        store.close();
        if accounts_read != accounts {
            return Err(format!("{accounts_read} of {accounts} were read").into());
        }
    }
    let file = stores::file_bytes(folder)? as f64 / 1_048_576.0;
    let from = format!(
        "behind {:.2} s to open the store; {file:.0} MiB in it, written in {:.0} s",
        median(&mut opens),
        filled.as_secs_f64()
    );
    let name = format!("schedule: to build the schedule at start, {accounts} accounts");
    bench.report.add(Figure { name, value: median(&mut builds), unit: "s", from, goal: None });
    let server = Server::start(Role::Durable, folder)?;
    // It builds the schedule while it accepts already.
    std::thread::sleep(Duration::from_secs(5));
    let from = format!("ready after {:.2} s", server.started_in.as_secs_f64());
    let value = server.resident()? as f64 / accounts as f64;
    let name = format!("schedule: all memory of the daemon by account, {accounts} accounts");
    bench.report.add(Figure { name, value, unit: "B", from, goal: None });
    server.stop()
}

fn fresh(renewed_at: ringhookd::domain::time::Millis) -> Record {
    Record {
        renewed_at,
        expires_at: renewed_at.plus(ACCESS_LIFE),
        end: None,
        unsettled: false,
        told: Notice::Fresh,
        proof: Proof::Honoured,
    }
}
