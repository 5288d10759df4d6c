//! `ringhookd accounts`: list, show, set-user, disconnect, forget; and export and import, which have files of their own.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::AccountsCommand;
use super::client::{Client, encoded};
use super::confirm::confirm;
use super::export;
use super::failure::Failure;
use super::import;
use super::output::Output;
use super::progress::Progress;
use super::stop::Stop;
use crate::domain::deletion::Deletion;
use crate::domain::disconnect::Disconnection;
use crate::domain::released::Released;

/// Copies that a forget can't reach.
const LEFT: &str = "Backups made before have it, sealed, until you delete them: note when the last one goes. So does the present store's \
                    file, under a master key that `ringhookd keys rotate` replaces. For 76 hours a hash of the id is kept, so that a late \
                    event reaches nobody.";

const COLUMNS: [(&str, &str); 7] = [
    ("ACCOUNT", "account_id"),
    ("USER", "user"),
    ("STATE", "state"),
    ("TOKENS", "token_state"),
    ("NEXT TRY", "next_try_at"),
    ("LAPSES", "lapses_at"),
    ("LINKED", "linked_at"),
];

#[derive(Debug, Deserialize)]
struct Page {
    accounts: Vec<Value>,
    next: Option<u32>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Bound {
    released: Released,
}

pub(super) async fn run(command: AccountsCommand, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    match command {
        AccountsCommand::List => list(daemon, out).await,
        AccountsCommand::Show { account } => {
            out.item(&daemon.get(&format!("/v1/accounts/{}", encoded(&account))).await?)
        }
        AccountsCommand::Import { file, replace } => import::run(&file, replace, daemon, out).await,
        AccountsCommand::SetUser { account, user, replace } => {
            let path = format!("/v1/accounts/{}/user", encoded(&account));
            let bound: Bound = daemon.post(&path, &json!({"user": user, "replace": replace})).await?;
            out.done(&json!(bound), &format!("done; {}", bound.released))
        }
        AccountsCommand::Forget { account, yes } => {
            confirm("Destroying the account's keys, tokens and events", yes)?;
            let path = format!("/v1/accounts/{}", encoded(&account));
            let forget = daemon.delete::<Deletion>(&path);
            let deletion = wait(out, "its events are being dropped", forget).await?;
            out.done(&json!(deletion), &format!("{deletion}.\n{LEFT}"))
        }
        AccountsCommand::Export { account, user, output } => {
            export::run(&account, user.as_deref(), output.as_deref(), daemon, out).await
        }
        AccountsCommand::Disconnect { account, anyway, yes } => {
            confirm("Having Ring pause the app, and destroying the account's keys, tokens and events", yes)?;
            let path = format!("/v1/accounts/{}/disconnect", encoded(&account));
            let body = json!({"anyway": anyway});
            let disconnect = daemon.post::<Disconnection>(&path, &body);
            let done = wait(out, "Ring is asked, then its events are dropped", disconnect).await?;
            out.done(&json!(done), &format!("{done}\n{LEFT}"))
        }
    }
}

/// Waits for what may take long and goes on without us.
async fn wait<T>(
    out: &Output,
    words: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let stopped =
        "stopped waiting; what has begun the daemon ends by itself, and `accounts show` says whether it has";
    let mut stop = Stop::listen()?;
    Progress::new(out.json).wait(words, &mut stop, work).await.ok_or_else(|| Failure::no(stopped))?
}

async fn list(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let page: Page = daemon.get(&format!("/v1/accounts?after={from}")).await?;
        after = page.next;
        if out.json {
            out.list(&page.accounts, &COLUMNS)?;
        } else {
            all.extend(page.accounts);
        }
    }
    if out.json { Ok(()) } else { out.list(&all, &COLUMNS) }
}
