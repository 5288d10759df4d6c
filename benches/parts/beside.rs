//! Webhooks while the daemon refreshes at full rate, over webhooks while it does not.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ringhookd::clock;

use super::rates::{Pair, Rates, with};
use super::refreshing::{let_refresh, make_due, used};
use super::{ACCOUNTS, Bench};
use crate::load::Client;
use crate::load::events::Source;
use crate::report::median;
use crate::servers::{Role, Server};

const CONNECTIONS: [usize; 2] = [64, 256];
const PER_SECOND: u32 = 90;
/// Requests made for a second of a round, more than are answered.
const MADE_PER_SECOND: f64 = 80_000.0;
/// For a daemon that was just started, until it refreshes at its rate.
const WARM_UP: Duration = Duration::from_secs(1);
/// Of accounts due, for what a round takes beside what is measured.
const SPARE: u64 = 8;

/// Rounds on one store, of a daemon that refreshes and of one that does not.
pub(crate) fn webhooks(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (rounds, span) = (bench.effort.rounds, bench.effort.span);
    let seconds = (rounds as u64 + 1) * (span.as_secs() + SPARE) * CONNECTIONS.len() as u64;
    let mut ring = make_due(folder, seconds * u64::from(PER_SECOND))?;
    for connections in CONNECTIONS {
        let (mut refreshing, mut quiet, mut paces) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            // Each goes first as often as the other.
            for refreshes in [round % 2 == 0, round % 2 != 0] {
                let (rates, pace) = one(bench, folder, &mut ring, connections, refreshes)?;
                match (round, refreshes) {
                    (0, _) => {}
                    (_, true) => {
                        refreshing.push(rates);
                        paces.push(pace);
                    }
                    (_, false) => quiet.push(rates),
                }
            }
        }
        let pace = median(&mut paces);
        let name = format!("beside: webhooks at {pace:.0} refreshes/s / none, {connections} connections");
        bench.rate(name, &Pair::of(&refreshing, &quiet), Some("0.95"));
    }
    ring.stop()
}

/// One round, and the refreshes a second in it.
fn one(
    bench: &mut Bench,
    folder: &Path,
    ring: &mut Server,
    connections: usize,
    refreshes: bool,
) -> Result<(Rates, f64), Box<dyn Error>> {
    let_refresh(folder, ring, if refreshes { PER_SECOND } else { 0 })?;
    let daemon = Server::start(Role::Durable, folder)?;
    let span = bench.effort.span;
    let mut requests = bench.events(ACCOUNTS).requests((MADE_PER_SECOND * span.as_secs_f64()) as usize);
    std::thread::sleep(WARM_UP);
    let mut client = Client::connect(&daemon.address, connections)?;
    let (start, before) = (clock::instant(), used(ring)?.granted);
    let rates = with(&daemon, &mut client, &mut requests, span)?;
    let pace = (used(ring)?.granted - before) as f64 / start.elapsed().as_secs_f64();
    daemon.stop()?;
    Ok((rates, pace))
}
