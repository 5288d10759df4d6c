//! `ringhookd accounts`: list, show, import, set-user, forget.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::AccountsCommand;
use super::client::{Client, encoded};
use super::confirm::confirm;
use super::failure::Failure;
use super::output::Output;
use crate::domain::json_stream::{NotJson, values};
use crate::log::text;

const COLUMNS: [(&str, &str); 6] = [
    ("ACCOUNT", "account_id"),
    ("USER", "user"),
    ("STATE", "state"),
    ("TOKENS", "token_state"),
    ("LAPSES", "lapses_at"),
    ("LINKED", "linked_at"),
];
/// Largest file that is imported.
const MAX_INPUT: usize = 256 << 20;
/// What is sent at once, unless a single account is larger.
const BATCH: usize = 256 << 10;
/// And how many accounts: each may have to be asked for at Ring, at so many a second.
const BATCH_ACCOUNTS: usize = 200;

#[derive(Debug, Deserialize)]
struct Page {
    accounts: Vec<Value>,
    next: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
struct Totals {
    imported: u64,
    created: u64,
    released: u64,
    /// Lines without an account, and whose Ring says they are.
    found: Vec<FoundLine>,
    /// Lines whose account Ring has not told yet.
    pending: Vec<PendingLine>,
    refused: Vec<RefusedLine>,
}

#[derive(Debug, Deserialize, Serialize)]
struct PendingLine {
    line: usize,
    why: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct FoundLine {
    line: usize,
    account_id: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct RefusedLine {
    line: usize,
    error: String,
}

pub(super) async fn run(command: AccountsCommand, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    match command {
        AccountsCommand::List => list(daemon, out).await,
        AccountsCommand::Show { account } => {
            out.item(&daemon.get(&format!("/v1/accounts/{}", encoded(&account))).await?)
        }
        AccountsCommand::Import { file, replace } => import(&file, replace, daemon, out).await,
        AccountsCommand::SetUser { account, user, replace } => {
            let path = format!("/v1/accounts/{}/user", encoded(&account));
            let done: Value = daemon.post(&path, &json!({"user": user, "replace": replace})).await?;
            out.done(&done, &format!("done; {} held events went to the user's queues", done["released"]))
        }
        AccountsCommand::Forget { account, yes } => {
            confirm("Destroying the account's keys, tokens and events", yes)?;
            let done: Value = daemon.delete(&format!("/v1/accounts/{}", encoded(&account))).await?;
            out.done(&done, "forgotten; after `keys rotate` and the end of the old master key it is final")
        }
    }
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

/// Nothing is sent when any of it is no JSON; of what is sent each account stands for itself.
async fn import(file: &Path, replace: bool, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let input = read(file).map_err(|error| Failure::no(format!("{}: {error}", file.display())))?;
    let mut total = Totals::default();
    for batch in batches(&input)? {
        let body = Bytes::copy_from_slice(&input[batch.bytes.clone()]);
        let path = format!("/v1/accounts?replace={replace}");
        let done: Totals = daemon.call(Method::POST, &path, body).await?;
        for RefusedLine { line, error } in &done.refused {
            eprintln!("ringhookd: line {}: {error}", batch.line + line - 1);
        }
        total.add(done, batch.line);
    }
    total.report(out)?;
    if !total.refused.is_empty() {
        out.flush()?;
        return Err(Failure::Said);
    }
    if total.imported == 0 && total.pending.is_empty() {
        Err(Failure::no("there was no account to import"))
    } else {
        Ok(())
    }
}

impl Totals {
    /// Adds what became of the batch that begins on line `from`.
    fn add(&mut self, done: Self, from: usize) {
        let Self { imported, created, released, found, pending, refused } = done;
        self.imported += imported;
        self.created += created;
        self.released += released;
        let at = |line: usize| from + line - 1;
        self.found.extend(found.into_iter().map(|f| FoundLine { line: at(f.line), ..f }));
        self.pending.extend(pending.into_iter().map(|p| PendingLine { line: at(p.line), ..p }));
        self.refused.extend(refused.into_iter().map(|r| RefusedLine { line: at(r.line), ..r }));
    }

    fn report(&self, out: &mut Output) -> Result<(), Failure> {
        let Self { imported, created, released, found, pending, refused } = self;
        if out.json {
            return out.item(&json!({
                "imported": imported,
                "created": created,
                "released": released,
                "found": found,
                "pending": pending,
                "refused": refused,
            }));
        }
        out.line(&format!(
            "imported {imported} accounts, {created} of them new; {released} held events were released; {} refused",
            refused.len()
        ))?;
        for FoundLine { line, account_id } in found {
            out.line(&format!("line {line} is account {}", text(account_id)))?;
        }
        for PendingLine { line, why } in pending {
            out.line(&format!("line {line} is pending, and goes on by itself: {}", text(why)))?;
        }
        Ok(())
    }
}

/// Whole values that go out together, and the line they begin on.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    bytes: std::ops::Range<usize>,
    accounts: usize,
    line: usize,
}

fn batches(input: &[u8]) -> Result<Vec<Batch>, Failure> {
    let mut batches: Vec<Batch> = Vec::new();
    for value in values(input) {
        if let Err(NotJson) = value.text {
            return Err(Failure::no(format!(
                "line {}: this is no JSON (one object, or one a line); nothing was imported",
                value.line
            )));
        }
        match batches.last_mut() {
            Some(last) if value.bytes.end - last.bytes.start <= BATCH && last.accounts < BATCH_ACCOUNTS => {
                last.bytes.end = value.bytes.end;
                last.accounts += 1;
            }
            _ => batches.push(Batch { bytes: value.bytes, accounts: 1, line: value.line }),
        }
    }
    Ok(batches)
}

/// All of a file, or of standard input for `-`; buffers that held tokens are overwritten.
fn read(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut from: Box<dyn Read> =
        if file.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
    let mut all = Zeroizing::new(vec![0; 64 << 10]);
    let mut length = 0;
    loop {
        if length == all.len() {
            if length >= MAX_INPUT {
                return Err(io::Error::other("it is larger than 256 MiB; split it"));
            }
            // Not grown in place, which would leave a copy behind.
            let mut larger = Zeroizing::new(vec![0; 2 * length]);
            larger[..length].copy_from_slice(&all);
            all = larger;
        }
        match from.read(&mut all[length..])? {
            0 => break,
            n => length += n,
        }
    }
    all.truncate(length);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_between_values_and_know_their_line() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(BATCH / 2));
        let input = line.repeat(3).into_bytes();
        let lines: Vec<_> = batches(&input).unwrap().iter().map(|batch| batch.line).collect();
        assert_eq!(lines, [1, 2, 3]);
        let many = "{}\n".repeat(BATCH_ACCOUNTS + 1).into_bytes();
        assert_eq!(
            batches(&many).unwrap().iter().map(|b| b.accounts).collect::<Vec<_>>(),
            [BATCH_ACCOUNTS, 1]
        );
        let small = batches(b"\n{}\n{}\n").unwrap();
        assert_eq!(small, [Batch { bytes: 1..6, accounts: 2, line: 2 }]);
        assert!(batches(b"{}\nno").unwrap_err().to_string().starts_with("line 2: "));
    }
}
