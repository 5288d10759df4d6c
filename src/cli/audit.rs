//! `ringhookd audit`: what callers of the admin API did.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, query};
use super::failure::Failure;
use super::output::Output;
use crate::domain::time::Millis;

const COLUMNS: [(&str, &str); 7] = [
    ("AT", "at"),
    ("ACT", "act"),
    ("ACCOUNT", "account"),
    ("USER", "user"),
    ("FORMER", "former"),
    ("BY", "who"),
    ("DETAIL", "detail"),
];

#[derive(Debug, Deserialize)]
struct Page {
    acts: Vec<Value>,
    next: Option<u64>,
}

pub(super) async fn run(
    since: Option<Millis>,
    account: Option<&str>,
    max: u32,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let since = since.map(Millis::rfc3339);
    let (mut acts, mut before) = (Vec::new(), None::<String>);
    while acts.len() < max as usize {
        let limit = (max as usize - acts.len()).min(1000).to_string();
        let query = query(&[
            ("since", since.as_deref()),
            ("account", account),
            ("limit", Some(&limit)),
            ("before", before.as_deref()),
        ]);
        let page: Page = daemon.get(&format!("/v1/audit{query}")).await?;
        acts.extend(page.acts);
        match page.next {
            Some(next) => before = Some(next.to_string()),
            None => break,
        }
    }
    if !out.json {
        acts.iter_mut().for_each(readable);
    }
    out.list(&acts, &COLUMNS)
}

/// Puts what a table shows in one column into one field.
fn readable(act: &mut Value) {
    let by = &act["by"];
    let socket = by["socket"].as_str().unwrap_or_default();
    let who = match (by["uid"].as_u64(), by["pid"].as_u64(), by["token"].as_str()) {
        (Some(uid), Some(pid), _) => format!("uid {uid}, pid {pid} on {socket}"),
        (Some(uid), None, _) => format!("uid {uid} on {socket}"),
        (None, _, Some(token)) => format!("token {token} on {socket}"),
        (None, _, None) if by.is_null() => "the daemon by itself".to_owned(),
        (None, _, None) => socket.to_owned(),
    };
    act["who"] = json!(who);
    if act["forgotten"] == true {
        act["account"] = json!("(forgotten)");
    }
}
