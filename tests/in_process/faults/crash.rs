//! Power cuts: whatever part of the un-synced writes is on the disk, the store opens and holds what it said.

use crate::faults::harness::{StoreHarness, base, verify};
use crate::faults::ledger::Ledger;
use crate::support::disk::{Change, Image, crash_image};
use crate::support::rng::{Rng, seed};
use crate::support::whole::share;

const RUNS: u64 = 10;
const WORKERS: u64 = 2;
const STEPS: usize = 60;
const KEEP: [f64; 4] = [0.1, 0.5, 0.9, 1.0];

#[test]
fn every_power_cut_leaves_all_that_was_acknowledged() {
    let seed = seed();
    println!("RINGHOOKD_SEED={seed}");
    let wanted = share("images of power cuts");
    let each = wanted / usize::try_from(RUNS).unwrap();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let runs = (0..RUNS).filter(move |run| run % WORKERS == worker);
            std::thread::spawn(move || runs.map(|run| cut_one_run(seed + run, each)).sum::<usize>())
        })
        .collect();
    let images: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();
    assert!(images >= wanted, "{images}");
}

/// Records one run and cuts the power between any two calls. Returns how many images were opened, at least those that are wanted.
fn cut_one_run(seed: u64, wanted: usize) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let base = base(&folder);
    let mut harness = StoreHarness::new(&folder, &base, seed);
    harness.disk.record();
    let mut durable = harness.disk.durable();
    harness.steps(STEPS);
    harness.inline.store.close();
    let log = harness.disk.recorded();
    harness.verify(harness.disk.durable(), "without a power cut");

    // With fewer images than calls, the cuts are spread over all of them.
    let (per_change, every) = (wanted.div_ceil(log.len()), (log.len() / wanted).max(1));
    let mut rng = Rng(seed);
    let mut since = Vec::new();
    let mut images = 0;
    for (at, (epoch, change)) in log.into_iter().enumerate() {
        if matches!(change, Change::Sync) {
            durable.apply_all(&since);
            since.clear();
        } else {
            since.push(change);
        }
        let cuts = if at.is_multiple_of(every) { per_change } else { 0 };
        for _ in 0..cuts {
            let keep = *rng.pick(&KEEP);
            let image = crash_image(&durable, &since, keep, &mut rng);
            check(&harness, image, &harness.snapshots[epoch], seed, images);
            images += 1;
        }
    }
    images
}

fn check(harness: &StoreHarness, image: Image, ledger: &Ledger, seed: u64, number: usize) {
    let what = format!("seed {seed}, image {number}");
    let (held, found) = verify(&harness.folder, image, ledger, harness.now)
        .unwrap_or_else(|error| panic!("{what}: it does not open: {error}"));
    assert_eq!((held.refused, held.marked), (None, 0), "{what}");
    found.assert_none(&what);
}
