//! The bench: durable accepts against a bare hyper server, against one fdatasync, what a full store costs, what kinds of
//! events do, and what a compaction does to the wait.
//!
//! `cargo bench --bench webhooks -- [http] [tls] [rates] [latency] [full] [sizes] [backlog] [loads] [compaction] [--rounds N] [--seconds S]
//! [--accounts N] [--ids N] [--json]`; without a part, all of them. The servers are child processes; what is printed first says on what it was measured.
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
use parts::Bench;
use parts::full::{Wanted, full};
use servers::Role;
use stores::Content;

fn main() -> Result<(), Box<dyn Error>> {
    command::run(measure)
}

fn measure(command: &Command) -> Result<(), Box<dyn Error>> {
    let wanted = |part| command.wants(part, &PARTS);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let at = |name: &str| folder.path().join(name);
    let mut bench = Bench { report: command.report(folder.path())?, effort: command.effort()?, seed: 0 };
    if wanted("backlog") {
        // First of all: it looks at the memory of this process.
        parts::backlog::in_memory(&mut bench)?;
    }
    if wanted("http") {
        parts::over_baseline(&mut bench, &at("http"), Role::Http)?;
    }
    if wanted("tls") {
        parts::secured::over_plain(&mut bench, &at("tls"))?;
    }
    if wanted("rates") {
        parts::over_baseline(&mut bench, &at("rates"), Role::Durable)?;
    }
    if wanted("latency") {
        parts::latency(&mut bench, &at("latency"))?;
    }
    if wanted("full") || wanted("sizes") {
        let content = Content {
            accounts: command.number("--accounts", 1_000_000)?,
            ids: command.number("--ids", 10_000_000)?,
            ..Content::default()
        };
        full(&mut bench, folder.path(), Wanted { rates: wanted("full"), sizes: wanted("sizes"), content })?;
    }
    if wanted("loads") {
        parts::loads::over_one_device(&mut bench, folder.path())?;
    }
    if wanted("compaction") {
        parts::compaction::beside_compaction(&mut bench, &at("compaction"))?;
    }
    bench.report.finish();
    Ok(())
}

const PARTS: [&str; 9] =
    ["backlog", "http", "tls", "rates", "latency", "full", "sizes", "loads", "compaction"];
