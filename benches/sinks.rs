//! The bench of sinks: each kind before a receiver on loopback, over its sink alone.
//!
//! `cargo bench --bench sinks -- [http] [mqtt] [nats] [postgres] [redis] [--rounds N] [--seconds S] [--events N] [--backlog N] [--json]`; without a kind,
//! all of them. The receivers are Debian's servers, and a bare hyper server for `http`.
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
#[allow(clippy::unwrap_used, reason = "it is of the tests")]
#[path = "../tests/in_process/sinks/postgres/server.rs"]
mod postgres_server;
mod receivers;
mod report;
mod servers;
mod stores;
mod support;

use std::error::Error;

use command::Command;
use parts::{Bench, forward};
use receivers::{KINDS, Receiver};

fn main() -> Result<(), Box<dyn Error>> {
    command::run(measure)
}

fn measure(command: &Command) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut bench = Bench { report: command.report(folder.path())?, effort: command.effort()?, seed: 0 };
    let events = command.number("--events", 20_000)?;
    let backlog = command.number("--backlog", 100_000)?;
    for kind in KINDS.into_iter().filter(|kind| command.wants(kind, &KINDS)) {
        let receiver = Receiver::start(kind)?;
        let wanted = forward::Wanted { kind, settings: &receiver.settings, events, backlog };
        forward::measure(&mut bench, &folder.path().join(kind), wanted)?;
    }
    bench.report.finish();
    Ok(())
}
