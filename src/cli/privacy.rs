//! `ringhookd privacy`: what the running daemon keeps of a user, why, how long, and who can read it.

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use crate::domain::privacy::Sheet;

pub(super) async fn run(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let document: Value = daemon.get("/v1/privacy").await?;
    if out.json {
        return out.item(&document);
    }
    let sheet: Sheet = serde_json::from_value(document).map_err(|error| {
        Failure::no(format!("the daemon's answer is not understood ({error}); is it another version?"))
    })?;
    sheet.markdown().iter().try_for_each(|line| out.line(line))
}
