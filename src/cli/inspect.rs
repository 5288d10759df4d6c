//! `ringhookd inspect`: what became of one event, or the latest requests.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, encoded};
use super::failure::Failure;
use super::output::{Output, aligned};
use crate::logging::text;

const COLUMNS: [(&str, &str); 7] = [
    ("AT", "at"),
    ("OUTCOME", "outcome"),
    ("FROM", "from"),
    ("ID", "id"),
    ("TYPE", "type"),
    ("ACCOUNT", "account"),
    ("WHY", "why"),
];

#[derive(Debug, Deserialize)]
struct Found {
    event: Option<Value>,
    requests: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Page {
    events: Vec<Value>,
    requests: Vec<Value>,
}

pub(super) async fn run(
    id: Option<&str>,
    recent: u16,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    match id {
        Some(id) => one(id, daemon, out).await,
        None => latest(recent, daemon, out).await,
    }
}

async fn one(id: &str, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let found: Value = daemon.get(&format!("/v1/inspect/{}", encoded(id))).await?;
    if out.json {
        return out.item(&found);
    }
    let Found { event, requests } =
        serde_json::from_value(found).map_err(|error| Failure::no(error.to_string()))?;
    let mut rows = Vec::new();
    if let Some(event) = &event {
        rows.extend(of_event(event));
    }
    rows.extend(requests.iter().map(again));
    aligned(&rows).iter().try_for_each(|line| out.line(line))
}

/// The event's life, a line for each thing that happened: when, and what.
fn of_event(event: &Value) -> Vec<Vec<String>> {
    let of = |name: &str| shown(&event[name]);
    let row = |name: &str, words: String| vec![name.to_owned(), words];
    let via = if event["forwarded_for"].is_null() {
        String::new()
    } else {
        format!(", for {}", of("forwarded_for"))
    };
    let key = if event["verified_by"].is_null() {
        "an event of the daemon's own".to_owned()
    } else {
        format!("verified by key {}", of("verified_by"))
    };
    let mut rows = vec![
        row("event", format!("{}, sequence {}", of("id"), of("sequence"))),
        row("type", of("type")),
        row("received", format!("{} from {}{via}", of("received_at"), of("from"))),
        row("verdict", format!("{}, {}; {key}", of("verdict"), of("outcome"))),
        row("account", format!("{}, user {}", of("account"), of("user"))),
    ];
    for renewed in list(event, "renewed") {
        rows.push(row(
            &shown(&renewed["why"]),
            format!("{} as sequence {}", shown(&renewed["at"]), shown(&renewed["sequence"])),
        ));
    }
    for place in list(event, "places") {
        rows.extend(of_place(place));
    }
    rows
}

fn of_place(place: &Value) -> Vec<Vec<String>> {
    let name = match place["queue"].as_str() {
        Some(queue) => format!("queue {}", text(queue)),
        None => "beside the queues".to_owned(),
    };
    let mut rows = Vec::new();
    for attempt in list(place, "attempts") {
        let words = format!(
            "{} attempt {} failed: {}",
            shown(&attempt["at"]),
            shown(&attempt["attempt"]),
            shown(&attempt["why"])
        );
        rows.push(vec![name.clone(), words]);
    }
    let ended = &place["ended"];
    if !ended.is_null() {
        let why = ended["why"].as_str().map(|why| format!(": {}", text(why))).unwrap_or_default();
        rows.push(vec![
            name.clone(),
            format!("{} {} by {}{why}", shown(&ended["at"]), shown(&ended["how"]), shown(&ended["by"])),
        ]);
    }
    let letter = place["letter"].as_str().map(|letter| format!(", {letter}")).unwrap_or_default();
    let due = place["due"].as_str().map(|due| format!(" until {due}")).unwrap_or_default();
    rows.push(vec![name, format!("now {}{due}{letter}", shown(&place["state"]))]);
    rows
}

/// A request about the same event that left none of its own.
fn again(request: &Value) -> Vec<String> {
    let why = request["why"].as_str().map(|why| format!(": {}", text(why))).unwrap_or_default();
    let words = format!(
        "{} {} from {}, {} times{why}",
        shown(&request["last_at"]),
        shown(&request["outcome"]),
        shown(&request["from"]),
        shown(&request["count"])
    );
    vec!["also".into(), words]
}

fn list<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    of[name].as_array().into_iter().flatten()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(content) => text(content).to_string(),
        other => other.to_string(),
    }
}

/// Accepted and other requests together, the newest first.
async fn latest(recent: u16, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let Page { mut events, mut requests } = daemon.get(&format!("/v1/receipts?limit={recent}")).await?;
    for event in &mut events {
        event["at"] = event["received_at"].clone();
    }
    for request in &mut requests {
        request["at"] = request["last_at"].clone();
        if !out.json {
            request["why"] = json!(what_of(request));
        }
    }
    events.append(&mut requests);
    events.sort_by(|one, other| other["at"].as_str().cmp(&one["at"].as_str()));
    events.truncate(usize::from(recent));
    out.list(&events, &COLUMNS)
}

/// What was asked, how it was answered and how often, in the last column.
fn what_of(request: &Value) -> String {
    let count = request["count"].as_u64().unwrap_or(1) + request["others"].as_u64().unwrap_or(0);
    let times = if count > 1 { format!(", {count} times") } else { String::new() };
    let why = request["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    let of = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    format!("{} {} answered {}{times}{why}", of("method"), of("path"), request["status"])
}
