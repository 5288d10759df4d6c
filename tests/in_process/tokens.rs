//! The journal of refreshes: one attempt at a time, nothing of it lost, and nothing of it for the wrong account.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use ringhookd::clock;
use ringhookd::domain::actor::Actor;
use ringhookd::domain::heard::{Heard, Objection};
use ringhookd::domain::refresh::{End, Notice};
use ringhookd::domain::routing::{Filter, TypePattern};
use ringhookd::domain::secret::Secret;
use ringhookd::domain::tokens::{ACCESS_LIFE, Granted, TokenPair};
use ringhookd::store::{Changed, Import, NoRefresh, QueueSpec, RefreshIntent, Store, Which};
use serde_json::{Value, json};

const LEASE: Duration = Duration::from_mins(1);

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

const REFUSED: Heard<Granted> = Heard::Refused(Objection::Grant);

fn pair(access: &str, refresh: Option<&str>) -> Heard<Granted> {
    Heard::Answer(Granted::Pair(TokenPair {
        access_token: secret(access),
        refresh_token: refresh.map(secret),
        expires_in: ACCESS_LIFE,
        scope: None,
        damaged: false,
    }))
}

fn renewed(access: &str, refresh: &str) -> Heard<Granted> {
    pair(access, Some(refresh))
}

/// Imports tokens for a user's account; returns the account's number.
async fn import(store: &Store, id: &str, refresh: &str) -> u32 {
    let import = Import {
        account: account(id),
        user: Some(user("ann")),
        tokens: Some(tokens("at-0", refresh)),
        replace: false,
    };
    store.links().import(import).await.unwrap().unwrap();
    store.links().access(account(id)).await.unwrap().unwrap().number
}

async fn begin(store: &Store, number: u32, which: Which) -> Result<RefreshIntent, NoRefresh> {
    store.outbox().begin_refresh(number, which, LEASE).await.unwrap()
}

async fn settle(store: &Store, intent: &RefreshIntent, heard: Heard<Granted>) -> Option<u64> {
    store.outbox().settle_refresh(intent.number, intent.fence, clock::now(), Arc::new(heard)).await.unwrap()
}

async fn access(store: &Store, id: &str) -> String {
    store.links().access(account(id)).await.unwrap().unwrap().token.unwrap().expose().clone()
}

async fn is_unsettled(store: &Store, number: u32) -> bool {
    store.links().token_record(number).await.unwrap().unwrap().record.unsettled
}

#[tokio::test]
async fn a_renewed_pair_is_there_after_a_restart_and_the_one_before_can_be_tried_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let first = store(&folder, vec![]);
    let number = import(&first, "a", "rt-0").await;
    let intent = begin(&first, number, Which::Current).await.unwrap();
    assert_eq!((intent.token.expose().as_str(), intent.account.as_str()), ("rt-0", "a"));
    assert!(settle(&first, &intent, renewed("at-1", "rt-1")).await.is_some());
    first.close();

    let again = open(&folder, options(vec![])).unwrap();
    assert_eq!(access(&again, "a").await, "at-1");
    assert!(!is_unsettled(&again, number).await);
    let intent = begin(&again, number, Which::Predecessor).await.unwrap();
    assert_eq!(intent.token.expose(), "rt-1", "not before OAuth has refused the present one");
    settle(&again, &intent, REFUSED).await;
    let intent = begin(&again, number, Which::Predecessor).await.unwrap();
    assert_eq!(intent.token.expose(), "rt-0");
    settle(&again, &intent, REFUSED).await;
    assert_eq!(begin(&again, number, Which::Predecessor).await.unwrap_err(), NoRefresh::NoToken);
    assert_eq!(begin(&again, number, Which::Current).await.unwrap().token.expose(), "rt-1");
}

#[tokio::test]
async fn a_turn_is_taken_until_it_is_settled_and_its_word_counts_no_more_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![]);
    let number = import(&store_, "a", "rt-0").await;
    let first = begin(&store_, number, Which::Current).await.unwrap();
    assert_eq!(begin(&store_, number, Which::Current).await.unwrap_err(), NoRefresh::Taken);
    settle(&store_, &first, Heard::SILENT).await;
    let second = begin(&store_, number, Which::Current).await.unwrap();
    assert!(second.fence > first.fence);
    assert_eq!(settle(&store_, &first, renewed("at-x", "rt-x")).await, None, "a late answer");
    assert!(settle(&store_, &second, renewed("at-1", "rt-1")).await.is_some());
    assert_eq!(access(&store_, "a").await, "at-1");
}

#[tokio::test]
async fn a_lease_that_ran_out_lets_the_next_one_begin() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![]);
    let number = import(&store_, "a", "rt-0").await;
    let lease = Duration::from_millis(1);
    let _first = store_.outbox().begin_refresh(number, Which::Current, lease).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(begin(&store_, number, Which::Current).await.is_ok());
}

#[tokio::test]
async fn what_nobody_knows_the_outcome_of_is_unsettled_until_an_answer_settles_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![]);
    let number = import(&store_, "a", "rt-0").await;
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    settle(&store_, &intent, Heard::WITHHELD).await;
    assert!(!is_unsettled(&store_, number).await, "nothing was sent");
    begin(&store_, number, Which::Current).await.unwrap();
    store_.close();

    let store_ = open(&folder, options(vec![])).unwrap();
    assert!(is_unsettled(&store_, number).await, "it may have been sent");
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    settle(&store_, &intent, Heard::WITHHELD).await;
    assert!(is_unsettled(&store_, number).await, "the one before may still have been");
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    settle(&store_, &intent, REFUSED).await;
    assert!(!is_unsettled(&store_, number).await);
}

#[tokio::test]
async fn an_answer_that_nobody_could_read_is_handed_to_every_turn_until_one_renews() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![]);
    let number = import(&store_, "a", "rt-0").await;
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    assert!(intent.kept.is_none());
    settle(&store_, &intent, Heard::Answer(Granted::Unreadable(Secret::new(b"<html>".to_vec())))).await;
    store_.close();
    let store_ = open(&folder, options(vec![])).unwrap();
    for heard in [Heard::SILENT, Heard::WITHHELD, Heard::Refused(Objection::Client), REFUSED] {
        let intent = begin(&store_, number, Which::Current).await.unwrap();
        assert_eq!(intent.kept.as_ref().unwrap().0.expose(), b"<html>");
        settle(&store_, &intent, heard).await;
    }
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    settle(&store_, &intent, renewed("at-1", "rt-1")).await;
    assert!(begin(&store_, number, Which::Current).await.unwrap().kept.is_none());
}

#[tokio::test]
async fn an_answer_from_outside_the_store_is_taken_back_only_by_its_own_turn() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![]);
    let (one, other) = (import(&store_, "a", "rt-a").await, import(&store_, "b", "rt-b").await);
    let intent = begin(&store_, one, Which::Current).await.unwrap();
    let of_other = begin(&store_, other, Which::Current).await.unwrap();
    let sealed = intent.seal_answer(b"answer").unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("answer"));
    store_.close();

    let store_ = open(&folder, options(vec![])).unwrap();
    let back =
        async |number, fence| store_.outbox().take_back_answer(number, fence, sealed.clone()).await.unwrap();
    assert!(!back(other, of_other.fence).await && !back(one, intent.fence + 9).await);
    assert!(back(one, intent.fence).await);
    let next = begin(&store_, one, Which::Current).await.unwrap();
    assert_eq!(next.kept.unwrap().0.expose(), b"answer");
}

#[tokio::test]
async fn other_tokens_or_none_make_an_answer_that_is_under_way_worthless() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![]);
    let mut changes = store_.links().token_changes();
    let number = import(&store_, "a", "rt-0").await;
    assert_eq!(changes.take(), Changed::Accounts([number].into()));
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    import(&store_, "a", "rt-new").await;
    assert_eq!(settle(&store_, &intent, renewed("at-1", "rt-1")).await, None);
    assert_eq!(begin(&store_, number, Which::Current).await.unwrap().token.expose(), "rt-new");

    let intent = begin_anew(&store_, number).await;
    let mut removed = event_of("1", Some("a"), "app_integration_removed", None);
    removed.event.time = Some(later(HOUR));
    store_.inbox().accept(removed).await.unwrap();
    assert_eq!(settle(&store_, &intent, renewed("at-1", "rt-1")).await, None);
    assert!(store_.links().access(account("a")).await.unwrap().is_none());
    assert_eq!(begin(&store_, number, Which::Current).await.unwrap_err(), NoRefresh::NoToken);
    assert_eq!(changes.take(), Changed::Accounts([number].into()));
}

async fn begin_anew(store: &Store, number: u32) -> RefreshIntent {
    import(store, "a", "rt-newer").await;
    begin(store, number, Which::Current).await.unwrap()
}

#[tokio::test]
async fn without_a_new_refresh_token_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![]);
    let number = import(&store_, "a", "rt-0").await;
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    settle(&store_, &intent, pair("at-1", None)).await;
    assert_eq!(access(&store_, "a").await, "at-1");
    let intent = begin(&store_, number, Which::Current).await.unwrap();
    assert_eq!(intent.token.expose(), "rt-0");
    settle(&store_, &intent, REFUSED).await;
    assert_eq!(begin(&store_, number, Which::Predecessor).await.unwrap_err(), NoRefresh::NoToken);
}

#[tokio::test]
async fn records_come_in_pages_and_epochs_grow_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![]);
    link(&store_, "without tokens", "ann").await;
    let mut numbers = Vec::new();
    for id in ["a", "b", "c"] {
        numbers.push(import(&store_, id, "rt").await);
    }
    begin(&store_, numbers[1], Which::Current).await.unwrap();
    let page = async |after| store_.links().token_records(after, 2).await.unwrap();
    let seen: Vec<_> = [page(0).await, page(numbers[1]).await].concat();
    assert_eq!(seen.iter().map(|r| r.number).collect::<Vec<_>>(), numbers);
    assert_eq!(seen.iter().map(|r| r.record.unsettled).collect::<Vec<_>>(), [false, true, false]);
    let before = store_.outbox().epoch().await.unwrap();
    store_.close();
    let store_ = open(&folder, options(vec![])).unwrap();
    assert_eq!(store_.outbox().epoch().await.unwrap(), before);
    let intent = begin(&store_, numbers[0], Which::Current).await.unwrap();
    assert_eq!((intent.fence, store_.outbox().epoch().await.unwrap()), (before + 1, before + 1));
    assert_eq!(store_.outbox().raise_epoch(before + 100, Actor::Daemon).await.unwrap(), before + 101);
}

#[tokio::test]
async fn a_change_of_state_is_an_event_for_queues_that_ask_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let types = vec![TypePattern::parse("link.*").unwrap()];
    let alerts = QueueSpec { filter: Filter { types, ..Filter::default() }, ..spec("alerts") };
    let folder = dir.path().join("store");
    let store_ = store(&folder, vec![spec("all"), alerts.clone()]);
    let number = import(&store_, "a", "rt").await;
    let renewed_at = store_.links().access(account("a")).await.unwrap().unwrap().span.renewed_at;
    assert!(
        store_.links().tell(number, renewed_at.minus(HOUR), Notice::Lapsed).await.unwrap().is_none(),
        "not these"
    );
    assert!(store_.links().tell(number, renewed_at, Notice::Lapsing(1)).await.unwrap().is_some());
    assert!(store_.links().tell(number, renewed_at, Notice::Revoked).await.unwrap().is_some());
    assert_eq!(store_.links().access(account("a")).await.unwrap().unwrap().end, Some(End::Revoked));
    let mut removed = event_of("1", Some("a"), "app_integration_removed", None);
    removed.event.time = Some(later(HOUR));
    store_.inbox().accept(removed).await.unwrap();
    assert!(
        store_.links().tell(number, renewed_at, Notice::Fresh).await.unwrap().is_none(),
        "it has no tokens any more"
    );
    store_.close();

    let store_ = open(&folder, options(vec![spec("all"), alerts])).unwrap();
    let told = drain(&store_, "alerts", 9).await;
    let lines = told.iter().map(|l| serde_json::from_str(&l.event.cloudevent(l.seq, 1)).unwrap());
    let lines: Vec<Value> = lines.collect();
    let types: Vec<_> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
    let link = |state: &str| format!("com.ringhookd.link.{state}");
    assert_eq!(types, ["linked", "lapsing", "revoked", "removed"].map(link));
    assert_eq!((&lines[1]["source"], &lines[1]["ringuser"]), (&json!("/ringhookd"), &json!("ann")));
    assert!(lines[1]["data"]["lapses_at"].is_string());
    assert_eq!(lines.iter().map(|l| l["id"].as_str()).collect::<std::collections::HashSet<_>>().len(), 4);
    assert_eq!(drain_keys(&store_, "all").await, ["1"], "a queue that takes everything takes Ring's alone");
}

#[tokio::test]
async fn an_account_that_is_forgotten_answers_nothing_at_once_and_anew_only_with_its_new_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let store_ = store(&dir.path().join("store"), vec![]);
    let numbers = [import(&store_, "a", "rt-a").await, import(&store_, "b", "rt-b").await];
    // Twice each: the second time its number is at hand.
    for id in ["a", "b", "a", "b"] {
        assert_eq!(access(&store_, id).await, "at-0");
        assert_eq!(store_.links().account(account(id)).await.unwrap().unwrap().account, account(id));
    }
    store_.links().forget(account("a")).await.unwrap().unwrap();
    assert!(store_.links().access(account("a")).await.unwrap().is_none());
    assert!(store_.links().account(account("a")).await.unwrap().is_none());
    let again = import(&store_, "a", "rt-a").await;
    assert!(!numbers.contains(&again));
    let intent = begin(&store_, again, Which::Current).await.unwrap();
    settle(&store_, &intent, renewed("at-1", "rt-1")).await;
    assert_eq!((access(&store_, "a").await, access(&store_, "b").await), ("at-1".into(), "at-0".into()));
    assert_eq!(store_.links().access(account("a")).await.unwrap().unwrap().number, again);
    assert_eq!(store_.links().access(account("b")).await.unwrap().unwrap().number, numbers[1]);
}
