//! `ringhookd token` and `ringhookd restore`: an access token to work with, and the word that lets a restored store go on.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::RestoreCommand;
use super::client::{Client, encoded};
use super::confirm::confirm;
use super::failure::Failure;
use super::output::Output;

/// Prints the token alone, so that it fits into a command line; with `--json` all that is known of it.
pub(super) async fn token(
    account: &str,
    min_life: Duration,
    refused: Option<u64>,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let path = format!("/v1/accounts/{}/token", encoded(account));
    let wish = json!({"min_life_s": min_life.as_secs(), "refused": refused});
    let token: Value = daemon.post(&path, &wish).await?;
    out.done(&token, token["access_token"].as_str().unwrap_or_default())
}

pub(super) async fn restore(
    command: RestoreCommand,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let RestoreCommand::Accept { yes } = command;
    confirm("Going on with an older copy of the store (links that a newer copy keeps alive may end)", yes)?;
    let done: Value = daemon.post("/v1/restore/accept", &json!({})).await?;
    out.done(&done, "accepted; refreshes go on. `ringhookd accounts list` shows which links did not survive")
}
