//! What leaves by itself, at the time it leaves and not before; and commands that meet in one group commit.

use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use crate::support::*;
use ringhookd::domain::act::Act;
use ringhookd::domain::event::{Event, FORGOTTEN};
use ringhookd::domain::routing::{Filter, TypePattern};
use ringhookd::domain::time::Millis;
use ringhookd::store::{
    Accepted, ActFilter, Import, Incoming, Inline, LeaseRequest, Options, Outcome, QueueSpec, Scope,
};

pub(crate) const START: Millis = Millis(1_800_000_000_000);

pub(crate) fn inline(folder: &Path, options: Options) -> Inline {
    create(folder);
    reopen(folder, options)
}

pub(crate) fn reopen(folder: &Path, options: Options) -> Inline {
    let file = folder.join("store.redb");
    let disk = move || {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
        redb::backends::FileBackend::new(file).unwrap()
    };
    Inline::open_with(folder, vault(), options, false, disk).unwrap()
}

pub(crate) fn hours(n: u32) -> Millis {
    START.plus(n * HOUR)
}

pub(crate) fn accept(inline: &mut Inline, now: Millis, event: Incoming) -> Accepted {
    let store = inline.store.clone();
    inline.run(now, async move { store.inbox().accept(event).await }).unwrap()
}

pub(crate) fn link_at(inline: &mut Inline, now: Millis, id: &str) {
    let store = inline.store.clone();
    let import = Import { account: account(id), user: Some(user("ann")), tokens: None, replace: false };
    inline.run(now, async move { store.links().import(import).await }).unwrap().unwrap();
}

pub(crate) fn waiting(inline: &Inline, name: &str) -> (u64, u64) {
    let queues = inline.store.queues().list();
    let view = queues.iter().find(|view| view.name == queue(name)).unwrap();
    (view.waiting, view.waiting_bytes)
}

pub(crate) fn dead(inline: &Inline) -> u64 {
    inline.store.stats().dead_events.load(std::sync::atomic::Ordering::Relaxed)
}

/// Ring answers a request at `at` by its clock.
fn hear(inline: &Inline, at: Millis) {
    let ring = inline.store.ring_clock();
    ring.answered(at, ring.asked());
}

/// Lets everything happen that is due.
pub(crate) fn settle(inline: &mut Inline, now: Millis) {
    while inline.tick(now) {}
}

#[test]
fn ids_are_remembered_for_their_time_and_leave_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = inline(&dir.path().join("store"), options(vec![spec("all")]));
    for n in 0..400 {
        accept(&mut inline, START, event(&n.to_string(), "a"));
    }
    settle(&mut inline, hours(75));
    assert_eq!(accept(&mut inline, hours(75), event("0", "a")), Accepted::Duplicate);
    settle(&mut inline, hours(77));
    assert_ne!(accept(&mut inline, hours(77), event("0", "a")), Accepted::Duplicate);
}

#[test]
fn what_nobody_claims_is_a_dead_letter_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = inline(&dir.path().join("store"), options(vec![spec("all")]));
    assert!(matches!(accept(&mut inline, START, event("1", "a")), Accepted::Held { .. }));
    settle(&mut inline, hours(23));
    assert_eq!(dead(&inline), 0);
    settle(&mut inline, hours(25));
    assert_eq!(dead(&inline), 1);
    settle(&mut inline, hours(48));
    assert_eq!(dead(&inline), 1, "dead letters have a time of their own");
    settle(&mut inline, hours(50));
    assert_eq!(dead(&inline), 0);
}

#[test]
fn held_bytes_have_a_bound_for_an_account_and_one_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(vec![spec("all")]);
    (options.held.max_bytes, options.held.total_bytes) = (2000, 5000);
    let mut inline = inline(&dir.path().join("store"), options);
    for n in 0..50 {
        accept(&mut inline, START, event(&n.to_string(), "a"));
    }
    let held = |inline: &Inline| inline.store.stats().held_events.load(std::sync::atomic::Ordering::Relaxed);
    let of_one = held(&inline);
    assert!((5..50).contains(&of_one) && dead(&inline) == 50 - of_one, "{of_one} held");
    for n in 50..100 {
        accept(&mut inline, START, event(&n.to_string(), &format!("a{n}")));
    }
    let of_all = held(&inline);
    assert!(of_all > of_one && of_all < 50 && dead(&inline) == 100 - of_all, "{of_all} held");
}

#[test]
fn what_passes_a_queues_bytes_is_a_dead_letter_and_so_is_what_gets_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let small = QueueSpec { max_bytes: 2000, ..spec("all") };
    let mut inline = inline(&dir.path().join("store"), options(vec![small]));
    link_at(&mut inline, START, "a");
    for n in 0..50 {
        accept(&mut inline, START, event(&n.to_string(), "a"));
    }
    settle(&mut inline, hours(1));
    let (left, bytes) = waiting(&inline, "all");
    assert!(bytes <= 2000 && left > 5 && dead(&inline) == 50 - left, "{left} wait in {bytes} bytes");
    settle(&mut inline, hours(25));
    assert_eq!((waiting(&inline, "all").0, dead(&inline)), (0, 50));
}

#[test]
fn letters_have_a_bound_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(vec![spec("all")]);
    options.quarantined.max_bytes = 2000;
    let mut inline = inline(&dir.path().join("store"), options);
    for n in 0..50 {
        accept(&mut inline, START, Incoming { anomaly: Some("not JSON"), ..event(&n.to_string(), "a") });
    }
    let kept = inline.store.stats().quarantined_events.load(std::sync::atomic::Ordering::Relaxed);
    assert!((5..50).contains(&kept), "{kept}");
}

#[test]
fn what_was_delivered_does_not_fill_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 4200, ..options(vec![spec("all")]) };
    let mut inline = inline(&dir.path().join("store"), options);
    for id in ["a", "b"] {
        link_at(&mut inline, START, id);
    }
    let store = inline.store.clone();
    let sent = (0..20).map(|n| {
        let (store, event) = (store.clone(), event(&n.to_string(), ["a", "b"][n % 2]));
        Box::pin(async move { assert!(store.inbox().accept(event).await.is_ok()) }) as Call
    });
    inline.run_all(START, sent.collect());
    // One of the two accounts is stuck: half of the only chunk waits.
    let lease = at_once(store.queues().lease(&queue("all"), &request(10), START)).unwrap().unwrap();
    let done = lease.events.iter().map(|leased| (leased.seq, Outcome::Done)).collect();
    inline.run(START, store.queues().settle(&queue("all"), lease.id, done)).unwrap();
    let kept = || {
        let stats = store.stats();
        [&stats.log_bytes, &stats.aside_bytes].map(|bytes| bytes.load(std::sync::atomic::Ordering::Relaxed))
    };
    let [log, _] = kept();
    assert!(log > 3150, "{log}");
    settle(&mut inline, hours(1));
    let [left, aside] = kept();
    assert!(left == 0 && aside < log * 2 / 3, "{left} in the log, {aside} aside of {log}");
    assert_eq!(waiting(&inline, "all").0, 10);
}

type Call = Pin<Box<dyn Future<Output = ()>>>;

/// Events of two accounts share a chunk, and the first is leased. What `act` does to the first in a single commit must
/// leave the other alone.
fn in_one_commit(act: impl Fn(&ringhookd::store::Store, u64, u64) -> Vec<Call>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut first = inline(&folder, options(vec![spec("all")]));
    link_at(&mut first, START, "a");
    link_at(&mut first, START, "b");
    let store = first.store.clone();
    let sent = ["a", "b"].map(|id| {
        let store = store.clone();
        Box::pin(async move { drop(store.inbox().accept(event(id, id)).await.unwrap()) }) as Call
    });
    first.run_all(START, sent.into());
    let lease = at_once(store.queues().lease(&queue("all"), &request(1), START)).unwrap().unwrap();
    assert_eq!(lease.events[0].event.key, "a");
    first.run_all(START, act(&store, lease.id, lease.events[0].seq));
    store.close();
    drop((first, store));
    let again = reopen(&folder, options(vec![spec("all")]));
    let lease = at_once(again.store.queues().lease(&queue("all"), &request(9), START)).unwrap().unwrap();
    let of_ring = lease.events.into_iter().filter(|leased| !is_told(&leased.event));
    assert_eq!(of_ring.map(|leased| leased.event.key).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_is_remembered_of_a_forgotten_account_leaves_after_76_hours() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = inline(&dir.path().join("store"), options(vec![spec("all")]));
    for id in ["a", "b"] {
        link_at(&mut inline, START, id);
    }
    for (id, at) in [("a", START), ("b", hours(10))] {
        let store = inline.store.clone();
        inline.run(at, async move { store.links().forget(account(id)).await }).unwrap().unwrap();
        settle(&mut inline, at);
    }
    for (at, left) in [(76, 2), (77, 1), (86, 1), (87, 0)] {
        settle(&mut inline, hours(at));
        assert_eq!(inline.tombstones(), left, "after {at} hours");
    }
}

#[test]
fn an_account_is_forgotten_beside_its_acknowledgement_and_no_other_loses_anything() {
    in_one_commit(|store, lease, seq| {
        let (settling, forgetting) = (store.clone(), store.clone());
        vec![
            Box::pin(async move {
                let done = vec![(seq, Outcome::Done)];
                assert_eq!(settling.queues().settle(&queue("all"), lease, done).await.unwrap(), 1);
            }),
            Box::pin(async move { drop(forgetting.links().forget(account("a")).await.unwrap().unwrap()) }),
        ]
    });
}

#[test]
fn a_failure_beside_a_forgotten_account_leaves_nothing_behind() {
    in_one_commit(|store, lease, seq| {
        let (settling, forgetting) = (store.clone(), store.clone());
        vec![
            Box::pin(async move {
                let failed = Outcome::Failed { due: START, why: "no".into() };
                assert_eq!(
                    settling.queues().settle(&queue("all"), lease, vec![(seq, failed)]).await.unwrap(),
                    1
                );
            }),
            Box::pin(async move { drop(forgetting.links().forget(account("a")).await.unwrap().unwrap()) }),
        ]
    });
}

#[test]
fn a_queue_that_is_removed_twice_at_once_takes_nothing_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut first = inline(&folder, options(vec![spec("all"), spec("old")]));
    link_at(&mut first, START, "a");
    for n in 0..20 {
        accept(&mut first, START, event(&n.to_string(), "a"));
    }
    first.store.close();
    drop(first);
    let mut again = reopen(&folder, options(vec![spec("all")]));
    let remove = |_| {
        let store = again.store.clone();
        let remove = async move { assert!(store.queues().remove(&queue("old")).await.is_ok()) };
        Box::pin(remove) as Call
    };
    let twice: Vec<Call> = [1, 2].map(remove).into();
    again.run_all(START, twice);
    let lease = at_once(again.store.queues().lease(&queue("all"), &request(99), START)).unwrap().unwrap();
    assert_eq!(lease.events.len(), 20);
}

/// The keys that a look at the queue shows.
/// Of Ring's events.
pub(crate) fn seen(inline: &Inline, name: &str) -> Vec<String> {
    let shown = at_once(inline.store.queues().peek(&queue(name), 5000, u64::MAX, &Scope::default())).unwrap();
    shown.into_iter().filter(|leased| !is_told(&leased.event)).map(|leased| leased.event.key).collect()
}

/// Whether the event tells a queue that an account was forgotten.
fn is_told(event: &Event) -> bool {
    event.kind == FORGOTTEN
}

/// An account with 1200 events in each of two queues, one with as many that are held, and one with a single event.
pub(crate) fn with_much(folder: &Path) -> Inline {
    let mut options = options(vec![spec("all"), spec("more")]);
    options.held.max_events = 2000;
    let mut first = inline(folder, options);
    link_at(&mut first, START, "much");
    link_at(&mut first, START, "other");
    let sent = (0..1200).flat_map(|n| [(format!("m{n}"), "much"), (format!("h{n}"), "held")]);
    let sent = sent.chain([("o".to_owned(), "other")]).map(|(id, of)| {
        let store = first.store.clone();
        Box::pin(async move { drop(store.inbox().accept(event(&id, of)).await.unwrap()) }) as Call
    });
    let sent = sent.collect();
    first.run_all(START, sent);
    first
}

#[test]
fn an_account_with_much_is_forgotten_at_once_and_emptied_in_small_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = with_much(&dir.path().join("store"));
    let kept = |inline: &Inline| {
        let held = inline.store.stats().held_events.load(std::sync::atomic::Ordering::Relaxed);
        waiting(inline, "all").0 + waiting(inline, "more").0 + held
    };
    for (of, commits) in [("much", 5), ("held", 3)] {
        let store = inline.store.clone();
        let mut forget = pin!(store.links().forget(account(of)));
        let (mut before, mut steps) = (kept(&inline), 0);
        while forget.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            inline.commit(START);
            let left = kept(&inline);
            // In the first commit, which takes none out, its queues are told.
            let gone = before.saturating_sub(left);
            assert!(gone <= 500, "{gone} events in one commit");
            assert_eq!(seen(&inline, "all"), ["o"], "after {steps} steps");
            (before, steps) = (left, steps + 1);
        }
        assert!(steps > commits, "{steps}");
    }
    assert_eq!(
        kept(&inline),
        4,
        "the other's in two queues, and that both are told of the one that was linked"
    );
    settle(&mut inline, START.plus(HOUR));
    assert_eq!((kept(&inline), dead(&inline)), (4, 0));
}

#[test]
fn a_forget_that_is_broken_off_ends_by_itself_and_nobody_reads_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut first = with_much(&folder);
    let store = first.store.clone();
    for of in ["much", "held"] {
        let mut forget = pin!(store.links().forget(account(of)));
        assert!(forget.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        first.commit(START);
    }
    store.close();
    drop((first, store));

    let mut again = reopen(&folder, options(vec![spec("all"), spec("more")]));
    assert_eq!((waiting(&again, "all").0, seen(&again, "all")), (1202, vec!["o".to_owned()]));
    let lease = at_once(again.store.queues().lease(&queue("all"), &request(600), START)).unwrap();
    assert!(lease.is_none_or(|lease| {
        lease.events.iter().all(|leased| leased.event.key == "o" || is_told(&leased.event))
    }));
    again.commit(START);
    assert_eq!(waiting(&again, "all").0, 602, "none of them waits for its turn again");
    settle(&mut again, START);
    assert_eq!((waiting(&again, "all").0, waiting(&again, "more").0, dead(&again)), (2, 2, 0));
    let view = again.store.queues().list().into_iter().find(|view| view.name == queue("all")).unwrap();
    assert_eq!(view.totals.delivered, 0, "nothing of it was");
    let stats = again.store.stats();
    let [held, dropped] =
        [&stats.held_events, &stats.dropped].map(|n| n.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!((held, dropped), (0, 3 * 1200));
}

/// The caller is gone after the commit that matters, and in one of two cases the process too.
#[test]
fn dead_letters_of_a_forget_that_is_broken_off_leave_by_themselves() {
    for is_restarted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("store");
        let quiet = || {
            let types = vec![TypePattern::parse("none_of_these").unwrap()];
            QueueSpec { filter: Filter { types, ..Filter::default() }, ..spec("quiet") }
        };
        let mut inline = inline(&folder, options(vec![quiet()]));
        for (key, of) in [("1", "a"), ("2", "b"), ("3", "a")] {
            link_at(&mut inline, START, of);
            accept(&mut inline, START, event(key, of));
        }
        let unrouted =
            |inline: &Inline| inline.store.stats().unrouted_events.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(unrouted(&inline), 3);
        let store = inline.store.clone();
        {
            let mut forget = pin!(store.links().forget(account("a")));
            assert!(forget.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            inline.commit(START);
        }
        if is_restarted {
            store.close();
            drop((inline, store));
            inline = reopen(&folder, options(vec![quiet()]));
        }
        settle(&mut inline, START.plus(HOUR));
        assert_eq!(unrouted(&inline), 1, "restarted: {is_restarted}");
    }
}

#[test]
fn a_clock_that_is_set_ends_no_lease_and_counts_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let mut inline = inline(&dir.path().join("store"), options(vec![spec("all")]));
    link_at(&mut inline, START, "a");
    accept(&mut inline, START, event("1", "a"));
    let wish = LeaseRequest { until: START.plus(HOUR), ..request(1) };
    let lease = at_once(inline.store.queues().lease(&queue("all"), &wish, START)).unwrap().unwrap();
    inline.look(START, HOUR);
    // Ten hours on the wall in a minute.
    let minute = HOUR / 60;
    let jumped = START.plus(10 * HOUR);
    inline.look(jumped, HOUR + minute);
    settle(&mut inline, jumped.plus(58 * minute));
    let store = inline.store.clone();
    assert!(
        at_once(store.queues().lease(&queue("all"), &request(1), jumped.plus(58 * minute)))
            .unwrap()
            .is_none()
    );
    settle(&mut inline, jumped.plus(HOUR));
    let again =
        at_once(store.queues().lease(&queue("all"), &request(1), jumped.plus(HOUR))).unwrap().unwrap();
    assert_eq!((again.events[0].attempt, lease.events[0].attempt), (2, 1), "its own hour is over");
}

#[test]
fn a_reader_that_waits_asks_the_writer_once_whose_events_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut inline = inline(&folder, options(vec![spec("all")]));
    let store = inline.store.clone();
    let (users, accounts) = ([user("ann")], [account("a"), account("b")]);
    let scope = || store.queues().scope(Some(&users), Some(&accounts));
    let finds = |scope: &Scope| {
        let wish = LeaseRequest { scope: scope.clone(), ..request(9) };
        let lease = at_once(store.queues().lease(&queue("all"), &wish, START)).unwrap();
        lease.inspect(|lease| store.queues().release(&queue("all"), lease.id)).is_some()
    };
    let none = inline.run(START, scope()).unwrap();
    assert!(!finds(&none) && none.accounts.unwrap().is_empty());

    accept(&mut inline, START, event("1", "z"));
    link_at(&mut inline, START, "a");
    accept(&mut inline, START, event("2", "a"));
    let seen = at_once(scope()).unwrap();
    assert!(finds(&seen), "an account that became known meanwhile");
    let forget = async |id: &str| store.links().forget(account(id)).await.unwrap().unwrap();
    inline.run(START, forget("a"));
    link_at(&mut inline, START, "a");
    let mut third = event("3", "a");
    third.event.time = Some(START);
    accept(&mut inline, START, third);
    assert_ne!(at_once(scope()).unwrap(), seen, "it has another number now");
    assert!(!finds(&seen) && finds(&at_once(scope()).unwrap()));
}

/// `[linking] forget_after_removal`: of three accounts whose apps are removed one is linked again in time, and one is another's by then.
#[test]
fn an_account_whose_app_was_removed_is_forgotten_after_its_time_unless_it_is_linked_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let settings = |after| Options { forget_removed_after: after, ..options(vec![spec("all")]) };
    let (after, day) = (Some(30 * 24 * HOUR), |n: u32| START.plus(n * 24 * HOUR));
    let mut first = inline(&folder, settings(after));
    for (key, id) in [("1", "gone"), ("2", "back"), ("3", "moved"), ("4", "stays")] {
        link_at(&mut first, START, id);
        accept(&mut first, START, event(key, id));
        if id != "stays" {
            let mut removed = event_of(&format!("r{key}"), Some(id), "app_integration_removed", None);
            removed.event.time = Some(day(1));
            accept(&mut first, day(1), removed);
        }
    }
    let is_there = |inline: &mut Inline, at: Millis, id: &str| {
        let store = inline.store.clone();
        inline.run(at, async move { store.links().account(account(id)).await }).unwrap().is_some()
    };
    let all = |inline: &mut Inline, at: Millis| {
        ["gone", "back", "moved", "stays"].map(|id| is_there(inline, at, id))
    };
    hear(&first, day(30));
    settle(&mut first, day(30));
    assert_eq!(all(&mut first, day(30)), [true; 4], "its time is not over");
    let store = first.store.clone();
    let tokens = Some(tokens("access", "refresh"));
    let import = Import { account: account("back"), user: Some(user("ann")), tokens, replace: false };
    first.run(day(30), async { store.links().import(import).await }).unwrap().unwrap();
    let moved = store.links().set_user(account("moved"), user("bob"), true);
    first.run(day(30), moved).unwrap().unwrap();
    store.close();
    drop((first, store));

    let mut without = reopen(&folder, settings(None));
    hear(&without, day(60));
    settle(&mut without, day(60));
    assert_eq!(all(&mut without, day(60)), [true; 4], "not without the setting");
    without.store.close();
    drop(without);
    let mut again = reopen(&folder, settings(after));
    settle(&mut again, day(40));
    assert_eq!(all(&mut again, day(40)), [true; 4], "not before Ring is heard");
    hear(&again, day(32));
    while again.tick_in_doubt(day(32)) {}
    assert_eq!(all(&mut again, day(32)), [true; 4], "not by a clock that is not believed");
    hear(&again, day(20));
    settle(&mut again, day(40));
    assert_eq!(all(&mut again, day(40)), [true; 4], "not where our clock alone is that far");
    hear(&again, day(32));
    settle(&mut again, day(32));
    assert_eq!(all(&mut again, day(32)), [false, true, true, true]);
    settle(&mut again, day(32).plus(HOUR));
    let lease = at_once(again.store.queues().lease(&queue("all"), &request(99), day(32))).unwrap().unwrap();
    let told: Vec<_> = lease.events.iter().filter(|leased| is_told(&leased.event)).collect();
    assert_eq!(told.len(), 1, "its queue is told once");
    let store = again.store.clone();
    let audit = again.run(day(32), async { store.audit().newest(ActFilter::default(), None, 9).await });
    let (acts, _) = audit.unwrap();
    assert_eq!((acts.len(), acts[0].act, &acts[0].by), (1, Act::ForgetAccount, &None), "the daemon did it");
    assert!(acts[0].forgotten && acts[0].detail.as_deref().unwrap().contains("30 days ago"), "{acts:?}");
    hear(&again, day(62));
    settle(&mut again, day(62));
    assert_eq!(all(&mut again, day(62)), [false, true, false, true], "nobody has linked it since");
}

/// The setting is new in a store with many accounts whose apps were removed long ago.
#[test]
fn many_removed_accounts_are_forgotten_a_few_at_a_time_and_events_expire_meanwhile() {
    const MANY: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let settings = |after| Options { forget_removed_after: after, ..options(vec![spec("all")]) };
    let mut inline = inline(&dir.path().join("store"), settings(Some(30 * 24 * HOUR)));
    let day = |n: u32| START.plus(n * 24 * HOUR);
    let store = inline.store.clone();
    let linked = (0..MANY).map(|n| {
        let (store, account) = (store.clone(), account(&format!("a{n}")));
        let import = Import { account, user: Some(user("ann")), tokens: None, replace: false };
        Box::pin(async move { drop(store.links().import(import).await.unwrap().unwrap()) }) as Call
    });
    inline.run_all(START, linked.collect());
    let removed = (0..MANY).map(|n| {
        let of = format!("a{n}");
        let mut removed = event_of(&n.to_string(), Some(&of), "app_integration_removed", None);
        removed.event.time = Some(day(1));
        let store = store.clone();
        Box::pin(async move { drop(store.inbox().accept(removed).await.unwrap()) }) as Call
    });
    inline.run_all(day(1), removed.collect());
    for at in [3, 5] {
        settle(&mut inline, day(at));
    }
    let minutes = |n: u32| day(32).plus(n * HOUR / 60);
    link_at(&mut inline, day(5), "stays");
    accept(&mut inline, minutes(1).minus(24 * HOUR), event("stays", "stays"));

    hear(&inline, day(32));
    settle(&mut inline, day(32));
    let first = inline.tombstones();
    assert!((1..=20).contains(&first), "{first} at once");
    assert_eq!(seen(&inline, "all"), ["stays"]);
    let (mut steps, mut rounds) = (0, 0);
    while !seen(&inline, "all").is_empty() {
        assert!(steps < MANY / 2, "its max_age is over since {steps} steps");
        inline.tick(minutes(2));
        steps += 1;
    }
    while inline.tombstones() < MANY {
        rounds += 1;
        assert!(rounds < 100, "{} are forgotten", inline.tombstones());
        settle(&mut inline, minutes(2 + 2 * rounds));
    }
}
