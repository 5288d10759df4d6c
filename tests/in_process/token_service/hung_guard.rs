//! A guard folder whose disk hangs: refreshes wait for it, and nobody else does. Each test has one thread, which blocks for all if it
//! blocks at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::event;
use crate::support::tokens::{TokenHarness, soon};

/// Nobody hangs for ever: a test that fails ends.
const LONGEST: Duration = Duration::from_mins(1);

/// A file that can't be written before it is let go: whoever opens it to write waits for a reader.
pub(crate) struct Hanging {
    path: PathBuf,
    let_go: Arc<AtomicBool>,
}

impl Hanging {
    pub(crate) fn at(path: PathBuf) -> Self {
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let let_go = Arc::new(AtomicBool::new(false));
        let (flag, of) = (Arc::clone(&let_go), path.clone());
        std::thread::spawn(move || {
            for _ in 0..600 {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::sleep(LONGEST / 600);
            }
            flag.store(true, Ordering::SeqCst);
            read(&of);
        });
        Self { path, let_go }
    }

    pub(crate) fn still_hangs(&self) -> bool {
        !self.let_go.load(Ordering::SeqCst)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.let_go.store(true, Ordering::SeqCst);
        read(&self.path);
        let _ = fs::remove_file(&self.path);
    }
}

/// Both ends, so that it never waits itself.
fn read(path: &Path) {
    let both = fs::OpenOptions::new().read(true).write(true).open(path);
    std::thread::sleep(Duration::from_millis(200));
    drop(both);
}

fn unfinished(harness: &TokenHarness, name: &str) -> PathBuf {
    let store = &harness.store.identity().store;
    harness.folder().join("guard").join(format!("{store}{name}.unfinished"))
}

#[tokio::test]
async fn webhooks_status_and_tokens_that_are_there_go_on_beside_it() {
    let harness = TokenHarness::strict().await;
    harness.import("a").await;
    harness.survives("a").await;
    let hanging = Hanging::at(unfinished(&harness, ""));
    harness.import("b").await;
    soon("its refresh begins", || harness.tokens().status().overview.in_flight == 1).await;
    for n in 0..20 {
        harness.store.inbox().accept(event(&format!("event-{n}"), "a")).await.unwrap();
        assert!(harness.tokens().status().configured);
        harness.lend("a").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(hanging.still_hangs(), "somebody waited for it");
    assert_eq!(harness.ring.counts("b").granted, 0, "nothing is sent before its epoch is noted");
    drop(hanging);
    harness.survives("b").await;
}

#[tokio::test]
async fn new_tokens_that_the_store_refuses_are_in_it_as_soon_as_it_is_well() {
    let (harness, disk) = super::full_disk::harness().await;
    harness.fault("oauth-slow-after:2s", 1);
    let number = harness.import_number("a").await;
    soon("OAuth has replaced the token", || harness.ring.counts("a").granted == 1).await;
    let fence = harness.store.outbox().epoch().await.unwrap();
    let hanging = Hanging::at(unfinished(&harness, &format!(".{number}.{fence}")));
    disk.fail(super::full_disk::ALL_FULL);
    soon("the answer has nowhere to go", || harness.tokens().status().unrecorded == 1).await;
    disk.heal();
    soon("it is recorded", || harness.tokens().status().unrecorded == 0).await;
    assert!(hanging.still_hangs(), "somebody waited for it");
    drop(hanging);
    harness.survives("a").await;
}
