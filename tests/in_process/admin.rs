//! The admin API over real Unix sockets: what each call does, what each door allows, and readers that die.

mod bounds;
mod browsers;
mod figures;
mod tail;

use std::time::Duration;

use crate::support::api::{Api, Door_, SOON, ids, rights};
use crate::support::*;
use ringhookd::clock;
use ringhookd::domain::arrival::Arrival;
use ringhookd::domain::rights::Call;
use ringhookd::domain::secret::Secret;
use ringhookd::store::{Import, Outcome, Which};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const LEASE: &str = "/v1/queues/all/lease";
const SETTLE: &str = "/v1/queues/all/settle";

/// Waits for something that another task is about to do.
async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn two_users(api: &Api) {
    for (account, user) in [("a", "ann"), ("b", "bob")] {
        link(&api.store, account, user).await;
    }
    for (id, account) in [("1", "a"), ("2", "b"), ("3", "a")] {
        api.store.inbox().accept(event(id, account)).await.unwrap();
    }
}

/// Leaves the event dead-lettered from `all`.
async fn bury(api: &Api, id: &str, account: &str) {
    api.store.inbox().accept(event(id, account)).await.unwrap();
    let lease = api.store.queues().lease(&queue("all"), &request(9), clock::now()).await.unwrap().unwrap();
    let dead = |e: &ringhookd::store::Leased| (e.seq, Outcome::Dead { why: "no".into() });
    let outcomes = lease.events.iter().map(dead).collect();
    api.store.queues().settle(&queue("all"), lease.id, outcomes).await.unwrap();
}

#[tokio::test]
async fn status_metrics_and_queues_say_how_it_stands() {
    let api = Api::start().await;
    let door = api.open_door();
    two_users(&api).await;
    let status = door.ok("GET", "/v1/status", Value::Null).await;
    assert_eq!((&status["store"]["state"], &status["accounts"]["linked"]), (&json!("ready"), &json!(2)));
    assert_eq!(status["webhook_keys"][0]["fingerprint"], "f1");
    assert_eq!(status["seen_ids"]["count"], 3);
    let queues = door.ok("GET", "/v1/queues", Value::Null).await;
    let all = &queues["queues"][0];
    assert_eq!((&all["name"], &all["kind"], &all["waiting"]), (&json!("all"), &json!("embedded"), &json!(3)));
    let (_, metrics) = door.get("/v1/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("ringhookd_http_connections{listener=\"admin\"} 1"));
    assert!(metrics.contains("ringhookd_nearest_lapse_seconds 2592000\n"), "no link, no alarm: {metrics}");
}

#[tokio::test]
async fn accounts_are_imported_shown_moved_and_forgotten() {
    let api = Api::start().await;
    let door = api.open_door();
    api.store.inbox().accept(event("1", "a/ü")).await.unwrap();
    let body = "{\"account_id\":\"a/ü\",\"user\":\"ann\",\"refresh_token\":\"hunter2\"}\n\n\
                {\"account_id\":\"b\",\"access_token\":\"hunter3\"}\n{\"account_id\":\"c\"}";
    let (status, done) = door.call("POST", "/v1/accounts", body).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(
        (&done["imported"], &done["created"], &done["released"]["events"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(done["refused"][0]["line"], 3);
    assert!(done["refused"][0]["error"].as_str().unwrap().contains("Playground"));
    let number = api.store.links().access(account("a/ü")).await.unwrap().unwrap().number;
    let turn = api
        .store
        .outbox()
        .begin_refresh(number, Which::Current, Duration::from_secs(9))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(turn.token.expose(), "hunter2");

    let first = door.ok("GET", "/v1/accounts?limit=1", Value::Null).await;
    assert_eq!(ids(&first["accounts"], |a| &a["account_id"]), ["a/ü"]);
    let second = door.ok("GET", &format!("/v1/accounts?after={}", first["next"]), Value::Null).await;
    assert_eq!(
        (ids(&second["accounts"], |a| &a["account_id"]), &second["next"]),
        (vec!["c".into()], &json!(null))
    );
    let path = "/v1/accounts/a%2F%C3%BC";
    let shown = door.ok("GET", path, Value::Null).await;
    assert_eq!(
        (&shown["user"], &shown["has_tokens"], &shown["state"]),
        (&json!("ann"), &json!(true), &json!("linked"))
    );
    assert!(!shown.to_string().contains("hunter"));

    let user_path = format!("{path}/user");
    assert_eq!(door.post(&user_path, json!({"user": "bob"})).await.0, 409);
    let (_, again) = door.post("/v1/accounts", json!({"account_id": "a/ü", "user": "bob"})).await;
    assert_eq!((&again["imported"], again["refused"].as_array().unwrap().len()), (&json!(0), 1));
    door.ok("POST", "/v1/accounts?replace=true", json!({"account_id": "a/ü", "user": "bob"})).await;
    door.ok("POST", &user_path, json!({"user": "ann", "replace": true})).await;
    door.ok("DELETE", path, Value::Null).await;
    assert_eq!(door.get(path).await.0, 404);
    assert_eq!(door.call("DELETE", path, "").await.0, 404);
}

#[tokio::test]
async fn a_queue_is_leased_acknowledged_and_given_back() {
    let api = Api::start().await;
    let door = api.open_door();
    two_users(&api).await;
    let leased = door.ok("POST", LEASE, json!({"max": 9})).await;
    let (lease, events) = (&leased["lease"], leased["events"].as_array().unwrap());
    assert_eq!(ids(&leased["events"], |e| &e["event"]["id"]), ["1", "3", "2"], "per account, oldest first");
    assert_eq!((&events[0]["attempt"], &events[0]["event"]["ringuser"]), (&json!(1), &json!("ann")));
    assert_eq!(events[0]["event"]["data"]["meta"]["request_id"], "1");
    assert_eq!(door.ok("POST", LEASE, json!({})).await, json!({"lease": null, "events": []}));
    door.ok("POST", "/v1/queues/all/extend", json!({"lease": lease, "visibility_ms": 60_000})).await;

    let seq = |n: usize| events[n]["seq"].clone();
    let outcomes = json!({"lease": lease, "ack": [seq(0), 99], "nack": [{"seq": seq(2), "delay_ms": 0, "why": "w"}],
                          "return": [seq(1)]});
    assert_eq!(door.ok("POST", SETTLE, outcomes).await, json!({"settled": 3, "lost": 1}));
    let again = door.ok("POST", LEASE, json!({})).await;
    let attempts: Vec<_> = again["events"].as_array().unwrap().iter().map(|e| e["attempt"].clone()).collect();
    assert_eq!(
        (ids(&again["events"], |e| &e["event"]["id"]), attempts),
        (vec!["2".into(), "3".into()], vec![json!(2), json!(1)])
    );
    let (status, _) = door.post("/v1/queues/all/extend", json!({"lease": lease})).await;
    assert_eq!(status, 409, "all of it is settled");
    let raw = door.ok("POST", "/v1/queues/raws/lease", json!({"user": "bob"})).await;
    assert_eq!(raw["events"][0]["event"]["body"], std::str::from_utf8(&event("2", "b").event.body).unwrap());
    for (path, status) in [("files", 409), ("none", 404), ("a%2Fb", 404)] {
        assert_eq!(door.post(&format!("/v1/queues/{path}/lease"), json!({})).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_long_poll_wakes_up_and_gives_up() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    let waiting = {
        let path = door.path.clone();
        tokio::spawn(async move { Door_ { path }.lease_ids("all", json!({"wait_ms": 60_000})).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap(), ["1"]);
    assert_eq!(door.lease_ids("all", json!({"wait_ms": 30})).await, [""; 0]);
    let last = door.lease_ids("all", json!({"wait_ms": 60_000}));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        api.admin.stop();
    };
    let (last, ()) = tokio::time::timeout(SOON, async { tokio::join!(last, stop) }).await.unwrap();
    assert_eq!(last, [""; 0], "a stop ends the wait");
}

#[tokio::test]
async fn a_long_poll_sees_an_event_whose_delay_ends() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    let leased = door.ok("POST", LEASE, json!({})).await;
    let nack = json!([{"seq": leased["events"][0]["seq"], "delay_ms": 300}]);
    door.ok("POST", SETTLE, json!({"lease": leased["lease"], "nack": nack})).await;
    let poll = door.lease_ids("all", json!({"wait_ms": 60_000}));
    assert_eq!(tokio::time::timeout(SOON, poll).await.unwrap(), ["1"]);
}

#[tokio::test]
async fn what_is_returned_for_later_comes_then_and_counts_no_attempt() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    let leased = door.ok("POST", LEASE, json!({})).await;
    assert_eq!(leased["events"][0]["account"], "a");
    let seq = leased["events"][0]["seq"].clone();
    let back = |back: Value| json!({"lease": leased["lease"], "return": [back]});
    for wrong in [json!({"seq": seq}), json!("1"), json!({"seq": seq, "delay_ms": 1, "why": "x"})] {
        let (status, answer) = door.post(SETTLE, back(wrong)).await;
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().unwrap().contains("delay_ms"), "{answer}");
    }
    let later = back(json!({"seq": seq, "delay_ms": 3_600_000}));
    assert_eq!(door.ok("POST", SETTLE, later).await, json!({"settled": 1, "lost": 0}));
    assert_eq!(door.lease_ids("all", json!({})).await, [""; 0]);
    let queues = door.ok("GET", "/v1/queues", Value::Null).await;
    assert_eq!(
        (&queues["queues"][0]["delayed_accounts"], &queues["queues"][0]["leased"]),
        (&json!(1), &json!(0))
    );

    api.store.inbox().accept(event("2", "b")).await.unwrap();
    link(&api.store, "b", "bob").await;
    let leased = door.ok("POST", LEASE, json!({})).await;
    let soon =
        json!({"lease": leased["lease"], "return": [{"seq": leased["events"][0]["seq"], "delay_ms": 300}]});
    door.ok("POST", SETTLE, soon).await;
    let poll = door.ok("POST", LEASE, json!({"wait_ms": 60_000}));
    let again = tokio::time::timeout(SOON, poll).await.unwrap();
    assert_eq!(
        (&again["events"][0]["event"]["id"], &again["events"][0]["attempt"]),
        (&json!("2"), &json!(1))
    );
}

#[tokio::test]
async fn a_reader_that_dies_gives_its_lease_back() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    let ask = async |body: &str| {
        let mut stream = UnixStream::connect(&door.path).await.unwrap();
        let length = body.len();
        let request = format!("POST {LEASE} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    // While it waits.
    let waiting = ask(r#"{"wait_ms":60000}"#).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(waiting);
    tokio::time::sleep(Duration::from_millis(50)).await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    assert_eq!(api.leased("all"), 0);

    // In the middle of an answer that no socket buffer holds.
    let mut large = event("2", "a");
    large.event.body = format!("{{\"x\":\"{}\"}}", "y".repeat(900_000)).into();
    api.store.inbox().accept(large).await.unwrap();
    let mut reading = ask(r#"{"max_bytes":8000000}"#).await;
    reading.read_exact(&mut [0; 100]).await.unwrap();
    assert_eq!(api.leased("all"), 2);
    drop(reading);
    soon("the lease comes back", || api.leased("all") == 0).await;
    let again = door.ok("POST", LEASE, json!({"max_bytes": 8_000_000})).await;
    let attempts: Vec<_> = again["events"].as_array().unwrap().iter().map(|e| e["attempt"].clone()).collect();
    assert_eq!(attempts, [1, 1], "no attempt was counted");
    assert_eq!(api.leased("all"), 2, "who took it all keeps it");
}

#[tokio::test]
async fn a_tail_shows_the_newest_then_what_arrives_and_takes_nothing() {
    let api = Api::start().await;
    let door = api.open_door();
    two_users(&api).await;
    let mut tail = door.tail("all", 2).await;
    assert_eq!([tail.id().await, tail.id().await], ["2", "3"]);
    api.store.inbox().accept(event("4", "b")).await.unwrap();
    assert_eq!(tail.id().await, "4");
    assert_eq!(api.leased("all"), 0);
    assert_eq!(door.lease_ids("all", json!({})).await.len(), 4);
    api.admin.stop();
    assert!(tail.ended().await);
    assert_eq!(door.get("/v1/queues/none/tail").await.0, 404);
}

#[tokio::test]
async fn dead_letters_are_listed_shown_replayed_and_dropped() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    bury(&api, "1", "a").await;
    bury(&api, "2", "a").await;
    let page = door.ok("GET", "/v1/dead-letters?class=dead&queue=all", Value::Null).await;
    let letters = ids(&page["letters"], |letter| &letter["id"]);
    assert_eq!(
        (ids(&page["letters"], |l| &l["key"]), &page["next"]),
        (vec!["1".into(), "2".into()], &json!(null))
    );
    assert_eq!((&page["letters"][0]["why"], &page["letters"][0]["user"]), (&json!("no"), &json!("ann")));
    let none = door.ok("GET", "/v1/dead-letters?class=unrouted", Value::Null).await;
    assert_eq!(none["letters"], json!([]));
    let shown = door.ok("GET", &format!("/v1/dead-letters/{}", letters[0]), Value::Null).await;
    assert_eq!(
        (&shown["event"]["id"], &shown["event"]["data"]["meta"]["request_id"]),
        (&json!("1"), &json!("1"))
    );

    let done = door.ok("POST", "/v1/dead-letters/replay", json!({"ids": [letters[0], "dead-1-2-3"]})).await;
    assert_eq!((&done["done"], &done["refused"]), (&json!(1), &json!(1)));
    assert_eq!(door.lease_ids("all", json!({})).await, ["1"]);
    for empty in [json!({}), json!({"class": "alive"}), json!({"ids": ["x"]}), json!({"drop": 1})] {
        assert_eq!(door.post("/v1/dead-letters/drop", empty.clone()).await.0, 400, "{empty}");
    }
    assert_eq!(
        door.ok("POST", "/v1/dead-letters/drop", json!({"ids": []})).await["done"],
        0,
        "none named, none dropped"
    );
    assert_eq!(door.ok("POST", "/v1/dead-letters/drop", json!({"queue": "all"})).await["done"], 1);
    assert_eq!(door.get(&format!("/v1/dead-letters/{}", letters[1])).await.0, 404);
}

#[tokio::test]
async fn keys_are_shown_and_rotated_and_configured_queues_stay() {
    let api = Api::start().await;
    let door = api.open_door();
    link(&api.store, "a", "ann").await;
    api.store.inbox().accept(event("1", "a")).await.unwrap();
    let keys = door.ok("GET", "/v1/keys", Value::Null).await;
    assert_eq!(
        (&keys["data_keys"][0]["current"], &keys["data_keys"][0]["master"]),
        (&json!(true), &keys["master"])
    );
    let done = door.ok("POST", "/v1/keys/rotate", json!({"after": "0-1"})).await;
    assert_eq!(done, json!({"changed": 0, "next": null}));
    assert_eq!(door.post("/v1/keys/rotate", json!({"after": "x"})).await.0, 400);
    assert_eq!(door.call("DELETE", "/v1/queues/all", "").await.0, 409);
    assert_eq!(door.call("DELETE", "/v1/queues/none", "").await.0, 404);
    assert_eq!(door.get("/v1/none").await.0, 404);
    assert_eq!(door.call("PUT", "/v1/status", "").await.0, 404);
    assert_eq!(door.call("POST", "/v1/accounts", &" ".repeat(2 << 20)).await.0, 413);
}

/// Every call with the right that it needs.
const CALLS: [(&str, &str, &str, &str); 27] = [
    ("status", "GET", "/v1/status", ""),
    ("metrics", "GET", "/v1/metrics", ""),
    ("accounts.read", "GET", "/v1/accounts", ""),
    ("accounts.read", "GET", "/v1/accounts/a", ""),
    ("accounts.export", "GET", "/v1/accounts/a/export", ""),
    ("accounts.write", "POST", "/v1/accounts", ""),
    ("accounts.write", "DELETE", "/v1/accounts/none", ""),
    ("accounts.write", "POST", "/v1/accounts/a/user", r#"{"user":"ann"}"#),
    ("queue.read", "POST", LEASE, r#"{"max":1}"#),
    ("queue.read", "POST", SETTLE, r#"{"lease":"x"}"#),
    ("queue.read", "POST", "/v1/queues/all/extend", r#"{"lease":"x"}"#),
    ("queue.manage", "DELETE", "/v1/queues/all", ""),
    ("dead-letters.read", "GET", "/v1/dead-letters", ""),
    ("dead-letters.read", "GET", "/v1/dead-letters/dead-1-2-3", ""),
    ("dead-letters.write", "POST", "/v1/dead-letters/replay", r#"{"ids":[]}"#),
    ("dead-letters.write", "POST", "/v1/dead-letters/drop", r#"{"ids":[]}"#),
    ("keys", "GET", "/v1/keys", ""),
    ("keys", "POST", "/v1/keys/rotate", ""),
    ("tokens.lend", "POST", "/v1/accounts/a/token", ""),
    ("tokens.manage", "POST", "/v1/restore/accept", ""),
    ("backup", "POST", "/v1/backup", ""),
    ("compact", "POST", "/v1/compact", ""),
    ("reload", "POST", "/v1/reload", ""),
    ("queue.manage", "GET", "/v1/queues", ""),
    ("inspect", "GET", "/v1/inspect/none", ""),
    ("inspect", "GET", "/v1/receipts", ""),
    ("audit", "GET", "/v1/audit", ""),
];

#[tokio::test]
async fn each_call_needs_its_own_right() {
    let api = Api::start().await;
    link(&api.store, "a", "ann").await;
    let rights_of = Call::ALL.map(Call::as_str);
    for (n, right) in rights_of.iter().enumerate() {
        let door = api.door(&format!("{n}.sock"), rights(&[right], &["*"], &["*"]));
        for (needed, method, path, body) in CALLS {
            // Queues may be listed by whoever may do anything with one, or see the status.
            let listing = path == "/v1/queues" && (right.starts_with("queue.") || *right == "status");
            let (status, answer) = door.call(method, path, body).await;
            assert_eq!(
                status != 403,
                needed == *right || listing,
                "{right}: {method} {path}: {status} {answer}"
            );
        }
        let tail = door.get("/v1/queues/none/tail").await.0;
        assert_eq!(tail, if *right == "queue.tail" { 404 } else { 403 }, "{right}: tail");
    }
}

#[tokio::test]
async fn a_right_to_one_queue_opens_no_other() {
    let api = Api::start().await;
    let door = api.door("d.sock", rights(&["queue.*:all"], &["*"], &["*"]));
    assert_eq!(door.post(LEASE, json!({})).await.0, 200);
    assert_eq!(door.post("/v1/queues/raws/lease", json!({})).await.0, 403);
    assert_eq!(door.get("/v1/queues/raws/tail").await.0, 403);
    let queues = door.ok("GET", "/v1/queues", Value::Null).await;
    assert_eq!(ids(&queues["queues"], |queue| &queue["name"]), ["all"]);
}

#[tokio::test]
async fn restricted_doors_read_only_what_is_theirs() {
    let api = Api::start().await;
    two_users(&api).await;
    api.store.inbox().accept(event("4", "unclaimed")).await.unwrap();
    let everything = ["*"];
    for (n, (accounts, users, seen)) in [
        (&everything[..], &["ann"][..], &["1", "3"][..]),
        (&["b"], &everything, &["2"]),
        (&everything, &["ann", "bob"], &["1", "3", "2"]),
        (&["a"], &["bob"], &[]),
        (&["a", "b", "unclaimed"], &["ann"], &["1", "3"]),
        (&["later"], &everything, &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let door = api.door(&format!("{n}.sock"), rights(&["*"], accounts, users));
        let leased = door.ok("POST", LEASE, json!({})).await;
        assert_eq!(ids(&leased["events"], |e| &e["event"]["id"]), seen, "lease {accounts:?} {users:?}");
        if let Some(lease) = leased["lease"].as_str() {
            let seqs: Vec<_> = leased["events"].as_array().unwrap().iter().map(|e| &e["seq"]).collect();
            let (status, _) = door.post(SETTLE, json!({"lease": lease, "return": seqs})).await;
            assert_eq!(status, 200);
        }
        let mut tail = door.tail("all", 9).await;
        let mut newest = seen.to_vec();
        newest.sort_unstable();
        for id in newest {
            assert_eq!(tail.id().await, id, "tail {accounts:?} {users:?}");
        }
        let shown = door.ok("GET", "/v1/accounts", Value::Null).await;
        let mut owners = ids(&shown["accounts"], |a| &a["account_id"]);
        owners.retain(|id| id != "unclaimed");
        let expected: Vec<_> = [("a", "1"), ("b", "2")]
            .into_iter()
            .filter(|(_, id)| seen.contains(id))
            .map(|(a, _)| a)
            .collect();
        assert_eq!(owners, expected);
        assert_eq!(
            door.call("DELETE", "/v1/queues/gone", "").await.0,
            403,
            "it would drop what others wait for"
        );
    }
}

#[tokio::test]
async fn restricted_doors_are_lent_tokens_of_their_own_accounts_only() {
    let api = Api::start().await;
    two_users(&api).await;
    for (id, name) in [("a", "ann"), ("b", "bob")] {
        let tokens = Some(tokens(&format!("access-{id}"), &format!("refresh-{id}")));
        let import = Import { account: account(id), user: Some(user(name)), tokens, replace: false };
        api.store.links().import(import).await.unwrap().unwrap();
    }
    for (n, (accounts, users)) in [("a", "*"), ("*", "ann"), ("a", "ann")].into_iter().enumerate() {
        let door = api.door(&format!("{n}.sock"), rights(&["tokens.lend"], &[accounts], &[users]));
        let own = door.post("/v1/accounts/a/token", json!({})).await;
        assert_eq!((own.0, &own.1["access_token"]), (200, &json!("access-a")));
        let other = door.post("/v1/accounts/b/token", json!({})).await;
        assert_eq!((other.0, &other.1["reason"]), (404, &json!("no_tokens")));
        assert_eq!(other, door.post("/v1/accounts/none/token", json!({})).await, "{accounts} {users}");
        for wrong in [json!({"min_life": 1}), json!({"min_life_s": -1}), json!([])] {
            assert_eq!(door.post("/v1/accounts/a/token", wrong.clone()).await.0, 400, "{wrong}");
        }
    }
}

#[tokio::test]
async fn a_restricted_tail_shows_live_events_of_its_own_only() {
    let api = Api::start().await;
    two_users(&api).await;
    let door = api.door("d.sock", rights(&["*"], &["*"], &["bob"]));
    let mut tail = door.tail("all", 0).await;
    for (id, account) in [("5", "a"), ("6", "b")] {
        api.store.inbox().accept(event(id, account)).await.unwrap();
    }
    assert_eq!(tail.id().await, "6");
}

#[tokio::test]
async fn a_restricted_door_reads_an_account_that_comes_while_it_waits() {
    let api = Api::start().await;
    let door = api.door("d.sock", rights(&["queue.read"], &["late"], &["*"]));
    let poll = door.lease_ids("all", json!({"wait_ms": 60_000}));
    let come = async {
        for account in ["other", "late"] {
            link(&api.store, account, "ann").await;
            api.store.inbox().accept(event(account, account)).await.unwrap();
        }
    };
    let (leased, ()) = tokio::time::timeout(SOON, async { tokio::join!(poll, come) }).await.unwrap();
    assert_eq!(leased, ["late"]);
}

#[tokio::test]
async fn restricted_doors_change_only_what_is_theirs() {
    let api = Api::start().await;
    two_users(&api).await;
    link(&api.store, "free", "ann").await;
    let anns = api.door("ann.sock", rights(&["*"], &["*"], &["ann"]));
    assert_eq!(anns.get("/v1/accounts/b").await.0, 404);
    assert_eq!(anns.call("DELETE", "/v1/accounts/b", "").await.0, 404);
    assert_eq!(anns.post("/v1/accounts/b/user", json!({"user": "ann", "replace": true})).await.0, 404);
    assert_eq!(anns.post("/v1/accounts/a/user", json!({"user": "bob", "replace": true})).await.0, 403);
    for (account, user, imported) in
        [("b", json!("ann"), 0), ("new", json!("bob"), 0), ("new", json!(null), 0), ("new", json!("ann"), 0)]
    {
        let entry = json!({"account_id": account, "user": user});
        let done = anns.ok("POST", "/v1/accounts?replace=true", entry.clone()).await;
        assert_eq!(done["imported"], imported, "{entry}: {done}");
        assert!(!done.to_string().contains("bob"), "{done}");
    }
    let bob = api.store.links().account(account("b")).await.unwrap().unwrap();
    assert_eq!(bob.user, Some(user("bob")));
    assert_eq!(anns.post(LEASE, json!({"user": "bob"})).await.0, 403);

    let lease = anns.ok("POST", LEASE, json!({})).await;
    let bobs = api.door("bob.sock", rights(&["*"], &["*"], &["bob"]));
    let stolen = json!({"lease": lease["lease"], "ack": [lease["events"][0]["seq"]]});
    assert_eq!(bobs.post(SETTLE, stolen.clone()).await.0, 409, "it is a lease of another socket");
    assert_eq!(anns.ok("POST", SETTLE, stolen).await["settled"], 1);
}

#[tokio::test]
async fn restricted_doors_have_dead_letters_of_their_own() {
    let api = Api::start().await;
    for (account, user) in [("a", "ann"), ("b", "bob")] {
        link(&api.store, account, user).await;
        bury(&api, account, account).await;
    }
    let open = api.open_door();
    let all = open.ok("GET", "/v1/dead-letters", Value::Null).await;
    let bobs = all["letters"][1]["id"].as_str().unwrap().to_owned();
    let door = api.door("ann.sock", rights(&["*"], &["*"], &["ann"]));
    let own = door.ok("GET", "/v1/dead-letters", Value::Null).await;
    assert_eq!(ids(&own["letters"], |letter| &letter["key"]), ["a"]);
    assert_eq!(door.get(&format!("/v1/dead-letters/{bobs}")).await.0, 404);
    let refused = door.ok("POST", "/v1/dead-letters/drop", json!({"ids": [bobs]})).await;
    assert_eq!((&refused["done"], &refused["refused"]), (&json!(0), &json!(1)));
    assert_eq!(door.ok("POST", "/v1/dead-letters/drop", json!({"all": true})).await["done"], 1);
    let left = open.ok("GET", "/v1/dead-letters", Value::Null).await;
    assert_eq!(ids(&left["letters"], |letter| &letter["key"]), ["b"]);
    assert_eq!(door.ok("POST", "/v1/dead-letters/replay", json!({"all": true})).await["done"], 0);
}

#[tokio::test]
async fn a_door_that_sees_some_users_sees_nothing_of_what_arrives() {
    let api = Api::start().await;
    let arrival = Arrival {
        refresh_token: Secret::new("rt".into()),
        user: Some(user("ann")),
        replace: false,
        expects: None,
    };
    api.store.links().arrive(arrival).await.unwrap();
    let open = api.open_door();
    let all = open.ok("GET", "/v1/accounts", Value::Null).await;
    let id = all["accounts"][0]["account_id"].as_str().unwrap().to_owned();
    assert_eq!(all["accounts"][0]["state"], "arriving");
    let anns = api.door("ann.sock", rights(&["*"], &["*"], &["ann"]));
    let seen = anns.ok("GET", "/v1/accounts", Value::Null).await;
    assert_eq!(seen["accounts"], json!([]));
    assert_eq!(anns.get(&format!("/v1/accounts/{id}")).await.0, 404);
    assert_eq!(anns.post(&format!("/v1/accounts/{id}/token"), json!({})).await.0, 404);
}
