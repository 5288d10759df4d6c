//! The bench of tokens: what the schedule of a million accounts costs, and refreshes, loans, webhooks beside each other, and claims.
//!
//! `cargo bench --bench tokens -- [schedule] [refreshes] [loans] [beside] [claims] [--rounds N] [--seconds S] [--accounts N] [--json]`; without a part, all of
//! them. Daemon, simulated Ring and baseline are child processes; what is printed first says on what it was measured.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures need no more than the 53 bits of a float"
)]
#![expect(dead_code, reason = "the benches share their rooms, and none uses all of them")]

mod command;
mod load;
mod parts;
mod report;
mod servers;
mod stores;

use std::error::Error;

use command::Command;
use parts::{Bench, beside, claims, loans, pace, schedule};

fn main() -> Result<(), Box<dyn Error>> {
    command::run(measure)
}

fn measure(command: &Command) -> Result<(), Box<dyn Error>> {
    let wanted = |part| command.wants(part, &PARTS);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let at = |name: &str| folder.path().join(name);
    let mut bench = Bench { report: command.report(folder.path())?, effort: command.effort()?, seed: 0 };
    let accounts = command.number("--accounts", 1_000_000)?;
    if wanted("schedule") {
        // First of all: it looks at the memory of this process.
        schedule::in_memory(&mut bench, accounts)?;
        schedule::from_store(&mut bench, &at("full"), accounts)?;
    }
    if wanted("refreshes") {
        for per_second in [90, 50] {
            pace::hold(&mut bench, &at(&format!("refreshes{per_second}")), per_second)?;
        }
    }
    if wanted("loans") {
        loans::over_baseline(&mut bench, &at("loans"))?;
        loans::while_refreshing(&mut bench, &at("loans-busy"))?;
        if wanted("schedule") {
            loans::of_many(&mut bench, &at("full"), accounts)?;
        }
    }
    if wanted("beside") {
        beside::webhooks(&mut bench, &at("beside"))?;
    }
    if wanted("claims") {
        for unclaimed in [10_000, 100_000] {
            claims::among(&mut bench, &at(&format!("claims{unclaimed}")), unclaimed)?;
        }
    }
    bench.report.finish();
    Ok(())
}

const PARTS: [&str; 5] = ["schedule", "refreshes", "loans", "beside", "claims"];
