//! `ringhookd compact`: makes the store's file small, and shows how far it is.

use std::io::{self, IsTerminal};

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;

pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let progress = io::stderr().is_terminal();
    let mut steps = daemon.post_lines("/v1/compact").await?;
    let mut last = Value::Null;
    while let Some(line) = steps.next().await? {
        last = serde_json::from_slice(&line).map_err(|error| Failure::no(error.to_string()))?;
        if let (true, Some(rows), Some(of)) = (progress, last["rows"].as_u64(), last["of"].as_u64()) {
            eprint!("\r{rows} of {of} rows ({} %)", rows.saturating_mul(100) / of.max(1));
        }
    }
    if progress {
        eprintln!();
    }
    match (last["before"].as_u64(), last["after"].as_u64(), last["error"].as_str()) {
        (Some(before), Some(after), _) => {
            out.done(&last, &format!("the store's file had {before} bytes, and has {after}"))
        }
        (_, _, Some(error)) => Err(Failure::no(format!("the file stays as it was: {error}"))),
        _ => Err(Failure::no("the daemon broke off; `ringhookd status` says how large the file is")),
    }
}
