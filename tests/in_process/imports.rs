//! Accounts that get a user: what becomes of the events that were held for them, and many imports in one commit.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::*;
use ringhookd::domain::released::Released;
use ringhookd::domain::routing::{Filter, Selection, TypePattern};
use ringhookd::store::{Class, Import, LetterFilter, QueueSpec, Unclaimed};

fn bobs() -> QueueSpec {
    let users = Selection::Only(["bob".into()].into_iter().collect());
    QueueSpec { filter: Filter { users, ..Filter::default() }, ..spec("bobs") }
}

#[tokio::test]
async fn a_release_tells_what_went_where() {
    let dir = tempfile::tempdir().unwrap();
    let types = vec![TypePattern::parse("button_press").unwrap()];
    let filter = Filter { types, ..Filter::default() };
    let eager = QueueSpec { unclaimed: Unclaimed::Deliver, filter, ..spec("eager") };
    let store_ = store(&dir.path().join("store"), vec![eager, bobs()]);
    store_.inbox().accept(event("1", "a")).await.unwrap();
    store_.inbox().accept(event_of("2", Some("a"), "button_press", None)).await.unwrap();
    let import = Import { account: account("a"), user: Some(user("ann")), tokens: None, replace: false };
    let bound = store_.links().import(import).await.unwrap().unwrap();
    let ann = Released { events: 2, unrouted: 1, delivered_before: 1, ..Released::default() };
    assert_eq!(bound.released, ann, "no queue is ann's");
    let (letters, _) = store_.queues().letters(&LetterFilter::default(), None).await.unwrap();
    assert_eq!((letters.len(), letters[0].id.class), (1, Class::Unrouted));

    store_.inbox().accept(event("3", "b")).await.unwrap();
    let bound = store_.links().set_user(account("b"), user("bob"), false).await.unwrap().unwrap();
    let bob = Released { events: 1, queues: [(queue("bobs"), 1)].into(), ..Released::default() };
    assert_eq!(bound.released, bob);
    assert_eq!(drain_keys(&store_, "bobs").await, ["3"]);
}

#[tokio::test]
async fn imports_of_many_accounts_share_a_commit_and_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![spec("all")]);
    link(&store_, "7", "ann").await;
    let import = |n: u64| Import {
        account: account(&n.to_string()),
        user: Some(user("bob")),
        tokens: Some(tokens("at", &n.to_string())),
        replace: false,
    };
    let commits = || store_.stats().commits.load(Relaxed);
    let before = commits();
    let bounds = store_.links().import_all((0..200).map(import).collect()).await.unwrap();
    // The store may commit by itself meanwhile.
    assert!(commits() <= before + 5, "{} commits", commits() - before);
    for (n, bound) in bounds.into_iter().enumerate() {
        assert_eq!(bound.is_ok(), n != 7, "{n}: {bound:?}");
    }
    let view = store_.links().account(account("7")).await.unwrap().unwrap();
    assert_eq!((view.user, view.tokens), (Some(user("ann")), None));
}

#[tokio::test]
async fn a_change_of_user_answers_where_held_events_went() {
    let api = Api::of(vec![bobs()]).await;
    let door = api.open_door();
    for (id, account) in [("1", "a"), ("2", "a"), ("3", "b")] {
        api.store.inbox().accept(event(id, account)).await.unwrap();
    }
    let lost = door.ok("POST", "/v1/accounts/a/user", json!({"user": "ann"})).await;
    let none = json!({"events": 2, "queues": {}, "unrouted": 2, "delivered_before": 0, "dead": 0});
    assert_eq!(lost["released"], none);
    let found = door.ok("POST", "/v1/accounts", json!({"account_id": "b", "user": "bob"})).await;
    assert_eq!(found["released"]["queues"], json!({"bobs": 1}));
}

#[tokio::test]
async fn an_import_of_many_lines_takes_few_commits_and_tells_each_refusal_with_its_line() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "7", "ann").await;
    let line = |n: usize| match n {
        8 => json!({"account_id": "", "user": "bob"}),
        n => json!({"account_id": n.to_string(), "user": "bob", "refresh_token": format!("r{n}")}),
    };
    let lines: Vec<_> = (1..=1000).map(|n| line(n).to_string()).collect();
    let before = api.store.stats().commits.load(Relaxed);
    let (status, done) = door.call("POST", "/v1/accounts", &lines.join("\n")).await;
    assert_eq!((status, &done["imported"], &done["created"]), (200, &json!(998), &json!(998)), "{done}");
    let commits = api.store.stats().commits.load(Relaxed) - before;
    assert!(commits <= 10, "{commits} commits");
    let refused: Vec<&Value> = done["refused"].as_array().unwrap().iter().map(|one| &one["line"]).collect();
    assert_eq!(refused, [7, 8]);
    assert_eq!(api.store.links().accounts(0, 2).await.unwrap().0[1].account, account("1"), "in their order");
}
