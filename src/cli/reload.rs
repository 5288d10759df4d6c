//! `ringhookd reload`: has the running daemon read its configuration anew, and waits until it has.

use serde_json::json;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use crate::domain::status::{Applied, Outstanding, Reloaded};

/// Exit 1 with the problems of the file, or with what needs a restart.
pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let done: Reloaded = daemon.post("/v1/reload", &json!({})).await?;
    out.done(&json!(done), &words(&done))?;
    out.flush()?;
    if done.needs_restart.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

/// A line for each change.
fn words(done: &Reloaded) -> String {
    let Reloaded { applied, needs_restart } = done;
    if applied.is_empty() && needs_restart.is_empty() {
        return "the configuration was read anew: nothing has changed".to_owned();
    }
    let applied = applied.iter().map(|Applied { key, words }| format!("{key} {words}"));
    let outstanding =
        needs_restart.iter().map(|Outstanding { key, why }| format!("{key} needs a restart, because {why}"));
    applied.chain(outstanding).collect::<Vec<_>>().join("\n")
}
