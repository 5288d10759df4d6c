//! The memory that waiting events take: an event of each of many accounts, and then more of each.

use std::error::Error;

use ringhookd::domain::backlog::{Backlog, Entry};

use super::Bench;
use crate::report::Figure;
use crate::servers::resident;

const ACCOUNTS: u32 = 1_000_000;
const MORE: u32 = 8;

/// Looks at the memory of this process.
pub(crate) fn in_memory(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let mut backlog = Backlog::default();
    let start = resident("self")?;
    push(&mut backlog, 0..1);
    let one = resident("self")?;
    push(&mut backlog, 1..1 + MORE);
    let all = resident("self")?;
    let accounts = f64::from(ACCOUNTS);
    let figures = [
        ("an account with one waiting event", one.saturating_sub(start) as f64 / accounts),
        ("each more of its events", all.saturating_sub(one) as f64 / accounts / f64::from(MORE)),
    ];
    for (what, value) in figures {
        let from = format!("{ACCOUNTS} accounts, {} events", backlog.len());
        bench.report.add(Figure { name: format!("backlog: {what}"), value, unit: "B", from, goal: None });
    }
    Ok(())
}

fn push(backlog: &mut Backlog, rounds: std::ops::Range<u32>) {
    for round in rounds {
        for account in 1..=ACCOUNTS {
            let seq = u64::from(round) * u64::from(ACCOUNTS) + u64::from(account);
            backlog.push(account, Entry { seq, at: 0, user: account, bytes: 1000 });
        }
    }
}
