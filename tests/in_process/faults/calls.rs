//! Each call of the disk fails: once, or from then on. What was acknowledged stays, and the store comes back by itself.

use ringhookd::store::{Health, StoreError};

use crate::faults::harness::{StoreHarness, base, open};
use crate::support::disk::{Disk, Fault, Image, Kind};
use crate::support::rng::seed;
use crate::support::whole::{self, share, stride};

const ALL: &[Kind] = &[Kind::Read, Kind::Write, Kind::Sync, Kind::SetLen];
const WRITES: &[Kind] = &[Kind::Write, Kind::SetLen];
const STEPS: usize = 55;

#[test]
fn any_call_may_fail_once() {
    sweep("once", 1, |at| Fault { at, kinds: ALL, times: 1, full: false, lost: None });
}

#[test]
fn the_disk_may_be_full_at_any_write() {
    sweep("full", 2, |at| Fault { at, kinds: WRITES, times: 1, full: true, lost: None });
}

#[test]
fn the_disk_may_be_gone_from_any_call_on() {
    sweep("gone", 3, |at| Fault { at, kinds: ALL, times: usize::MAX, full: false, lost: None });
}

#[test]
fn after_one_error_every_write_fails_until_the_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut harness = StoreHarness::new(&folder, &base(&folder), seed());
    harness.steps(5);
    harness.disk.fail(Fault { at: 0, kinds: &[Kind::Sync], times: 1, full: false, lost: None });
    while harness.step() {}
    assert_eq!(harness.disk.failed(), 1);
    let Health::Failing { why, .. } = harness.inline.store.health() else { panic!("it must say so") };
    assert!(!why.is_empty());
    let open = crate::support::at_once(harness.inline.store.queues().lease(
        &crate::support::queue("all"),
        &crate::support::request(1),
        harness.now,
    ));
    assert!(open.is_ok(), "reads go on: {open:?}");
    // redb itself would say PreviousIo now: the store must not even try, and a new handle is the only way.
    assert!(!harness.resend() && harness.disk.failed() == 1);
    assert!(harness.inline.recover(harness.now));
    assert!(harness.resend());
    harness.steps(20);
    harness.verify(harness.disk.durable(), "after PreviousIo");
}

#[test]
fn who_waits_for_a_queue_is_woken_when_a_failure_freed_its_leases() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut harness = StoreHarness::new(&folder, &base(&folder), seed());
    harness.steps(10);
    let store = harness.inline.store.clone();
    let (all, wanted) = (crate::support::queue("all"), crate::support::request(1000));
    assert!(crate::support::at_once(store.queues().lease(&all, &wanted, harness.now)).unwrap().is_some());
    let wake = store.queues().wake(&all).unwrap();
    let mut woken = Box::pin(wake.notified());
    woken.as_mut().enable();
    harness.disk.fail(Fault { at: 0, kinds: &[Kind::Sync], times: 1, full: false, lost: None });
    while harness.step() {}
    assert!(harness.inline.recover(harness.now));
    assert!(woken.as_mut().enable(), "nobody said that the events are free");
    assert!(crate::support::at_once(store.queues().lease(&all, &wanted, harness.now)).unwrap().is_some());
}

/// After a failed sync the page cache shows what the disk never got. 200 positions, and what the kernel may do then.
#[test]
fn a_failed_sync_is_never_taken_for_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let base = base(&folder);
    let mut fired = 0;
    for at in (0..200).step_by(stride("failed syncs")) {
        for (lost, forgets) in [(1.0, false), (0.5, false), (1.0, true), (0.5, true)] {
            let what = format!("sync {at}, lost {lost}, cache dropped: {forgets}");
            let disk = Disk::holding(base.clone());
            disk.seed(seed() + at as u64);
            let mut harness = StoreHarness::large(&folder, disk, seed()).unwrap();
            harness.disk.fail(Fault { at, kinds: &[Kind::Sync], times: 1, full: false, lost: Some(lost) });
            let failed = (0..300).any(|_| !harness.step());
            fired += usize::from(failed);
            if failed {
                if forgets {
                    harness.disk.drop_cache();
                }
                assert!(harness.inline.recover(harness.now), "{what}: {:?}", harness.inline.store.health());
                assert!(harness.resend(), "{what}");
            }
            harness.steps(20);
            harness.verify(harness.disk.durable(), &what);
        }
    }
    assert_eq!(fired, 4 * share("failed syncs"), "every position was reached");
}

fn sweep(what: &str, stride: usize, fault: impl Fn(usize) -> Fault) {
    let (seed, stride) = (seed(), stride * whole::stride("of each five calls of the disk, those that fail"));
    println!("RINGHOOKD_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let base = base(&folder);
    let mut fired = 0;
    for at in (0..).step_by(stride) {
        let what = format!("{what}, seed {seed}, call {at}");
        if !one_run(&folder, &base, seed, fault(at), &what) {
            break;
        }
        fired += 1;
    }
    println!("{fired} positions");
    assert!(fired * stride > 200, "the load makes more calls than {fired}");
}

/// Returns whether the fault was reached.
fn one_run(folder: &std::path::Path, base: &Image, seed: u64, fault: Fault, what: &str) -> bool {
    let disk = Disk::holding(base.clone());
    disk.fail(fault);
    let mut harness = match StoreHarness::on(folder, disk.clone(), seed) {
        Ok(harness) => harness,
        Err(error) => {
            assert!(matches!(error, StoreError::Unavailable(_)), "{what}: {error}");
            disk.heal();
            StoreHarness::on(folder, disk.clone(), seed).unwrap_or_else(|e| panic!("{what}: {e}"))
        }
    };
    for _ in 0..STEPS {
        let failed = disk.failed();
        let fine = harness.step();
        let health = harness.inline.store.health();
        if health == Health::Ready {
            continue;
        }
        assert!(matches!(health, Health::Failing { .. }), "{what}: {health:?}");
        assert!(!fine && disk.failed() > failed, "{what}: it fails for a reason and says so");
        let mut tries = 0;
        while !harness.inline.recover(harness.now) {
            tries += 1;
            let health = harness.inline.store.health();
            assert!(matches!(health, Health::Failing { .. }), "{what}: {health:?}");
            if tries == 3 {
                disk.heal();
            }
            assert!(tries < 6, "{what}: it does not come back");
        }
        assert!(harness.resend() || disk.failed() > 0, "{what}");
    }
    disk.heal();
    if harness.inline.store.health() != Health::Ready {
        assert!(harness.inline.recover(harness.now), "{what}");
    }
    assert!(harness.resend(), "{what}");
    let fired = disk.failed() > 0;
    harness.verify(disk.durable(), &format!("{what}: after a power cut"));
    harness.inline.store.close();
    drop(open(folder, &disk).unwrap_or_else(|e| panic!("{what}: {e}")));
    harness.verify(disk.cached(), what);
    fired
}
