//! Pauses of queues: nothing is leased, what is leased may be settled, a restart changes nothing, and all goes out in order afterwards.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::delivery::{Dispatcher, Options, Sink, Verdict};
use ringhookd::domain::rights::Rights;
use ringhookd::store::{Leased, Outcome, PauseChange, Store};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::api::{Api, rights};
use crate::support::*;

/// Far above what anything takes, and below what a dispatcher waits when it missed a wake.
const LONG: Duration = Duration::from_secs(30);

async fn pause(store: &Store, name: &str, pause: bool) -> PauseChange {
    store.queues().set_paused(&queue(name), pause).await.unwrap().unwrap()
}

async fn accept(store: &Store, ids: &[&str]) {
    for id in ids {
        store.inbox().accept(event(id, "a")).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_leased_is_settled_and_nothing_more_is_leased_until_the_end_of_the_pause() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"), vec![spec("all"), spec("other")]);
    link(&store, "a", "ann").await;
    accept(&store, &["1", "2", "3"]).await;
    let all = queue("all");
    let lease = store.queues().lease(&all, &request(1), clock::now()).await.unwrap().unwrap();
    let paused = pause(&store, "all", true).await;
    assert!(paused.changed && paused.since.is_some());
    assert_eq!(pause(&store, "all", true).await, PauseChange { changed: false, ..paused });
    assert!(store.queues().extend(&all, lease.id, later(HOUR)));
    let failed = Outcome::Failed { due: clock::now(), why: "no".into() };
    assert_eq!(store.queues().settle(&all, lease.id, vec![(lease.events[0].seq, failed)]).await, Ok(1));
    accept(&store, &["4"]).await;
    assert!(drain_keys(&store, "all").await.is_empty());
    assert_eq!(store.queues().next_change(&all), None, "nobody need look again before its end");
    assert_eq!(drain_keys(&store, "other").await, ["1", "2", "3", "4"]);
    let view = store.queues().list().into_iter().find(|view| view.name == all).unwrap();
    assert_eq!((view.waiting, view.paused_since), (4, paused.since));
    assert_eq!(pause(&store, "all", false).await, PauseChange { since: None, changed: true });
    assert_eq!(pause(&store, "all", false).await, PauseChange { since: None, changed: false });
    assert_eq!(drain_keys(&store, "all").await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_pause_outlives_the_store_and_goes_with_its_queue() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let first = store(&folder, vec![spec("a"), spec("b"), spec("c")]);
    // In one commit, perhaps.
    let (a, b) = tokio::join!(pause(&first, "a", true), pause(&first, "b", true));
    assert!(a.changed && b.changed);
    first.close();
    let second = open(&folder, options(vec![spec("a"), spec("c")])).unwrap();
    let since = |store: &Store, name: &str| store.queues().paused_since(&queue(name));
    assert_eq!((since(&second, "a"), since(&second, "b")), (a.since, b.since));
    assert_eq!(since(&second, "c"), None);
    assert_eq!(second.queues().remove(&queue("b")).await, Ok(Some(0)));
    assert_eq!(second.queues().set_paused(&queue("b"), false).await, Ok(None), "there is no such queue");
    second.close();
    let third = open(&folder, options(vec![spec("a"), spec("b"), spec("c")])).unwrap();
    assert_eq!((since(&third, "a"), since(&third, "b")), (a.since, None), "the new b is another queue");
}

/// Notes the keys of what it gets.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Sink for Notes {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        self.0.lock().unwrap().extend(events.iter().map(|leased| leased.event.key.clone()));
        vec![Verdict::Done; events.len()]
    }
}

#[tokio::test]
async fn a_dispatcher_goes_on_at_once_when_the_pause_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"), vec![spec("all"), spec("other")]);
    link(&store, "a", "ann").await;
    pause(&store, "all", true).await;
    let notes = ["all", "other"].map(|_| Arc::default());
    let mut tasks = Vec::new();
    for (name, notes) in ["all", "other"].into_iter().zip(&notes) {
        let sink = Notes(Arc::clone(notes));
        let dispatcher = Dispatcher::new(store.queues().clone(), queue(name), sink, Options::default());
        tasks.push(tokio::spawn(dispatcher.run(std::future::pending())));
    }
    accept(&store, &["1", "2", "3"]).await;
    let waiting = |name: &str| {
        let list = store.queues().list();
        list.into_iter().find(|view| view.name == queue(name)).unwrap().waiting
    };
    let emptied = async |name: &str| {
        let wait = async {
            while waiting(name) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, wait).await.expect("everything is delivered");
    };
    emptied("other").await;
    assert_eq!((waiting("all"), notes[0].lock().unwrap().len()), (3, 0));
    pause(&store, "all", false).await;
    emptied("all").await;
    let all: &Arc<Mutex<Vec<String>>> = &notes[0];
    assert_eq!(*all.lock().unwrap(), ["1", "2", "3"]);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn consumers_find_a_paused_queue_empty_and_are_told() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    accept(&api.store, &["1"]).await;
    let paused = door.ok("POST", "/v1/queues/all/pause", Value::Null).await;
    assert_eq!((&paused["name"], &paused["changed"]), (&json!("all"), &json!(true)));
    let answer = door.ok("POST", "/v1/queues/all/lease", json!({})).await;
    let empty = json!({"lease": null, "events": [], "paused_since": paused["paused_since"]});
    assert_eq!(answer, empty);
    let status = door.ok("GET", "/v1/status", Value::Null).await;
    let problem = &status["problems"][0];
    assert_eq!((&problem["name"], &problem["queue"]), (&json!("queue_paused"), &json!("all")), "{status}");
    // A reader that waits meanwhile gets the event when the pause ends, long before its own time is over.
    let body = json!({"wait_ms": 60_000});
    let (ids, _) = tokio::join!(door.lease_ids("all", body), async {
        api.store.inbox().accept(event("2", "a")).await.unwrap();
        door.ok("POST", "/v1/queues/all/resume", Value::Null).await
    });
    assert_eq!(ids, ["1", "2"]);
    let answer = door.ok("POST", "/v1/queues/all/lease", json!({})).await;
    assert!(answer["paused_since"].is_null(), "{answer}");
}

#[tokio::test]
async fn only_sockets_with_the_right_that_see_all_pause_a_queue() {
    let api = Api::start().await;
    let doors = [
        ("one", rights(&["queue.manage:all"], &["*"], &["*"]), 200),
        ("other", rights(&["queue.manage:raws"], &["*"], &["*"]), 403),
        ("readers", rights(&["queue.read", "status"], &["*"], &["*"]), 403),
        ("of-ann", rights(&["*"], &["*"], &["ann"]), 403),
        ("whole", Rights::all(), 200),
    ];
    for (name, rights, status) in doors {
        let door = api.door(name, rights);
        for call in ["pause", "resume"] {
            let (found, answer) = door.call("POST", &format!("/v1/queues/all/{call}"), "").await;
            assert_eq!(found, status, "{name} {call}: {answer}");
        }
    }
    let door = api.open_door();
    for call in ["pause", "resume"] {
        assert_eq!(door.call("POST", &format!("/v1/queues/nowhere/{call}"), "").await.0, 404);
    }
    assert_eq!(api.store.queues().paused_since(&queue("all")), None);
}
