//! `ringhookd status`: how the running daemon stands.

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;

const QUEUE_COLUMNS: [(&str, &str); 5] = [
    ("QUEUE", "name"),
    ("KIND", "kind"),
    ("WAITING", "waiting"),
    ("OLDEST", "oldest"),
    ("DELIVERY", "delivery"),
];
const KEY_COLUMNS: [(&str, &str); 3] =
    [("WEBHOOK KEY", "fingerprint"), ("SET", "set_at"), ("LAST VERIFIED", "verified_at")];

/// Exit 1 when the store is not ready.
pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let mut status: Value = daemon.get("/v1/status").await?;
    let state = status["store"]["state"].as_str().unwrap_or("unknown").to_owned();
    if out.json {
        out.item(&status)?;
    } else {
        let mut table = |name: &str| match status[name].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        };
        let (queues, keys) = (table("queues"), table("webhook_keys"));
        if let Some(fields) = status.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        out.item(&status)?;
        for (rows, columns) in [(queues, &QUEUE_COLUMNS[..]), (keys, &KEY_COLUMNS[..])] {
            if !rows.is_empty() {
                out.line("")?;
                out.list(&rows, columns)?;
            }
        }
    }
    out.flush()?;
    if state == "ready" { Ok(()) } else { Err(Failure::no(format!("the store is not ready: {state}"))) }
}
