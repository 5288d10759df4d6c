//! `ringhookd reload`: has the running daemon read its configuration anew, and waits until it has.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;

#[derive(Debug, Serialize, Deserialize)]
struct Reloaded {
    applied: Vec<String>,
    needs_restart: Vec<String>,
}

/// Exit 1 with the problems of the file, or with what needs a restart.
pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let Reloaded { applied, needs_restart } = daemon.post("/v1/reload", &json!({})).await?;
    let words = match (applied.as_slice(), needs_restart.as_slice()) {
        ([], []) => "the configuration was read anew: nothing has changed".to_owned(),
        (applied, []) => format!("the configuration was read anew: {}", applied.join(", ")),
        ([], restart) => format!("a restart is needed for: {}", restart.join(", ")),
        (applied, restart) => {
            format!("changed: {}; a restart is needed for: {}", applied.join(", "), restart.join(", "))
        }
    };
    let complete = needs_restart.is_empty();
    out.done(&json!({"applied": applied, "needs_restart": needs_restart}), &words)?;
    out.flush()?;
    if complete { Ok(()) } else { Err(Failure::Said) }
}
