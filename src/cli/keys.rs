//! `ringhookd keys`: show and rotate.

use serde::Deserialize;
use serde_json::{Value, json};

use super::args::KeysCommand;
use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::stop::Stop;

#[derive(Debug, Deserialize)]
struct Shown {
    master: String,
    data_keys: Vec<Value>,
    webhook_keys: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Step {
    changed: u64,
    next: Option<String>,
}

pub(super) async fn run(command: KeysCommand, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    match command {
        KeysCommand::Show => show(daemon, out).await,
        KeysCommand::Rotate => rotate(daemon, out).await,
    }
}

async fn show(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return out.item(&daemon.get("/v1/keys").await?);
    }
    let keys: Shown = daemon.get("/v1/keys").await?;
    out.list(
        &keys.data_keys,
        &[("MASTER KEY", "master"), ("DATA KEYS", "data_keys"), ("CURRENT", "current")],
    )?;
    out.line("")?;
    let columns = [("WEBHOOK KEY", "fingerprint"), ("SET", "set_at"), ("LAST VERIFIED", "verified_at")];
    out.list(&keys.webhook_keys, &columns)
}

/// Each step is durable by itself: whoever stops here may begin anew.
async fn rotate(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let (mut progress, mut signals) = (Progress::new(out.json), Stop::listen()?);
    let (mut changed, mut after) = (0, None);
    loop {
        let wish = json!({"after": after});
        let step: Step = tokio::select! {
            step = daemon.post("/v1/keys/rotate", &wish) => step?,
            () = signals.told() => {
                return Err(Failure::no(format!("stopped; {changed} data keys re-wrapped, and not all are done: run it again")));
            }
        };
        changed += step.changed;
        after = step.next;
        progress.tell(|| format!("{changed} data keys re-wrapped"));
        if after.is_none() {
            break;
        }
    }
    drop(progress);
    let keys: Shown = daemon.get("/v1/keys").await?;
    let old: u64 = keys
        .data_keys
        .iter()
        .filter(|key| key["current"] != true)
        .filter_map(|key| key["data_keys"].as_u64())
        .sum();
    let words =
        format!("{changed} data keys re-wrapped; {old} are under another master key than {}", keys.master);
    out.done(&json!({"changed": changed, "left": old, "master": keys.master}), &words)?;
    out.flush()?;
    if old == 0 { Ok(()) } else { Err(Failure::no("not all are done; run it again")) }
}
