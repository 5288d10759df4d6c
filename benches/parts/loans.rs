//! Tokens for local workers on the admin socket, over a bare hyper server on a Unix socket.

use std::error::Error;
use std::path::Path;

use super::rates::compare_at;
use super::refreshing::{let_refresh, make_due, used};
use super::{ACCOUNTS, Bench};
use crate::load::events::Loans;
use crate::servers::{Role, Server};
use crate::stores::{self, Content};

const CLIENTS: [usize; 2] = [1, 16];
/// Refreshes a second beside the loans.
const PER_SECOND: u32 = 90;

/// Of accounts with tokens that serve.
pub(crate) fn over_baseline(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    stores::make(folder)?;
    stores::add(folder, Content { accounts: ACCOUNTS, ..Content::default() })?;
    run(bench, folder, ACCOUNTS, "loans: token / bare server")
}

/// The same in a store that is full already.
pub(crate) fn of_many(bench: &mut Bench, folder: &Path, accounts: u64) -> Result<(), Box<dyn Error>> {
    run(bench, folder, accounts, &format!("loans: the same with {accounts} accounts"))
}

/// The same while the daemon refreshes others at full rate.
pub(crate) fn while_refreshing(bench: &mut Bench, folder: &Path) -> Result<(), Box<dyn Error>> {
    let seconds = (bench.effort.rounds as u64 + 1) * (bench.effort.span.as_secs() + 1) * 2 * 2 + 30;
    let mut ring = make_due(folder, seconds * u64::from(PER_SECOND))?;
    // Over the first of those that are due: these have tokens that serve.
    stores::add(folder, Content { accounts: ACCOUNTS, ..Content::default() })?;
    let_refresh(folder, &ring, PER_SECOND)?;
    let before = used(&mut ring)?.granted;
    run(bench, folder, ACCOUNTS, &format!("loans: the same at {PER_SECOND} refreshes/s"))?;
    if used(&mut ring)?.granted == before {
        return Err("nothing was refreshed meanwhile".into());
    }
    ring.stop()
}

fn run(bench: &mut Bench, folder: &Path, accounts: u64, name: &str) -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = (Server::start(Role::Durable, folder)?, Server::start(Role::Local, folder)?);
    let socket = folder.join("admin.sock").display().to_string();
    for clients in CLIENTS {
        let sides = [(&ours, socket.as_str()), (&theirs, theirs.address.as_str())];
        let pair = compare_at(sides, clients, &mut Loans::of(accounts), bench.effort)?;
        bench.rate(format!("{name}, {clients} connections"), &pair, None);
    }
    ours.stop()
}
