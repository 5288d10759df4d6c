//! The bench: durable accepts against a bare hyper server, against one fdatasync, and what a full store costs.
//!
//! `cargo bench --bench webhooks -- [http] [a] [b] [c] [d] [--rounds N] [--seconds S] [--accounts N] [--ids N] [--json]`;
//! without a part, all of them. The servers are child processes; what is printed first says on what it was measured.
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

use std::error::Error;

use command::Command;
use parts::full::{Wanted, full};
use parts::{Bench, store::Content};
use servers::Role;

fn main() -> Result<(), Box<dyn Error>> {
    command::run(measure)
}

fn measure(command: &Command) -> Result<(), Box<dyn Error>> {
    let wanted = |part| command.wants(part, &PARTS);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let at = |name: &str| folder.path().join(name);
    let mut bench = Bench { report: command.report(folder.path())?, effort: command.effort()?, seed: 0 };
    if wanted("http") {
        parts::over_baseline(&mut bench, &at("http"), Role::Http)?;
    }
    if wanted("a") {
        parts::over_baseline(&mut bench, &at("a"), Role::Durable)?;
    }
    if wanted("b") {
        parts::latency(&mut bench, &at("b"))?;
    }
    if wanted("c") || wanted("d") {
        let content = Content {
            accounts: command.number("--accounts", 1_000_000)?,
            ids: command.number("--ids", 10_000_000)?,
        };
        full(&mut bench, folder.path(), Wanted { rates: wanted("c"), sizes: wanted("d"), content })?;
    }
    bench.report.finish();
    Ok(())
}

const PARTS: [&str; 5] = ["http", "a", "b", "c", "d"];
