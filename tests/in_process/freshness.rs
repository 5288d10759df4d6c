//! Silence of the intake and of accounts: told once, ended by a webhook, remembered over a restart, and no restart is one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringhookd::domain::freshness::Expected;
use ringhookd::domain::time::Millis;
use ringhookd::store::{Inline, Options, Silence};

use crate::retention::{START, accept, inline, link_at, reopen};
use crate::support::*;

const MINUTE: Duration = Duration::from_mins(1);

fn minutes(n: u32) -> Millis {
    START.plus(n * MINUTE)
}

fn within(intake: Duration, account: Duration) -> Options {
    let silence = Silence::new(Expected::Within(intake), Expected::Within(account));
    Options { silence, ..options(vec![spec("all")]) }
}

fn get(inline: &Inline, counter: fn(&ringhookd::store::Stats) -> &AtomicU64) -> u64 {
    counter(inline.store.stats()).load(Ordering::Relaxed)
}

fn silent_since(inline: &Inline) -> u64 {
    get(inline, |stats| &stats.silent_since)
}

fn silent_accounts(inline: &Inline) -> u64 {
    get(inline, |stats| &stats.silent_accounts)
}

#[test]
fn a_silence_is_seen_outlives_a_restart_and_ends_with_a_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let options = within(HOUR, 9 * HOUR);
    let mut store = inline(&dir.path().join("store"), options.clone());
    store.tick(START);
    accept(&mut store, minutes(1), event("1", "A"));
    store.tick(minutes(61));
    assert_eq!(silent_since(&store), 0);
    store.tick(minutes(62));
    assert_eq!(silent_since(&store), minutes(1).0);
    drop(store);
    let mut store = reopen(&dir.path().join("store"), options);
    store.tick(minutes(63));
    assert_eq!(silent_since(&store), minutes(1).0, "it goes on");
    accept(&mut store, minutes(64), event("2", "A"));
    store.tick(minutes(64));
    assert_eq!((silent_since(&store), get(&store, |stats| &stats.last_webhook)), (0, minutes(64).0));
}

#[test]
fn a_duplicate_and_what_is_not_understood_have_come_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = inline(&dir.path().join("store"), within(HOUR, 9 * HOUR));
    store.tick(START);
    accept(&mut store, minutes(1), event("1", "A"));
    accept(&mut store, minutes(50), event("1", "A"));
    store.tick(minutes(109));
    assert_eq!(silent_since(&store), 0);
    let strange = ringhookd::store::Incoming { anomaly: Some("not JSON"), ..event("2", "A") };
    accept(&mut store, minutes(109), strange);
    store.tick(minutes(168));
    assert_eq!(silent_since(&store), 0);
}

#[test]
fn a_restart_is_no_silence_before_it_has_listened_and_what_was_learned_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let learned = options(vec![spec("all")]);
    let mut store = inline(&dir.path().join("store"), learned.clone());
    store.tick(START);
    accept(&mut store, minutes(1), event("1", "A"));
    accept(&mut store, minutes(31), event("2", "A"));
    store.tick(minutes(32));
    let wait = |store: &Inline| get(store, |stats| &stats.longest_wait);
    let longest = wait(&store);
    assert!(longest > 0 && longest < 24 * 3_600_000, "a day, which has faded: {longest}");
    // What is on disk of the last webhook may be older than that; the ids know it.
    accept(&mut store, minutes(33), event("3", "A"));
    drop(store);
    let mut store = reopen(&dir.path().join("store"), learned);
    let back = 5 * 24 * 60;
    store.tick(minutes(back));
    assert_eq!((wait(&store), get(&store, |stats| &stats.last_webhook)), (longest, minutes(33).0));
    store.tick(minutes(back + 59));
    assert_eq!(silent_since(&store), 0);
    store.tick(minutes(back + 60));
    assert_eq!(silent_since(&store), minutes(33).0, "five days are longer than three times a day");
}

#[test]
fn a_linked_account_is_silent_alone_and_not_while_nothing_comes_of_any() {
    let dir = tempfile::tempdir().unwrap();
    let options = within(3 * HOUR, 2 * HOUR);
    let mut store = inline(&dir.path().join("store"), options.clone());
    store.tick(START);
    link_at(&mut store, START, "A");
    link_at(&mut store, START, "B");
    for (id, of) in [("1", "A"), ("2", "B"), ("3", "nobody's")] {
        accept(&mut store, minutes(1), event(id, of));
    }
    accept(&mut store, minutes(90), event("4", "B"));
    store.tick(minutes(121));
    assert_eq!(silent_accounts(&store), 0);
    store.tick(minutes(123));
    assert_eq!(silent_accounts(&store), 1, "A, and not the account without a user");
    drop(store);
    let mut store = reopen(&dir.path().join("store"), options);
    store.tick(minutes(124));
    assert_eq!(silent_accounts(&store), 1, "it is not told again");
    accept(&mut store, minutes(125), event("5", "A"));
    assert_eq!(silent_accounts(&store), 0);
    // Nothing comes of both.
    store.tick(minutes(125 + 181));
    assert_ne!(silent_since(&store), 0);
    store.tick(minutes(125 + 600));
    assert_eq!(silent_accounts(&store), 0);
    // A comes back and B does not; what A's outage was is no silence of B's before it was listened for an hour.
    accept(&mut store, minutes(900), event("6", "A"));
    store.tick(minutes(959));
    assert_eq!(silent_accounts(&store), 0);
    store.tick(minutes(961));
    assert_eq!(silent_accounts(&store), 1);
    let links = store.store.clone();
    store.run(minutes(962), async move { links.links().forget(account("B")).await }).unwrap().unwrap();
    assert_eq!(silent_accounts(&store), 0, "nobody waits for it");
}

#[test]
fn accounts_of_many_rows_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = within(9 * HOUR, 2 * HOUR);
    let mut store = inline(&dir.path().join("store"), options.clone());
    store.tick(START);
    for number in 0..300 {
        let id = format!("A{number}");
        link_at(&mut store, START, &id);
        accept(&mut store, minutes(1), event(&id, &id));
    }
    accept(&mut store, minutes(100), event("late", "A0"));
    store.tick(minutes(101));
    drop(store);
    let mut store = reopen(&dir.path().join("store"), options);
    store.tick(minutes(102));
    store.tick(minutes(165));
    assert_eq!(silent_accounts(&store), 299);
}
