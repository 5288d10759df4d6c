//! `ringhookd accounts import`: sends accounts in batches, shows how far it is, and ends with a summary however it ends.

mod input;

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::input::{Batches, InputError};
use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::stop::Stop;
use crate::domain::released::Released;
use crate::domain::units::count;
use crate::logging::text;

/// Longest list in the summary in JSON: memory is bounded however large the input is.
const LISTED: usize = 10_000;
const REPEAT: &str = "importing the same again does no harm: an account that has these tokens stays as it is";

/// What was done so far; its lines are the input's.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Totals {
    imported: u64,
    created: u64,
    released: Released,
    /// Lines without an account, and whose Ring says they are.
    found: Vec<FoundLine>,
    /// Lines whose account Ring has not told yet.
    pending: Vec<PendingLine>,
    refused: Vec<RefusedLine>,
    #[serde(skip)]
    still_pending: u64,
    #[serde(skip)]
    refusals: u64,
    /// Lines that are in none of the lists, because these are full.
    #[serde(skip_deserializing)]
    unlisted: usize,
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

/// Each account stands for itself: one that is refused holds up no other.
pub(super) async fn run(
    file: &Path,
    replace: bool,
    daemon: &Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut stop =
        Stop::listen().map_err(|error| Failure::no(format!("signals can't be caught: {error}")))?;
    let mut import = Importer {
        path: format!("/v1/accounts?replace={replace}"),
        daemon,
        total: Totals::default(),
        read: 0,
        progress: Progress::new(out.json),
    };
    let ended = import.all(file, &mut stop, out).await;
    let Importer { total, progress, .. } = import;
    drop(progress);
    total.report(out)?;
    out.flush()?;
    ended?;
    if total.refusals > 0 {
        return Err(Failure::Said);
    }
    if total.imported == 0 && total.still_pending == 0 {
        Err(Failure::no("there was no account to import"))
    } else {
        Ok(())
    }
}

struct Importer<'a> {
    path: String,
    daemon: &'a Client,
    total: Totals,
    /// Accounts.
    read: usize,
    progress: Progress,
}

impl Importer<'_> {
    /// Imports batch after batch, until the end, a failure or a signal.
    async fn all(&mut self, file: &Path, stop: &mut Stop, out: &mut Output) -> Result<(), Failure> {
        let wrong = |error: &InputError| Failure::no(format!("{}: {error}", file.display()));
        let path = file.to_owned();
        let opening = tokio::task::spawn_blocking(move || {
            let mut batches = input::open(&path)?;
            batches.begin()?;
            Ok(batches)
        });
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.told() => return Err(Failure::no("stopped before the first account")),
        };
        let opened = opened.map_err(|error| Failure::no(error.to_string()))?;
        let mut batches =
            opened.map_err(|error| Failure::no(format!("{}; nothing was imported", wrong(&error))))?;
        loop {
            let line = batches.line();
            let reading = tokio::task::spawn_blocking(move || {
                let next = next(&mut batches);
                (batches, next)
            });
            let read = tokio::select! {
                read = reading => read,
                () = stop.told() => return Err(stopped(line)),
            };
            let (back, next) = read.map_err(|error| Failure::no(error.to_string()))?;
            batches = back;
            let broken =
                |error: InputError| Failure::no(format!("{}; lines before are imported", wrong(&error)));
            let Some(batch) = next.map_err(broken)? else { return Ok(()) };
            if self.batch(batch, stop, out).await? {
                return Err(stopped(batches.line()));
            }
        }
    }

    /// Imports one batch. A signal waits for its answer; a second one does not. Returns whether there was one.
    async fn batch(
        &mut self,
        (body, line, accounts): (Bytes, usize, usize),
        stop: &mut Stop,
        out: &mut Output,
    ) -> Result<bool, Failure> {
        let mut call = std::pin::pin!(self.daemon.call(Method::POST, &self.path, body));
        let (answer, asked_to_stop) = tokio::select! {
            answer = &mut call => (answer, false),
            () = stop.told() => tokio::select! {
                answer = &mut call => (answer, true),
                () = stop.told() => return Err(unknown(line, "stopped")),
            },
        };
        let done: Totals = answer.map_err(|failure| unknown(line, &failure.to_string()))?;
        for RefusedLine { line: at, error } in &done.refused {
            self.progress.line(&format!("ringhookd: line {}: {error}", line + at - 1));
        }
        self.total.add(done, line, out)?;
        self.read += accounts;
        self.progress.tell(|| {
            format!("{} read, {} imported", count(self.read as u64, "account"), self.total.imported)
        });
        Ok(asked_to_stop)
    }
}

/// The next batch as the body of a call, with its first line and its number of accounts.
fn next(batches: &mut Batches<File>) -> Result<Option<(Bytes, usize, usize)>, InputError> {
    let batch = batches.next()?;
    Ok(batch.map(|batch| (Bytes::copy_from_slice(batch.text), batch.line, batch.accounts)))
}

fn stopped(line: usize) -> Failure {
    Failure::no(format!("stopped before line {line}; what is above is imported, and {REPEAT}"))
}

fn unknown(line: usize, why: &str) -> Failure {
    Failure::no(format!("{why}; accounts from line {line} on may or may not be imported, and {REPEAT}"))
}

impl Totals {
    /// Adds what became of the batch that begins on line `from`. For people, lines are printed at once instead of kept.
    fn add(&mut self, done: Self, from: usize, out: &mut Output) -> Result<(), Failure> {
        let Self { imported, created, released, found, pending, refused, .. } = done;
        self.imported += imported;
        self.created += created;
        self.released.add(released);
        self.still_pending += pending.len() as u64;
        self.refusals += refused.len() as u64;
        let at = |line: usize| from + line - 1;
        let found = found.into_iter().map(|f| FoundLine { line: at(f.line), ..f });
        let pending = pending.into_iter().map(|p| PendingLine { line: at(p.line), ..p });
        if out.json {
            let refused = refused.into_iter().map(|r| RefusedLine { line: at(r.line), ..r });
            self.unlisted += keep(&mut self.found, found);
            self.unlisted += keep(&mut self.pending, pending);
            self.unlisted += keep(&mut self.refused, refused);
            return Ok(());
        }
        for FoundLine { line, account_id } in found {
            out.line(&format!("line {line} is account {}", text(&account_id)))?;
        }
        for PendingLine { line, why } in pending {
            out.line(&format!("line {line} is pending, and goes on by itself: {}", text(&why)))?;
        }
        Ok(())
    }

    fn report(&self, out: &mut Output) -> Result<(), Failure> {
        if out.json {
            return out.item(&json!(self));
        }
        let Self { imported, created, released, refusals, .. } = self;
        out.line(&format!(
            "imported {}, {created} of them new; {released}; {refusals} refused",
            count(*imported, "account")
        ))
    }
}

/// Adds lines to a list until that is full. Returns how many were left out.
fn keep<T>(list: &mut Vec<T>, lines: impl Iterator<Item = T>) -> usize {
    let mut left_out = 0;
    for line in lines {
        if list.len() < LISTED {
            list.push(line);
        } else {
            left_out += 1;
        }
    }
    left_out
}
