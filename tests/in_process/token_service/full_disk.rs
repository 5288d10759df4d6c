//! A disk that is full when OAuth's answer arrives: the new tokens wait in memory and in the guard folder, and are not lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ringhookd::domain::access_token::AccessToken;
use ringhookd::randomness;
use ringhookd::sim::{Options, Policy, Ring};
use ringhookd::store::Store;

use crate::support::disk::{Disk, Fault, Image, Kind};
use crate::support::tokens::{TokenHarness, soon};
use crate::support::{account, create, options, vault};

pub(crate) const ALL_FULL: Fault = Fault {
    at: 0,
    kinds: &[Kind::Write, Kind::Sync, Kind::SetLen],
    times: usize::MAX,
    full: true,
    lost: None,
};

/// A room whose store lies on `disk`.
pub(crate) async fn harness() -> (TokenHarness, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    create(&folder);
    let disk = Disk::holding(Image::from_bytes(&fs::read(folder.join("store.redb")).unwrap()));
    let options = Options { policy: Policy::DeadAtOnce, seed: randomness::random(), ..Options::default() };
    let harness = TokenHarness::over(dir, Ring::start(options).unwrap(), open(&folder, &disk)).await;
    harness.let_go().await;
    (harness, disk)
}

fn open(folder: &Path, disk: &Disk) -> Store {
    let disk = disk.clone();
    Store::open_with(folder, vault(), options(vec![]), false, move || disk.clone()).unwrap()
}

/// Imports an account, and fills the disk between OAuth's work and its answer.
async fn full_at_the_answer(harness: &TokenHarness, disk: &Disk) {
    harness.fault("oauth-slow-after:700ms", 1);
    harness.import("a").await;
    soon("OAuth has replaced the token", || harness.ring.counts("a").granted == 1).await;
    disk.fail(ALL_FULL);
    soon("the answer has nowhere to go", || harness.tokens().status().unrecorded == 1).await;
}

async fn is_well(harness: &TokenHarness) -> AccessToken {
    let lent = harness.lend("a").await.unwrap();
    assert!(harness.ring.honours_access(lent.token.expose()));
    assert_eq!(harness.ring.counts("a").granted, 1, "nothing was sent again");
    lent
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_recorded_when_there_is_room_again() {
    let (harness, disk) = harness().await;
    full_at_the_answer(&harness, &disk).await;
    disk.heal();
    soon("it is recorded", || harness.tokens().status().unrecorded == 0).await;
    is_well(&harness).await;
    soon("the guard folder is cleared", || answers(&harness) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_it_to_the_next_start() {
    let (mut harness, disk) = harness().await;
    full_at_the_answer(&harness, &disk).await;
    soon("it is kept aside", || answers(&harness) == 1).await;
    harness.close().await;
    disk.heal();
    let store = open(&harness.folder().join("store"), &disk);
    harness.reopen(store).await;
    is_well(&harness).await;
    assert_eq!(answers(&harness), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_place_at_all_it_does_not_stop() {
    let (harness, disk) = harness().await;
    let guard = harness.folder().join("guard");
    // A file in its place: root may write into any folder.
    soon("the epoch is noted", || guard.exists()).await;
    fs::remove_dir_all(&guard).unwrap();
    fs::write(&guard, "").unwrap();
    fs::set_permissions(&guard, fs::Permissions::from_mode(0o400)).unwrap();
    full_at_the_answer(&harness, &disk).await;
    let stopped = tokio::time::timeout(Duration::from_secs(3), harness.stop()).await;
    assert!(stopped.is_err(), "it stopped with tokens in memory alone");
    disk.heal();
    soon("it is recorded", || harness.tokens().status().unrecorded == 0).await;
    is_well(&harness).await;
}

/// The commit is durable, and said to have failed: the guard folder knows of the new tokens all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_noted_epoch_is_that_of_a_commit_which_was_durable_and_reported_as_failed() {
    let (harness, disk) = harness().await;
    harness.fault("oauth-slow-after:700ms", 1);
    harness.import("a").await;
    soon("OAuth has replaced the token", || harness.ring.counts("a").granted == 1).await;
    let kinds: &[Kind] = &[Kind::Sync];
    disk.fail(Fault { at: 0, kinds, times: 1, full: false, lost: Some(0.0) });
    soon("the refresh has landed", || harness.tokens().status().overview.in_flight == 0).await;
    assert_eq!(disk.failed(), 1);
    disk.heal();
    is_well(&harness).await;
    harness.stop().await;
    assert_eq!(noted_epoch(&harness), harness.store.outbox().epoch().await.unwrap());
}

/// A code is good once: what OAuth gave for it is nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_code_brought_is_not_let_go_before_it_is_on_disk() {
    let (harness, disk) = harness().await;
    harness.fault("oauth-slow-after:700ms", 1);
    harness.take_code(&harness.ring.new_code("a")).await.unwrap();
    soon("OAuth has given tokens", || harness.ring.counts("a").granted == 1).await;
    disk.fail(ALL_FULL);
    soon("they have nowhere to go", || harness.tokens().status().unrecorded == 1).await;
    let stopped = tokio::time::timeout(Duration::from_secs(3), harness.stop()).await;
    assert!(stopped.is_err(), "it stopped with tokens in memory alone");
    disk.heal();
    soon("they are recorded", || harness.tokens().status().unrecorded == 0).await;
    harness.let_go().await;
    harness.all_have_arrived().await;
    is_well(&harness).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_starts_no_refresh() {
    let (harness, disk) = harness().await;
    harness.stop().await;
    let number = harness.import_number("a").await;
    disk.fail(ALL_FULL);
    harness.let_go().await;
    let denied = harness.lend("a").await.unwrap_err();
    assert!(denied.retry_after.is_some(), "{denied:?}");
    assert_eq!(harness.ring.exchanges().len(), 0, "nothing was sent");
    disk.heal();
    harness.survives("a").await;
    assert!(harness.store.links().access(account("a")).await.unwrap().unwrap().number == number);
}

fn noted_epoch(harness: &TokenHarness) -> u64 {
    let file = harness.folder().join("guard").join(format!("{}.epoch", harness.store.identity().store));
    let noted: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    noted["epoch"].as_u64().unwrap()
}

/// Files in the guard folder that hold an answer.
fn answers(harness: &TokenHarness) -> usize {
    let files = fs::read_dir(harness.folder().join("guard")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "answer")).count()
}
