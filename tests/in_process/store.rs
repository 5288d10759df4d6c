//! The store through its interface: durable, once, in order, to the right user.

use std::time::Duration;

use crate::support::*;
use ringhookd::clock;
use ringhookd::domain::dedup::Identity;
use ringhookd::domain::released::Released;
use ringhookd::domain::routing::{Filter, Selection, TypePattern};
use ringhookd::store::{
    Accepted, AccountRefusal, Class, Health, LeaseRequest, LetterFilter, LinkState, Outcome, QueueSpec,
    StoreError, Unclaimed,
};

fn only_user(name: &str, user: &str) -> QueueSpec {
    let users = Selection::Only([user.into()].into_iter().collect());
    QueueSpec { filter: Filter { users, ..Filter::default() }, ..spec(name) }
}

fn only_type(name: &str, pattern: &str) -> QueueSpec {
    let types = vec![TypePattern::parse(pattern).unwrap()];
    QueueSpec { filter: Filter { types, ..Filter::default() }, ..spec(name) }
}

#[tokio::test]
async fn an_event_reaches_every_queue_that_matches_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let queues = || vec![spec("all"), only_type("buttons", "button_*"), only_user("anns", "ann")];
    let store_ = store(&folder, queues());
    link(&store_, "a", "ann").await;
    link(&store_, "b", "bob").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    store_.inbox().accept(event_of("2", Some("b"), "button_press", None)).await.unwrap();
    store_.inbox().accept(event("3", "b")).await.unwrap();
    assert_eq!(drain(&store_, "all", 1).await[0].event.key, "1");
    store_.close();

    let store_ = open(&folder, options(queues())).unwrap();
    assert_eq!(drain_keys(&store_, "all").await, ["2", "3"]);
    assert_eq!(drain_keys(&store_, "buttons").await, ["2"]);
    let anns = drain(&store_, "anns", 9).await;
    assert_eq!(anns.len(), 1);
    assert_eq!(anns[0].event.user, Some(user("ann")));
    assert_eq!(&anns[0].event.body[..], &event("1", "a").event.body[..]);
    assert_eq!(store_.stats().log_bytes.load(std::sync::atomic::Ordering::Relaxed), 0, "all done, all gone");
}

#[tokio::test]
async fn duplicates_are_dropped_also_across_restarts_and_conflicts_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![spec("all")]);
    link(&store_, "a", "ann").await;
    let mut other = event("1", "a");
    other.event.body = "{\"other\":1}".into();
    (_, other.identity) = Identity::of(Some("1"), &other.event.body);
    assert!(matches!(store_.inbox().accept(event("1", "a")).await, Ok(Accepted::Queued { queues: 1, .. })));
    assert_eq!(store_.inbox().accept(event("1", "a")).await, Ok(Accepted::Duplicate));
    assert!(matches!(store_.inbox().accept(other.clone()).await, Ok(Accepted::Queued { .. })));
    store_.close();
    let store_ = open(&folder, options(vec![spec("all")])).unwrap();
    assert_eq!(store_.inbox().accept(event("1", "a")).await, Ok(Accepted::Duplicate));
    assert_eq!(store_.inbox().accept(other.clone()).await, Ok(Accepted::Duplicate));
    let keys = drain_keys(&store_, "all").await;
    assert_eq!(keys, ["1".to_owned(), other.identity.conflicting("1").0]);
}

#[tokio::test]
async fn a_thousand_duplicates_at_once_are_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    let tasks: Vec<_> = (0..1000)
        .map(|i| {
            let store = store_.clone();
            tokio::spawn(async move { store.inbox().accept(event(&format!("{}", i % 10), "a")).await })
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        fresh += usize::from(task.await.unwrap().unwrap() != Accepted::Duplicate);
    }
    assert_eq!(fresh, 10);
    assert_eq!(drain_keys(&store_, "all").await.len(), 10);
}

#[tokio::test]
async fn ids_leave_oldest_first_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    create(&folder);
    let few = || ringhookd::store::Options { max_ids: 500, ..options(vec![spec("all")]) };
    let store_ = open(&folder, few()).unwrap();
    for i in 0..1000 {
        store_.inbox().accept(event(&i.to_string(), "a")).await.unwrap();
    }
    let ids = || store_.stats().ids.load(std::sync::atomic::Ordering::Relaxed);
    assert!((341..=500).contains(&ids()), "{}", ids());
    assert!(store_.short_memory(later(HOUR)).is_some_and(|covered| covered < 2 * HOUR), "an alarm");
    assert_eq!(store_.short_memory(later(77 * HOUR)), None, "enough is covered");
    assert_eq!(store_.inbox().accept(event("999", "a")).await, Ok(Accepted::Duplicate));
    assert_ne!(store_.inbox().accept(event("0", "a")).await, Ok(Accepted::Duplicate), "left early");
    store_.close();
    let store_ = open(&folder, few()).unwrap();
    assert_eq!(store_.inbox().accept(event("999", "a")).await, Ok(Accepted::Duplicate));
}

#[tokio::test]
async fn events_of_an_unclaimed_account_are_held_and_released_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let eager = QueueSpec { unclaimed: Unclaimed::Deliver, ..spec("eager") };
    let store_ = store(&folder, vec![spec("all"), eager.clone(), only_user("bobs", "bob")]);
    for id in ["1", "2", "3"] {
        let held = store_.inbox().accept(event(id, "a")).await.unwrap();
        assert!(matches!(held, Accepted::Held { queues: 1, .. }), "{held:?}");
    }
    assert!(drain_keys(&store_, "all").await.is_empty());
    assert_eq!(drain_keys(&store_, "eager").await, ["1", "2", "3"]);
    store_.close();

    let store_ =
        open(&folder, options(vec![spec("all"), eager, only_user("bobs", "bob"), spec("new")])).unwrap();
    let bound = store_.links().set_user(account("a"), user("ann"), false).await.unwrap().unwrap();
    let to_each = [(queue("all"), 3), (queue("new"), 3)].into();
    assert_eq!(bound.released, Released { events: 3, queues: to_each, ..Released::default() });
    store_.inbox().accept(event("4", "a")).await.unwrap();
    assert_eq!(drain_keys(&store_, "all").await, ["1", "2", "3", "4"]);
    assert_eq!(drain_keys(&store_, "new").await, ["1", "2", "3", "4"], "queues of the time of the release");
    assert_eq!(drain_keys(&store_, "eager").await, ["4"], "it had the others");
    assert!(drain_keys(&store_, "bobs").await.is_empty(), "not bob's");
}

#[tokio::test]
async fn what_is_held_has_bounds_and_goes_to_the_dead_letters_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    for i in 0..103 {
        store_.inbox().accept(event(&i.to_string(), "a")).await.unwrap();
    }
    let (letters, _) = store_.queues().letters(&LetterFilter::default(), None).await.unwrap();
    let keys: Vec<_> = letters.iter().map(|l| l.event.as_ref().unwrap().key.as_str()).collect();
    assert_eq!(keys, ["0", "1", "2"]);
    let bound = store_.links().set_user(account("a"), user("ann"), false).await.unwrap().unwrap();
    assert_eq!(bound.released.queues, [(queue("all"), 100)].into());
    let replayed = store_.queues().replay_letters(LetterFilter::default(), None).await.unwrap();
    assert_eq!(replayed.done, 3);
    assert_eq!(drain_keys(&store_, "all").await.len(), 103);
}

#[tokio::test]
async fn an_account_moves_to_another_user_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![only_user("anns", "ann"), only_user("bobs", "bob")]);
    link(&store_, "a", "ann").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    let refused = store_.links().set_user(account("a"), user("bob"), false).await.unwrap();
    assert_eq!(refused, Err(AccountRefusal::OtherUser(user("ann"))));
    store_.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    store_.inbox().accept(event("2", "a")).await.unwrap();
    assert_eq!(drain_keys(&store_, "anns").await, ["1"]);
    assert_eq!(drain_keys(&store_, "bobs").await, ["2"]);
    assert_eq!(
        store_.links().set_user(account("x"), user("bob"), true).await.unwrap(),
        Err(AccountRefusal::Unknown)
    );
}

#[tokio::test]
async fn a_restricted_reader_gets_one_users_events_only() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    link(&store_, "b", "bob").await;
    for (id, of) in [("1", "a"), ("2", "b"), ("3", "a")] {
        store_.inbox().accept(event(id, of)).await.unwrap();
    }
    store_.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    store_.inbox().accept(event("4", "a")).await.unwrap();
    let scope = async |name: &str| store_.queues().scope(Some(&[user(name)]), None).await.unwrap();
    let of = async |name: &str| LeaseRequest { scope: scope(name).await, ..request(9) };
    let keys = |lease: Option<ringhookd::store::Lease>| -> Vec<String> {
        lease.map(|l| l.events.into_iter().map(|e| e.event.key).collect()).unwrap_or_default()
    };
    let peeked = store_.queues().peek(&queue("all"), 9, u64::MAX, &scope("ann").await).await.unwrap();
    assert_eq!(peeked.iter().map(|e| e.event.key.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(
        keys(store_.queues().lease(&queue("all"), &of("ann").await, clock::now()).await.unwrap()),
        ["1", "3"]
    );
    assert_eq!(
        keys(store_.queues().lease(&queue("all"), &of("bob").await, clock::now()).await.unwrap()),
        ["2"],
        "a has a holder"
    );
    assert!(
        keys(store_.queues().lease(&queue("all"), &of("eve").await, clock::now()).await.unwrap()).is_empty()
    );
}

#[tokio::test]
async fn a_reader_can_be_restricted_to_accounts_and_give_its_lease_back() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    for (id, of) in [("1", "a"), ("2", "b"), ("3", "a")] {
        link(&store_, of, "ann").await;
        store_.inbox().accept(event(id, of)).await.unwrap();
    }
    let scope = store_.queues().scope(None, Some(&[account("b"), account("unknown")])).await.unwrap();
    let of_b = LeaseRequest { scope: scope.clone(), ..request(9) };
    let keys = |events: &[ringhookd::store::Leased]| -> Vec<String> {
        events.iter().map(|e| e.event.key.clone()).collect()
    };
    assert_eq!(keys(&store_.queues().peek(&queue("all"), 9, u64::MAX, &scope).await.unwrap()), ["2"]);
    let lease = store_.queues().lease(&queue("all"), &of_b, clock::now()).await.unwrap().unwrap();
    assert_eq!(keys(&lease.events), ["2"]);
    assert!(store_.queues().lease(&queue("all"), &of_b, clock::now()).await.unwrap().is_none());
    store_.queues().release(&queue("all"), lease.id);
    let again = store_.queues().lease(&queue("all"), &of_b, clock::now()).await.unwrap().unwrap();
    assert_eq!((keys(&again.events), again.events[0].attempt), (vec!["2".to_owned()], 1));
    assert_eq!(
        store_.queues().settle(&queue("all"), lease.id, vec![(lease.events[0].seq, Outcome::Done)]).await,
        Ok(0)
    );
}

#[tokio::test]
async fn a_store_is_inspected_only_while_nobody_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let inspect = |environment: &str| ringhookd::store::Store::inspect(&folder, environment, &vault());
    assert!(matches!(inspect("test"), Err(StoreError::Missing { .. })));
    let store_ = store(&folder, vec![spec("all")]);
    assert!(matches!(inspect("test"), Err(StoreError::InUse { .. })));
    store_.close();
    assert_eq!(inspect("test").unwrap(), ringhookd::store::SCHEMA);
    assert!(matches!(inspect("other"), Err(StoreError::Environment { .. })));
    let other = ringhookd::vault::Vault::from_hex("cd".repeat(32).as_bytes(), None).unwrap();
    let wrong = ringhookd::store::Store::inspect(&folder, "test", &other);
    assert!(matches!(wrong, Err(StoreError::WrongKey { .. })));
    std::fs::write(folder.join("store.redb"), b"").unwrap();
    assert!(matches!(inspect("test"), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn attempts_survive_a_restart_and_end_among_the_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut store_ = store(&folder, vec![spec("all")]);
    link(&store_, "a", "ann").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    store_.inbox().accept(event("2", "a")).await.unwrap();
    for attempt in 1..=3 {
        let lease = store_.queues().lease(&queue("all"), &request(9), clock::now()).await.unwrap().unwrap();
        assert_eq!((lease.events[0].event.key.as_str(), lease.events[0].attempt), ("1", attempt));
        let failed = Outcome::Failed { due: clock::now(), why: "no luck".into() };
        assert_eq!(
            store_.queues().settle(&queue("all"), lease.id, vec![(lease.events[0].seq, failed)]).await,
            Ok(1)
        );
        store_.close();
        store_ = open(&folder, options(vec![spec("all")])).unwrap();
    }
    assert_eq!(drain_keys(&store_, "all").await, ["2"]);
    let (letters, _) = store_.queues().letters(&LetterFilter::default(), None).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].failures, letters[0].why.contains("no luck")), (3, true));
    store_
        .queues()
        .replay_letters(LetterFilter { ids: vec![letters[0].id], ..LetterFilter::default() }, None)
        .await
        .unwrap();
    assert_eq!(drain_keys(&store_, "all").await, ["1"]);
}

#[tokio::test]
async fn a_lease_that_ran_out_settles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    let soon = LeaseRequest { until: clock::now(), ..request(1) };
    let lease = store_.queues().lease(&queue("all"), &soon, clock::now()).await.unwrap().unwrap();
    // The writer counts the attempt on its next tick and frees the event.
    let again = loop {
        if let Some(again) = store_.queues().lease(&queue("all"), &request(1), clock::now()).await.unwrap() {
            break again;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(again.events[0].attempt, 2);
    let late =
        store_.queues().settle(&queue("all"), lease.id, vec![(lease.events[0].seq, Outcome::Done)]).await;
    assert_eq!(late, Ok(0), "the first holder lost it");
    let done =
        store_.queues().settle(&queue("all"), again.id, vec![(again.events[0].seq, Outcome::Done)]).await;
    assert_eq!(done, Ok(1));
    assert!(drain_keys(&store_, "all").await.is_empty());
}

#[tokio::test]
async fn a_removed_queue_keeps_its_backlog_until_it_is_removed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![spec("all"), spec("old")]);
    link(&store_, "a", "ann").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    assert_eq!(store_.queues().remove(&queue("old")).await.unwrap(), None, "still configured");
    store_.close();
    let store_ = open(&folder, options(vec![spec("all")])).unwrap();
    store_.inbox().accept(event("2", "a")).await.unwrap();
    let old = store_.queues().list().into_iter().find(|q| q.name == queue("old")).unwrap();
    assert_eq!((old.configured, old.waiting), (false, 1));
    assert_eq!(store_.queues().remove(&queue("old")).await.unwrap(), Some(1));
    assert!(store_.queues().list().iter().all(|q| q.name != queue("old")));
    store_.close();
    let store_ = open(&folder, options(vec![spec("all"), spec("old")])).unwrap();
    assert!(drain_keys(&store_, "old").await.is_empty());
    assert_eq!(drain_keys(&store_, "all").await, ["1", "2"]);
}

#[tokio::test]
async fn forgetting_an_account_leaves_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![spec("all")]);
    link(&store_, "a", "ann").await;
    link(&store_, "b", "bob").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    store_.inbox().accept(event("2", "b")).await.unwrap();
    let keys = async || store_.keys_by_master().await.unwrap()[0].1;
    assert_eq!(keys().await, 3, "and that of receipts");
    let deletion = store_.links().forget(account("a")).await.unwrap().unwrap();
    assert_eq!((deletion.waiting, deletion.held, deletion.dead_letters), (1, 0, 0));
    assert_eq!(deletion.queues_told, [queue("all")]);
    assert_eq!(keys().await, 2, "its key is destroyed");
    assert_eq!(store_.links().forget(account("a")).await.unwrap(), Err(AccountRefusal::Unknown));
    assert_eq!(store_.links().account(account("a")).await.unwrap(), None);
    store_.close();
    let store_ = open(&folder, options(vec![spec("all")])).unwrap();
    let left = drain(&store_, "all", 10).await;
    let kinds: Vec<&str> = left.iter().map(|leased| leased.event.kind.as_str()).collect();
    assert_eq!(kinds, ["motion_detected", "account.forgotten"]);
    assert_eq!(left[0].event.key, "2");
    assert_eq!(left[1].event.user, Some(user("ann")));
    assert!(
        matches!(store_.inbox().accept(event("3", "a")).await, Ok(Accepted::Held { .. })),
        "a stranger again"
    );
    assert_eq!(store_.inbox().accept(event("1", "a")).await, Ok(Accepted::Duplicate), "ids are remembered");
}

#[tokio::test]
async fn an_unlink_destroys_the_tokens_only_and_an_old_one_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    let import = || ringhookd::store::Import {
        account: account("a"),
        user: Some(user("ann")),
        tokens: Some(tokens("at", "rt")),
        replace: false,
    };
    store_.links().import(import()).await.unwrap().unwrap();
    let access = store_.links().access(account("a")).await.unwrap().unwrap();
    assert_eq!(access.token.unwrap().expose(), "at");
    store_.inbox().accept(event("1", "a")).await.unwrap();
    let mut old = event_of("2", Some("a"), "app_integration_removed", None);
    old.event.time = Some(clock::now().minus(HOUR));
    store_.inbox().accept(old).await.unwrap();
    assert!(
        store_.links().account(account("a")).await.unwrap().unwrap().tokens.is_some(),
        "older than the link"
    );

    let keys = async || store_.keys_by_master().await.unwrap()[0].1;
    assert_eq!(keys().await, 3, "and that of receipts");
    let mut removed = event_of("3", Some("a"), "app_integration_removed", None);
    removed.event.time = Some(later(HOUR));
    store_.inbox().accept(removed).await.unwrap();
    assert_eq!(keys().await, 2, "the tokens' key is destroyed, the events' is not");
    let view = store_.links().account(account("a")).await.unwrap().unwrap();
    assert_eq!((view.state, view.tokens.is_some()), (LinkState::Removed, false));
    assert!(store_.links().access(account("a")).await.unwrap().is_none());
    assert_eq!(drain_keys(&store_, "all").await, ["1", "2", "3"], "the backlog still reaches its queue");
}

#[tokio::test]
async fn an_event_without_an_account_is_found_through_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    store_.inbox().accept(event_of("1", Some("a"), "device_added", Some("d1"))).await.unwrap();
    store_.inbox().accept(event_of("2", None, "motion_detected", Some("d1"))).await.unwrap();
    let unknown = store_.inbox().accept(event_of("3", None, "motion_detected", Some("d2"))).await.unwrap();
    assert!(matches!(unknown, Accepted::Unrouted { .. }), "{unknown:?}");
    store_.inbox().accept(event_of("4", Some("a"), "device_removed", Some("d1"))).await.unwrap();
    let gone = store_.inbox().accept(event_of("5", None, "motion_detected", Some("d1"))).await.unwrap();
    assert!(matches!(gone, Accepted::Unrouted { .. }), "{gone:?}");
    let events = drain(&store_, "all", 9).await;
    assert_eq!(events.iter().map(|e| e.event.key.as_str()).collect::<Vec<_>>(), ["1", "2", "4"]);
    assert_eq!(events[1].event.account, Some(account("a")));
}

#[tokio::test]
async fn what_is_not_understood_is_kept_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    create(&folder);
    let mut options = options(vec![spec("all")]);
    options.quarantined.max_events = 5;
    let store_ = open(&folder, options).unwrap();
    for i in 0..8 {
        let mut odd = event_of(&i.to_string(), None, "", None);
        odd.anomaly = Some("not JSON");
        assert!(matches!(store_.inbox().accept(odd).await, Ok(Accepted::Quarantined { .. })));
    }
    let filter = LetterFilter { class: Some(Class::Quarantined), ..LetterFilter::default() };
    let (letters, _) = store_.queues().letters(&filter, None).await.unwrap();
    let keys: Vec<_> = letters.iter().map(|l| l.event.as_ref().unwrap().key.as_str()).collect();
    assert_eq!(keys, ["3", "4", "5", "6", "7"]);
    assert_eq!(store_.stats().dropped.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_full_store_refuses_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    create(&folder);
    let small = ringhookd::store::Options { max_bytes: 4096, ..options(vec![spec("all")]) };
    let store_ = open(&folder, small).unwrap();
    link(&store_, "a", "ann").await;
    let mut accepted = 0;
    let refused = loop {
        match store_.inbox().accept(event(&accepted.to_string(), "a")).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert_eq!(store_.inbox().accept(event("0", "a")).await, Ok(Accepted::Duplicate), "kept is kept");
    assert_eq!(drain_keys(&store_, "all").await.len(), accepted);
    assert!(store_.inbox().accept(event("more", "a")).await.is_ok());
    assert_eq!(store_.health(), Health::Ready);
}

#[tokio::test]
async fn keys_are_rewrapped_while_running_and_the_old_master_key_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let old = "ab".repeat(32);
    let new = "cd".repeat(32);
    let vault = |current: &str, previous: Option<&str>| {
        ringhookd::vault::Vault::from_hex(current.as_bytes(), previous.map(str::as_bytes)).unwrap()
    };
    let open = |vault| ringhookd::store::Store::open(&folder, "test", vault, options(vec![spec("all")]));
    let store_ = store(&folder, vec![spec("all")]);
    for i in 0..700 {
        link(&store_, &format!("a{i}"), "ann").await;
        store_.inbox().accept(event(&i.to_string(), &format!("a{i}"))).await.unwrap();
    }
    store_.close();
    let refused = open(vault(&new, None)).unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused}");

    let store_ = open(vault(&new, Some(&old))).unwrap();
    store_.close();
    let refused = open(vault(&old, None)).unwrap_err();
    assert!(
        matches!(refused, StoreError::WrongKey { .. }),
        "keys may have been made under the new one: {refused}"
    );

    let store_ = open(vault(&new, Some(&old))).unwrap();
    let first = store_.rewrap_keys(None).await.unwrap();
    assert_eq!((first.changed, first.next.is_some()), (500, true));
    store_.close();
    assert!(matches!(open(vault(&new, None)), Err(StoreError::WrongKey { .. })), "interrupted half way");

    let store_ = open(vault(&new, Some(&old))).unwrap();
    let (mut next, mut changed) = (None, 0);
    loop {
        let step = store_.rewrap_keys(next).await.unwrap();
        changed += step.changed;
        next = step.next;
        if next.is_none() {
            break;
        }
    }
    // That of receipts besides.
    assert_eq!(changed, 201);
    assert_eq!(store_.keys_by_master().await.unwrap(), [(store_.master(), 701)]);
    store_.close();
    let store_ = open(vault(&new, None)).unwrap();
    assert_eq!(drain_keys(&store_, "all").await.len(), 700);
}

#[tokio::test]
async fn a_second_store_on_the_folder_and_a_wrong_environment_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![]);
    let refused = open(&folder, options(vec![])).unwrap_err();
    assert!(
        matches!(&refused, StoreError::InUse { holder, .. } if holder.contains(&std::process::id().to_string()))
    );
    store_.close();
    drop(store_);
    let other = ringhookd::store::Store::open(&folder, "production", vault(), options(vec![])).unwrap_err();
    assert!(matches!(other, StoreError::Environment { .. }), "{other}");
    std::fs::write(folder.join("store.redb"), b"").unwrap();
    let empty = open(&folder, options(vec![])).unwrap_err();
    assert!(matches!(empty, StoreError::Damaged(_)), "an empty file is no empty store: {empty}");
}

#[tokio::test]
async fn what_is_returned_together_with_an_ack_hands_nothing_out_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    for id in ["1", "2", "3"] {
        store_.inbox().accept(event(id, "a")).await.unwrap();
    }
    let lease = store_.queues().lease(&queue("all"), &request(9), clock::now()).await.unwrap().unwrap();
    let seqs: Vec<u64> = lease.events.iter().map(|e| e.seq).collect();
    let outcomes = vec![(seqs[1], Outcome::Returned), (seqs[0], Outcome::Done)];
    let settling = tokio::spawn({
        let store = store_.clone();
        async move { store.queues().settle(&queue("all"), lease.id, outcomes).await }
    });
    let mut early = None;
    while !settling.is_finished() {
        early = early.or(store_.queues().lease(&queue("all"), &request(1), clock::now()).await.unwrap());
        tokio::task::yield_now().await;
    }
    assert_eq!(settling.await.unwrap(), Ok(2));
    let first =
        early.or(store_.queues().lease(&queue("all"), &request(1), clock::now()).await.unwrap()).unwrap();
    assert_eq!((first.events[0].event.key.as_str(), first.events[0].attempt), ("2", 1));
}

#[tokio::test]
async fn devices_that_an_event_relates_to_are_learned_too() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    let mut subscription = event_of("1", Some("a"), "subscription_activated", None);
    let device = |id: &str| ringhookd::domain::ids::DeviceId::new(id).unwrap();
    subscription.related = vec![device("d1"), device("d2")];
    store_.inbox().accept(subscription).await.unwrap();
    store_.inbox().accept(event_of("2", None, "motion_detected", Some("d2"))).await.unwrap();
    let mut other = event_of("3", None, "subscription_deactivated", None);
    other.related = vec![device("unknown"), device("d1")];
    store_.inbox().accept(other).await.unwrap();
    assert_eq!(drain_keys(&store_, "all").await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_letter_of_a_removed_queue_never_reaches_a_queue_that_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![spec("all"), only_user("anns", "ann")]);
    link(&store_, "a", "ann").await;
    store_.inbox().accept(event("1", "a")).await.unwrap();
    let lease = store_.queues().lease(&queue("anns"), &request(1), clock::now()).await.unwrap().unwrap();
    let dead = Outcome::Dead { why: "never".into() };
    store_.queues().settle(&queue("anns"), lease.id, vec![(lease.events[0].seq, dead)]).await.unwrap();
    store_.close();
    let store_ = open(&folder, options(vec![spec("all")])).unwrap();
    assert_eq!(store_.queues().remove(&queue("anns")).await.unwrap(), Some(0));
    store_.close();

    let store_ = open(&folder, options(vec![spec("all"), only_user("bobs", "bob")])).unwrap();
    let replayed = store_.queues().replay_letters(LetterFilter::default(), None).await.unwrap();
    assert_eq!((replayed.done, replayed.refused), (0, 1), "its queue is gone");
    assert!(drain_keys(&store_, "bobs").await.is_empty(), "ann's event is not bob's");
}

#[tokio::test]
async fn the_first_of_two_answers_counts_and_nothing_is_settled_behind_a_returned_lane() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    for id in ["1", "2"] {
        store_.inbox().accept(event(id, "a")).await.unwrap();
    }
    let lease = store_.queues().lease(&queue("all"), &request(9), clock::now()).await.unwrap().unwrap();
    let (first, second) = (lease.events[0].seq, lease.events[1].seq);
    let said = vec![(first, Outcome::Returned), (second, Outcome::Done)];
    assert_eq!(store_.queues().settle(&queue("all"), lease.id, said).await, Ok(2));
    let lease = store_.queues().lease(&queue("all"), &request(9), clock::now()).await.unwrap().unwrap();
    assert_eq!(lease.events.len(), 1, "the second is done, the first was not lost");
    let failed = Outcome::Failed { due: clock::now(), why: "no luck".into() };
    let said = vec![(first, failed), (first, Outcome::Done)];
    store_.queues().settle(&queue("all"), lease.id, said).await.unwrap();
    let lease = store_.queues().lease(&queue("all"), &request(9), later(HOUR)).await.unwrap().unwrap();
    assert_eq!((lease.events[0].seq, lease.events[0].attempt), (first, 2));
}

#[tokio::test]
async fn a_replayed_letter_stays_the_users_it_was_accepted_for() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![]);
    link(&store_, "a", "ann").await;
    assert!(matches!(store_.inbox().accept(event("1", "a")).await, Ok(Accepted::Unrouted { .. })));
    store_.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    store_.close();
    let store_ = open(&folder, options(vec![only_user("anns", "ann"), only_user("bobs", "bob")])).unwrap();
    assert_eq!(store_.queues().replay_letters(LetterFilter::default(), None).await.unwrap().done, 1);
    assert!(drain_keys(&store_, "bobs").await.is_empty(), "not bob's");
    assert_eq!(drain_keys(&store_, "anns").await, ["1"]);
}

#[tokio::test]
async fn a_letter_without_an_account_finds_it_once_its_device_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "a", "ann").await;
    let early = store_.inbox().accept(event_of("1", None, "motion_detected", Some("d"))).await;
    assert!(matches!(early, Ok(Accepted::Unrouted { .. })));
    assert_eq!(store_.queues().replay_letters(LetterFilter::default(), None).await.unwrap().done, 0);
    store_.inbox().accept(event_of("2", Some("a"), "device_added", Some("d"))).await.unwrap();
    assert_eq!(store_.queues().replay_letters(LetterFilter::default(), None).await.unwrap().done, 1);
    let events = drain(&store_, "all", 9).await;
    let last = &events.last().unwrap().event;
    assert_eq!(
        (last.key.as_str(), &last.account, &last.user),
        ("1", &Some(account("a")), &Some(user("ann")))
    );
}

#[tokio::test]
async fn new_tokens_are_a_new_link_and_another_user_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    let import = |with_tokens: bool, user_id: Option<&str>| ringhookd::store::Import {
        account: account("a"),
        user: user_id.map(user),
        tokens: with_tokens.then(|| tokens("at", "rt")),
        replace: true,
    };
    let removal = |id: &str, time| {
        let mut removal = event_of(id, Some("a"), "app_integration_removed", None);
        removal.event.time = Some(time);
        removal
    };
    let view = async || store_.links().account(account("a")).await.unwrap().unwrap();
    // Tokens without a user: an old removal must not wipe them.
    store_.links().import(import(true, None)).await.unwrap().unwrap();
    store_.inbox().accept(removal("1", clock::now().minus(HOUR))).await.unwrap();
    assert!(view().await.tokens.is_some());
    // A real removal does, and a user noted afterwards brings no link back.
    store_.inbox().accept(removal("2", later(HOUR))).await.unwrap();
    store_.links().set_user(account("a"), user("ann"), false).await.unwrap().unwrap();
    assert_eq!((view().await.state, view().await.tokens.is_some()), (LinkState::Removed, false));
    // New tokens do; and a change of user does not hide a removal that is newer than they are.
    store_.links().import(import(true, None)).await.unwrap().unwrap();
    assert_eq!(view().await.state, LinkState::Linked);
    let linked = clock::now();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    store_.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    store_.inbox().accept(removal("3", linked.plus(Duration::from_millis(1)))).await.unwrap();
    assert_eq!((view().await.state, view().await.tokens.is_some()), (LinkState::Removed, false));
}

/// What a queue got while another had the account stays that other's, and each is told what is theirs.
#[tokio::test]
async fn each_queue_that_may_have_had_an_account_is_told_once_that_it_is_forgotten_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let eager = QueueSpec { unclaimed: Unclaimed::Deliver, ..only_user("eagers", "carl") };
    let any = QueueSpec { unclaimed: Unclaimed::Deliver, ..spec("any") };
    let mut motion = only_type("motion", "motion_*");
    motion.filter.accounts = Selection::Only(["b".into()].into_iter().collect());
    let queues = vec![only_user("anns", "ann"), only_user("bobs", "bob"), eager, any, motion];
    let store_ = store(&dir.path().join("store"), queues);
    link(&store_, "a", "ann").await;
    store_.links().set_user(account("a"), user("bob"), true).await.unwrap().unwrap();
    let deletion = store_.links().forget(account("a")).await.unwrap().unwrap();
    assert_eq!(deletion.queues_told, ["anns", "bobs", "any"].map(queue));
    for (name, of) in [("anns", "ann"), ("bobs", "bob"), ("any", "bob")] {
        let told = drain(&store_, name, 10).await;
        let users: Vec<_> = told.iter().map(|leased| leased.event.user.clone()).collect();
        assert_eq!(users, [Some(user(of))], "{name}");
        let line: serde_json::Value = serde_json::from_str(&told[0].event.cloudevent(1, 1)).unwrap();
        assert_eq!(line["type"], "com.ringhookd.account.forgotten");
        assert_eq!((&line["data"]["account_id"], &line["data"]["user"]), (&"a".into(), &of.into()));
    }
    for name in ["eagers", "motion"] {
        assert!(drain(&store_, name, 10).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn dead_letters_of_a_forgotten_account_leave_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![only_user("bobs", "bob")]);
    link(&store_, "a", "ann").await;
    link(&store_, "b", "bob").await;
    for (key, of) in [("1", "a"), ("2", "a"), ("3", "b")] {
        store_.inbox().accept(event(key, of)).await.unwrap();
    }
    let lease = store_.queues().lease(&queue("bobs"), &request(9), clock::now()).await.unwrap().unwrap();
    let dead = lease.events.iter().map(|leased| (leased.seq, Outcome::Dead { why: "no".into() })).collect();
    assert_eq!(store_.queues().settle(&queue("bobs"), lease.id, dead).await.unwrap(), 1);
    let deletion = store_.links().forget(account("a")).await.unwrap().unwrap();
    assert_eq!((deletion.waiting, deletion.dead_letters), (0, 2), "no queue took them");
    let (letters, _) = store_.queues().letters(&LetterFilter::default(), None).await.unwrap();
    let accounts: Vec<_> =
        letters.iter().map(|letter| letter.event.as_ref().unwrap().account.clone()).collect();
    assert_eq!(accounts, [Some(account("b"))]);
}
