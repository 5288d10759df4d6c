//! What an export of a user reads from the store, while events leave and after they have become dead letters.

use std::pin::pin;
use std::task::{Context, Waker};

use crate::retention::{START, accept, dead, hours, inline, link_at, seen, settle, waiting, with_much};
use crate::support::*;
use ringhookd::store::{Accepted, EXPORT_START, Import, Inline, KeptEvent, LetterFilter, Outcome, Whose};

/// What an export gives of the user, and how many pages it took.
fn exported(inline: &Inline, whose: Whose) -> (Vec<KeptEvent>, usize) {
    let (mut found, mut pages, mut from) = (Vec::new(), 0, Some(EXPORT_START));
    while let Some(at) = from {
        assert!(pages < 100, "it stays at {at:?}");
        let (page, next) = at_once(inline.store.links().kept(whose, at)).unwrap();
        found.extend(page);
        (pages, from) = (pages + 1, next);
    }
    (found, pages)
}

/// The numbers of the account and of the user.
fn whose(inline: &Inline, of: &str, name: &str) -> Whose {
    let number = at_once(inline.store.links().account(account(of))).unwrap().unwrap().number;
    let scope = at_once(inline.store.queues().scope(Some(&[user(name)]), None)).unwrap();
    Whose { account: number, user: scope.users.unwrap().into_iter().next().unwrap() }
}

fn damaged(inline: &Inline) -> u64 {
    inline.store.stats().damaged.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn an_event_that_leaves_during_an_export_is_not_in_it_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = inline(&dir.path().join("store"), options(vec![spec("all")]));
    link_at(&mut inline, START, "a");
    accept(&mut inline, START, event("1", "a"));
    let ann = whose(&inline, "a", "ann");
    assert_eq!(exported(&inline, ann).0.len(), 1);
    inline.memory_behind(|inline| {
        let store = inline.store.clone();
        let lease = at_once(store.queues().lease(&queue("all"), &request(1), START)).unwrap().unwrap();
        let done = vec![(lease.events[0].seq, Outcome::Done)];
        inline.run(START, store.queues().settle(&queue("all"), lease.id, done)).unwrap();
    });
    assert_eq!(waiting(&inline, "all").0, 1, "memory shows it still");
    assert!(exported(&inline, ann).0.is_empty());
    assert!(seen(&inline, "all").is_empty());
    assert_eq!(damaged(&inline), 0);
    // A consumer that was given it would never get it: that is damage.
    let lease = at_once(inline.store.queues().lease(&queue("all"), &request(1), START)).unwrap();
    assert!(lease.is_none_or(|lease| lease.events.is_empty()));
    assert_eq!(damaged(&inline), 1);
}

#[test]
fn an_export_goes_on_behind_a_page_of_events_whose_key_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = with_much(&dir.path().join("store"));
    let ann = whose(&inline, "much", "ann");
    let store = inline.store.clone();
    let mut forget = pin!(store.links().forget(account("much")));
    assert!(forget.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    inline.commit(START);
    let (found, pages) = exported(&inline, ann);
    assert!(found.is_empty() && pages > 24, "{} events on {pages} pages", found.len());
}

/// It was accepted while nobody had the account, and a replay gives it to whoever claimed that since.
#[test]
fn a_held_event_that_became_a_dead_letter_is_in_the_export_of_the_user_whom_a_replay_gives_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = inline(&dir.path().join("store"), options(vec![spec("all")]));
    assert!(matches!(accept(&mut inline, START, event("1", "a")), Accepted::Held { .. }));
    settle(&mut inline, hours(25));
    assert_eq!(dead(&inline), 1);
    link_at(&mut inline, hours(25), "a");
    let import = Import { account: account("b"), user: Some(user("bob")), tokens: None, replace: false };
    let store = inline.store.clone();
    inline.run(hours(25), store.links().import(import)).unwrap().unwrap();
    let ann = whose(&inline, "a", "ann");
    let keys = |whose| {
        let events = exported(&inline, whose).0.into_iter();
        events.map(|kept| kept.event.unwrap().key).collect::<Vec<_>>()
    };
    assert_eq!(keys(ann), ["1"]);
    let bob = whose(&inline, "b", "bob");
    assert!(keys(Whose { user: bob.user, ..ann }).is_empty(), "he never had it");
    assert!(keys(Whose { user: 0, ..ann }).is_empty(), "it is no longer nobody's");
    let filter = LetterFilter::default();
    inline.run(hours(25), store.queues().replay_letters(filter, None)).unwrap();
    let lease = at_once(store.queues().lease(&queue("all"), &request(1), hours(25))).unwrap().unwrap();
    assert_eq!(lease.events[0].event.user, Some(user("ann")));
}
