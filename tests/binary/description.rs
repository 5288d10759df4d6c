//! `docs/openapi.json` is what the admin API does: each call is made, and each answer is compared with the description.

mod address;
mod schema;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ringhookd::domain::rights::Call;
use ringhookd::sim::Options;
use serde_json::{Map, Value, json};

use self::schema::{complaints, resolved};
use crate::support::http::{request, unchunked};
use crate::support::linking::LinkHarness;

const OPENAPI: &str = include_str!("../../docs/openapi.json");
const ALL: &str = "admin.sock";
/// A first failed attempt makes a dead letter here.
const FRAGILE: &str =
    "[[queue]]\nname = \"fragile\"\nkind = \"embedded\"\nmax_attempts = 1\nunclaimed = \"deliver\"\n";

/// A daemon, and calls of it that are compared with its description.
struct Walk {
    harness: LinkHarness,
    description: Value,
    /// Operations that were answered with a success.
    succeeded: BTreeSet<String>,
}

/// A call, as the description names it.
#[derive(Clone)]
struct Asked<'a> {
    operation: &'a str,
    path: &'a [&'a str],
    query: &'a str,
    body: String,
}

fn ask<'a>(operation: &'a str, path: &'a [&'a str]) -> Asked<'a> {
    Asked { operation, path, query: "", body: String::new() }
}

impl<'a> Asked<'a> {
    fn with(self, body: &Value) -> Self {
        Self { body: body.to_string(), ..self }
    }

    fn query(self, query: &'a str) -> Self {
        Self { query, ..self }
    }
}

impl Walk {
    async fn begin() -> Self {
        let mut settings =
            format!("{FRAGILE}[[queue]]\nname = \"left\"\nkind = \"embedded\"\nunclaimed = \"deliver\"\n");
        for right in Call::ALL.map(Call::as_str) {
            let others: Vec<_> =
                Call::ALL.map(Call::as_str).into_iter().filter(|other| *other != right).collect();
            writeln!(settings, "[[socket]]\npath = \"FOLDER/no-{right}.sock\"\ncalls = {others:?}").unwrap();
        }
        let harness = LinkHarness::with(&settings, Options::default()).await;
        Self { harness, description: serde_json::from_str(OPENAPI).unwrap(), succeeded: BTreeSet::new() }
    }

    /// The method, path and description of an operation.
    fn operation(&self, id: &str) -> (String, String, &Value) {
        self.operations()
            .find(|(_, _, operation)| operation["operationId"] == id)
            .unwrap_or_else(|| panic!("{id} is not described"))
    }

    fn operations(&self) -> impl Iterator<Item = (String, String, &Value)> {
        let paths = self.description["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .iter()
                .map(|(method, operation)| (method.to_uppercase(), path.clone(), operation))
        })
    }

    /// Makes the call through a socket; its status and what was answered, a document or a text.
    async fn through(&mut self, socket: &str, asked: &Asked<'_>) -> (u16, Value) {
        let (method, path, operation) = self.operation(asked.operation);
        let responses = operation["responses"].clone();
        let mut parts = asked.path.iter();
        let filled: Vec<String> =
            path.split('/')
                .map(|part| {
                    if part.starts_with('{') { (*parts.next().unwrap()).to_owned() } else { part.to_owned() }
                })
                .collect();
        let mut target = filled.join("/");
        if !asked.query.is_empty() {
            target = format!("{target}?{}", asked.query);
        }
        // What follows arrives for ever; it is read until there is something.
        let endless = asked.operation == "tail";
        let (socket, body) = (self.harness.socket(socket), asked.body.clone());
        let said = tokio::task::spawn_blocking(move || exchange(&socket, &method, &target, &body, endless))
            .await
            .unwrap();
        let (status, kind, body) = parts_of(&said);
        let what = format!("{} {} {status}: {body}", asked.operation, asked.body);
        let response = responses
            .get(status.to_string())
            .unwrap_or_else(|| panic!("this status is not described: {what}"));
        let response = resolved(&self.description, response);
        let content =
            response["content"].get(&kind).unwrap_or_else(|| panic!("{kind} is not described: {what}"));
        let documents: Vec<Value> = match kind.as_str() {
            "application/json" => vec![serde_json::from_str(&body).unwrap()],
            "application/x-ndjson" => body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            _ => vec![Value::String(body.clone())],
        };
        for document in &documents {
            let wrong = complaints(&self.description, &content["schema"], document);
            assert!(wrong.is_empty(), "{what}\n{}", wrong.join("\n"));
        }
        if status < 300 {
            self.succeeded.insert(asked.operation.to_owned());
        }
        (status, documents.into_iter().next().unwrap_or(Value::Null))
    }

    async fn heard(&mut self, status: u16, asked: Asked<'_>) -> Value {
        let (heard, document) = self.through(ALL, &asked).await;
        assert_eq!(heard, status, "{} {}: {document}", asked.operation, asked.body);
        document
    }

    async fn ok(&mut self, asked: Asked<'_>) -> Value {
        self.heard(200, asked).await
    }
}

/// The whole answer, or of one without an end the head and the first line.
fn exchange(socket: &Path, method: &str, target: &str, body: &str, endless: bool) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(&request(method, target, "", body)).unwrap();
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            read => said.extend_from_slice(&piece[..read]),
        }
        let text = String::from_utf8_lossy(&said);
        if endless
            && text
                .split_once("\r\n\r\n")
                .is_some_and(|(head, body)| !head.contains(" 200 ") || body.contains("}\n"))
        {
            break;
        }
    }
    // A backup is no text; the lengths in it hold.
    let as_text = |bytes: &[u8]| {
        bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '.' }).collect()
    };
    String::from_utf8(said).unwrap_or_else(|error| as_text(error.as_bytes()))
}

/// Status, content type and body of an answer.
fn parts_of(said: &str) -> (u16, String, String) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if header("transfer-encoding").is_some() { unchunked(body) } else { body.to_owned() };
    (status, header("content-type").unwrap_or_default(), body)
}

#[tokio::test]
async fn every_call_is_made_and_answers_as_it_is_described() {
    let mut walk = Walk::begin().await;
    for asked in [
        "root",
        "openapi",
        "status",
        "privacy",
        "metrics",
        "listKeys",
        "acceptRestored",
        "rotateKeys",
        "backUp",
        "compact",
        "reload",
        "announceTestEvent",
    ] {
        walk.ok(ask(asked, &[])).await;
    }
    assert_eq!(walk.ok(ask("openapi", &[])).await, walk.description, "it serves what the document says");
    assert_eq!(walk.ok(ask("root", &[])).await["openapi"], "/v1/openapi.json");
    walk_over_accounts(&mut walk).await;
    walk_over_claims(&mut walk).await;
    walk_over_queues(&mut walk).await;
    walk_over_letters(&mut walk).await;
    walk_over_receipts(&mut walk).await;
    walk.ok(ask("status", &[])).await;
    let described: BTreeSet<String> = walk
        .operations()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(walk.succeeded, described, "each call was made, and has succeeded");
}

async fn walk_over_accounts(walk: &mut Walk) {
    let tokens = ["a", "b/c"].map(|account| walk.harness.ring.add_account(account).refresh);
    let entries = [
        json!({"account_id": "a", "user": "ann", "refresh_token": tokens[0], "expires_at": "2030-01-01T00:00:00Z"}),
        json!({"refresh_token": tokens[1], "user": "bob"}),
        json!({"account_id": "none"}),
        json!({"account_id": ""}),
    ];
    let body = entries.map(|entry| entry.to_string()).join("\n");
    let imported = walk.ok(Asked { body, ..ask("importAccounts", &[]) }).await;
    assert_eq!(
        (&imported["imported"], &imported["refused"][0]["line"]),
        (&json!(3), &json!(4)),
        "{imported}"
    );
    let page = walk.ok(ask("listAccounts", &[]).query("limit=1")).await;
    assert!(page["next"].is_u64(), "{page}");
    walk.ok(ask("listAccounts", &[])).await;
    walk.ok(ask("listAccounts", &[]).query("order=urgency&limit=5")).await;
    walk.ok(ask("showAccount", &["b%2Fc"])).await;
    walk.heard(404, ask("showAccount", &["nobody"])).await;
    walk.ok(ask("setUser", &["none"]).with(&json!({"user": "ann"}))).await;
    walk.heard(409, ask("setUser", &["none"]).with(&json!({"user": "bob"}))).await;
    walk.ok(ask("setUser", &["none"]).with(&json!({"user": "bob", "replace": true}))).await;
    walk.ok(ask("getAccessToken", &["a"]).with(&json!({"min_life_s": 300}))).await;
    walk.heard(404, ask("getAccessToken", &["none"])).await;
    walk.heard(409, ask("getAccessToken", &["a"]).with(&json!({"min_life_s": 999_999}))).await;
    walk.ok(ask("exportAccount", &["a"])).await;
    walk.heard(404, ask("exportAccount", &["a"]).query("user=nobody")).await;
    walk.heard(409, ask("disconnectAccount", &["none"])).await;
    walk.ok(ask("disconnectAccount", &["b%2Fc"]).with(&json!({"anyway": true}))).await;
    walk.ok(ask("forgetAccount", &["none"])).await;
    walk.heard(404, ask("forgetAccount", &["none"])).await;
}

async fn walk_over_claims(walk: &mut Walk) {
    walk.harness.event("device_added", "new").await;
    walk.harness.add_app("new").await;
    let visit = walk.harness.visit("new");
    let claim = |user: &str| json!({"nonce": visit.nonce, "time": visit.time, "user": user, "account_identifier": "x***"});
    let linked = walk.ok(ask("claim", &[]).with(&claim("ann"))).await;
    assert_eq!(
        (&linked["outcome"], &linked["released"]["events"]),
        (&json!("linked"), &json!(1)),
        "{linked}"
    );
    let second = walk.harness.visit("new");
    let other = json!({"nonce": second.nonce, "time": second.time, "user": "bob"});
    walk.heard(409, ask("claim", &[]).with(&other)).await;
    walk.heard(404, ask("claim", &[]).with(&json!({"nonce": "n", "time": "0", "user": "ann"}))).await;
    let old = json!({"nonce": visit.nonce, "time": "1", "user": "ann"});
    let (status, _) = walk.through(ALL, &ask("claim", &[]).with(&old)).await;
    assert!([404, 410].contains(&status), "{status}");
}

async fn walk_over_queues(walk: &mut Walk) {
    for kind in ["button_press", "motion_detected", "device_online", "unheard_of"] {
        walk.harness.event(kind, "a").await;
    }
    walk.ok(ask("listQueues", &[])).await;
    let newest = walk.ok(ask("tail", &["fragile"]).query("last=1")).await;
    assert_eq!(newest["ringattempt"], 1, "the next delivery is its first: {newest}");
    walk.heard(404, ask("tail", &["nowhere"])).await;
    let leased = walk.ok(ask("lease", &["fragile"]).with(&json!({"max": 100, "wait_ms": 1000}))).await;
    let events = leased["events"].as_array().unwrap();
    assert!(events.len() >= 4, "{leased}");
    let (lease, seqs) = (&leased["lease"], events.iter().map(|event| &event["seq"]).collect::<Vec<_>>());
    walk.ok(ask("extend", &["fragile"]).with(&json!({"lease": lease, "visibility_ms": 60_000}))).await;
    walk.heard(409, ask("extend", &["left"]).with(&json!({"lease": lease}))).await;
    let (last, done) = seqs.split_last().unwrap();
    let settle =
        json!({"lease": lease, "ack": done, "nack": [{"seq": last, "why": "it is broken"}], "return": []});
    let settled = walk.ok(ask("settle", &["fragile"]).with(&settle)).await;
    assert_eq!(settled["settled"], seqs.len(), "{settled}");
    walk.heard(409, ask("settle", &["left"]).with(&settle)).await;
    let empty = walk.ok(ask("lease", &["fragile"])).await;
    assert!(empty["lease"].is_null(), "{empty}");
    walk.heard(404, ask("lease", &["nowhere"])).await;
    let paused = walk.ok(ask("pauseQueue", &["fragile"])).await;
    let told = walk.ok(ask("lease", &["fragile"])).await;
    assert_eq!(told["paused_since"], paused["paused_since"], "{told}");
    walk.ok(ask("status", &[])).await;
    walk.ok(ask("resumeQueue", &["fragile"])).await;
    walk.heard(404, ask("pauseQueue", &["nowhere"])).await;
    walk.heard(404, ask("resumeQueue", &["nowhere"])).await;
    walk.heard(409, ask("removeQueue", &["left"])).await;
    // The configuration names it no more.
    walk.harness.stop().await;
    walk.harness.set_settings(FRAGILE);
    walk.harness.start().await;
    let removed = walk.ok(ask("removeQueue", &["left"])).await;
    assert!(removed["dropped"].as_u64().unwrap() >= 4, "{removed}");
}

async fn walk_over_letters(walk: &mut Walk) {
    let listed = walk.ok(ask("listDeadLetters", &[]).query("class=dead&queue=fragile")).await;
    let letter = listed["letters"][0]["id"].as_str().unwrap().to_owned();
    let shown = walk.ok(ask("showDeadLetter", &[&letter])).await;
    assert_eq!(
        (&shown["why"], &shown["event"]["ringaccount"]),
        (&json!("it is broken"), &json!("a")),
        "{shown}"
    );
    walk.heard(400, ask("showDeadLetter", &["letter"])).await;
    walk.heard(404, ask("showDeadLetter", &["dead-1-1-1"])).await;
    let replayed = walk.ok(ask("replayDeadLetters", &[]).with(&json!({"ids": [letter]}))).await;
    assert_eq!(replayed["done"], 1, "{replayed}");
    walk.ok(ask("dropDeadLetters", &[]).with(&json!({"all": true}))).await;
}

async fn walk_over_receipts(walk: &mut Walk) {
    let page = walk.ok(ask("listReceipts", &[]).query("limit=1")).await;
    let (newest, next) = (&page["events"][0], page["next"].as_str().unwrap());
    let id = newest["id"].as_str().unwrap();
    let found = walk.ok(ask("inspect", &[id])).await;
    assert_eq!(found["event"]["sequence"], newest["sequence"], "{found}");
    let older = walk.ok(ask("listReceipts", &[]).query(&format!("limit=500&before={next}"))).await;
    let events = older["events"].as_array().unwrap();
    assert!(events.len() >= 4 && events.iter().all(|event| event != newest), "{older}");
    // Each of them has a life, whatever became of it.
    for event in events {
        walk.ok(ask("inspect", &[&event["sequence"].to_string()])).await;
    }
    walk.heard(404, ask("inspect", &["no-such-event"])).await;
    walk.heard(400, ask("listReceipts", &[]).query("before=x")).await;
    let page = walk.ok(ask("listActs", &[]).query("limit=3")).await;
    let older = walk.ok(ask("listActs", &[]).query(&format!("limit=1000&before={}", page["next"]))).await;
    assert!(older["acts"].as_array().unwrap().len() > 5, "{older}");
    walk.heard(400, ask("listActs", &[]).query("since=yesterday")).await;
}

#[tokio::test]
async fn wrong_bodies_and_missing_rights_are_refused_as_it_is_described() {
    let mut walk = Walk::begin().await;
    walk.harness.event("button_press", "a").await;
    let operations: Vec<(String, String, Value)> =
        walk.operations().map(|(method, path, operation)| (method, path, operation.clone())).collect();
    for (_, path, operation) in &operations {
        let name = operation["operationId"].as_str().unwrap();
        let fillers: Vec<&str> = path
            .split('/')
            .filter(|part| part.starts_with('{'))
            .map(|part| match part {
                "{queue}" => "left",
                "{letter}" => "dead-1-1-1",
                _ => "a",
            })
            .collect();
        if let Some(right) = operation["x-right"].as_str() {
            assert!(Call::ALL.map(Call::as_str).contains(&right), "{name} needs {right}, which is no right");
            // Other rights of queues show the queues, too.
            if name != "listQueues" {
                let (status, _) = walk.through(&format!("no-{right}.sock"), &ask(name, &fillers)).await;
                assert_eq!(status, 403, "{name} without {right}");
            }
        }
        if operation["requestBody"]["content"].get("application/json").is_some() {
            for body in wrong_bodies(&walk.description, operation) {
                walk.heard(400, Asked { body, ..ask(name, &fillers) }).await;
            }
        }
        let queries =
            operation["parameters"].as_array().into_iter().flatten().filter(|given| given["in"] == "query");
        for given in queries.filter(|given| given["schema"]["type"] != "string") {
            let query = format!("{}=-x", given["name"].as_str().unwrap());
            walk.heard(400, ask(name, &fillers).query(&query)).await;
        }
    }
}

/// Bodies that the schema of an operation does not allow: no JSON, an unknown field, and each field with a value of another type.
fn wrong_bodies(description: &Value, operation: &Value) -> Vec<String> {
    let schema = resolved(description, &operation["requestBody"]["content"]["application/json"]["schema"]);
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let properties = schema["properties"].as_object().unwrap();
    let good: Map<String, Value> = required
        .iter()
        .map(|name| name.as_str().unwrap())
        .map(|name| {
            (name.to_owned(), if properties[name]["type"] == "string" { json!("x") } else { json!([]) })
        })
        .collect();
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body.insert(name.to_owned(), value);
        Value::Object(body).to_string()
    };
    let mut bodies = vec!["{".into(), "[1]".into(), with("no_such_field", json!(1))];
    for (name, schema) in properties {
        let wrong = match schema["type"].as_str() {
            Some("string") => json!(7),
            Some("integer") => json!("many"),
            Some("boolean") => json!("maybe"),
            Some("array") => json!({"x": 1}),
            other => panic!("{name} is of type {other:?}"),
        };
        bodies.push(with(name, wrong));
    }
    for name in required {
        let mut body = good.clone();
        body.remove(name.as_str().unwrap());
        bodies.push(Value::Object(body).to_string());
    }
    bodies
}

/// The other direction: the list of calls in the code names nothing that the description does not.
#[test]
fn no_call_is_left_out_of_the_description() {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let source = include_str!("../../src/admin/mod.rs");
    let calls: BTreeSet<(String, String)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", ["))
        .filter_map(|(method, rest)| Some((method.to_lowercase(), rest.split_once("])")?.0)))
        .map(|(method, parts)| {
            let parts = parts
                .split(", ")
                .map(|part| part.strip_prefix('"').and_then(|p| p.strip_suffix('"')).unwrap_or("{}"));
            (method, format!("/{}", parts.collect::<Vec<_>>().join("/")))
        })
        .collect();
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.clone(), bare(path)))
        })
        .collect();
    assert!(calls.len() > 20, "the list was found");
    assert_eq!(calls, described);
}

/// A path without the names of what is filled in.
fn bare(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}
