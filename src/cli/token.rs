//! `ringhookd token`: an access token to work with.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, encoded};
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
