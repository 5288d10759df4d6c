//! Refreshes a second before the simulated Ring, over those that are allowed, and what they cost.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ringhookd::clock;

use super::Bench;
use super::refreshing::{let_refresh, make_due, used};
use crate::report::Figure;
use crate::servers::{Role, Server};

/// Beyond what is measured, so that there is always an account due.
const SPARE: Duration = Duration::from_secs(15);
/// Requests that may go out at once.
const BURST: u64 = 5;

/// Far more accounts are due than a daemon may refresh meanwhile.
pub(crate) fn hold(bench: &mut Bench, folder: &Path, per_second: u32) -> Result<(), Box<dyn Error>> {
    let span = bench.effort.span * bench.effort.rounds as u32;
    let accounts = u64::from(per_second) * (span + SPARE).as_secs();
    let mut ring = make_due(folder, accounts.max(3000))?;
    let_refresh(folder, &ring, per_second)?;
    let daemon = Server::start(Role::Durable, folder)?;
    while used(&mut ring)?.granted == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(1));
    let (start, before, busy, ring_busy) =
        (clock::instant(), used(&mut ring)?.granted, daemon.busy()?, ring.busy()?);
    std::thread::sleep(span);
    let (took, after) = (start.elapsed().as_secs_f64(), used(&mut ring)?);
    let (busy, ring_busy) = (daemon.busy()? - busy, ring.busy()? - ring_busy);
    daemon.stop()?;
    let peak = used(&mut ring)?.peak;
    let granted = after.granted - before;
    let rate = granted as f64 / took;
    let from = format!("{granted} in {took:.1} s, {rate:.2}/s");
    let name = format!("refreshes: refreshes / allowed, {per_second} a second");
    let value = rate / f64::from(per_second);
    bench.report.add(Figure { name, value, unit: "", from, goal: Some("0.98") });
    let most = u64::from(per_second) + BURST;
    let from = format!("{peak} requests; the rate and a burst of {BURST} are {most}");
    let name = format!("refreshes: worst second that slides / allowed, {per_second}");
    bench.report.add(Figure {
        name,
        value: peak as f64 / most as f64,
        unit: "",
        from,
        goal: Some("at most 1"),
    });
    let from = format!(
        "{:.2} ms of processor time each; {:.2} in the simulated Ring",
        busy * 1000.0 / granted as f64,
        ring_busy * 1000.0 / granted as f64
    );
    let name = format!("refreshes: share of one processor, {per_second} a second");
    bench.report.add(Figure { name, value: busy / took * 100.0, unit: "%", from, goal: None });
    ring.stop()
}
