//! What readers see in memory is committed: a number or a count of a commit that failed was never to be seen.

use std::sync::atomic::Ordering;

use ringhookd::store::Import;

use super::harness::{StoreHarness, base};
use crate::support::disk::{Fault, Kind};
use crate::support::{account, at_once, event, user};

/// A sync fails, and what it was for is lost.
const FAILS: Fault = Fault { at: 0, kinds: &[Kind::Sync], times: 1, full: false, lost: Some(1.0) };

#[test]
fn a_user_whose_commit_failed_was_nobodys_number_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut harness = StoreHarness::new(&folder, &base(&folder), 1);
    let store = harness.inline.store.clone();
    let names = [user("new")];
    harness.disk.fail(FAILS);
    let import = |id, of| Import { account: account(id), user: Some(user(of)), tokens: None, replace: false };
    assert!(harness.inline.run(harness.now, store.links().import(import("x", "new"))).is_err());
    let scope = at_once(store.queues().scope(Some(&names), None)).unwrap();
    assert_eq!(scope.users, Some([].into()), "a number that the next user gets");
    harness.disk.drop_cache();
    assert!(harness.inline.recover(harness.now));
    harness.inline.run(harness.now, store.links().import(import("y", "other"))).unwrap().unwrap();
    let of = |name: &'static str| [user(name)];
    let (new, other) = (of("new"), of("other"));
    let new = harness.inline.run(harness.now, store.queues().scope(Some(&new), None)).unwrap();
    let other = harness.inline.run(harness.now, store.queues().scope(Some(&other), None)).unwrap();
    assert_eq!((new.users.unwrap().len(), other.users.unwrap().len()), (0, 1));
}

#[test]
fn two_users_of_one_commit_have_two_numbers_and_each_is_known_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut harness = StoreHarness::new(&folder, &base(&folder), 1);
    let store = harness.inline.store.clone();
    let import = |id: &str, of: &str| Import {
        account: account(id),
        user: Some(user(of)),
        tokens: None,
        replace: false,
    };
    let imports = vec![import("x", "new"), import("y", "other"), import("z", "new"), import("x", "other")];
    let calls = imports.into_iter().map(|import| {
        let store = store.clone();
        Box::pin(async move { store.links().import(import).await.unwrap() })
            as std::pin::Pin<Box<dyn Future<Output = _>>>
    });
    let done = harness.inline.run_all(harness.now, calls.collect());
    assert_eq!(done.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, false], "x is new's");
    for (id, of) in [("x", "new"), ("y", "other"), ("z", "new")] {
        let view = harness.inline.run(harness.now, store.links().account(account(id))).unwrap().unwrap();
        assert_eq!(view.user, Some(user(of)), "{id}");
    }
}

#[test]
fn what_a_failed_commit_did_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut harness = StoreHarness::new(&folder, &base(&folder), 1);
    let store = harness.inline.store.clone();
    let counted = || {
        let stats = store.stats();
        [&stats.accepted, &stats.held, &stats.duplicates].map(|count| count.load(Ordering::Relaxed))
    };
    harness.disk.fail(FAILS);
    assert!(harness.inline.run(harness.now, store.inbox().accept(event("1", "nobodys"))).is_err());
    assert_eq!(counted(), [0, 0, 0]);
    harness.disk.drop_cache();
    assert!(harness.inline.recover(harness.now));
    for _ in 0..2 {
        harness.inline.run(harness.now, store.inbox().accept(event("1", "nobodys"))).unwrap();
    }
    assert_eq!(counted(), [1, 1, 1]);
}
