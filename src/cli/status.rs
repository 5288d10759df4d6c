//! `ringhookd status`: how the running daemon stands, and what its operator has to do first.

mod page;

use std::io::{self, IsTerminal};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::stop::Stop;
use crate::clock;
use crate::domain::status::Report;

/// Between two pages.
const REDRAW: Duration = Duration::from_secs(2);

/// Exit 3 when something needs an operator.
pub(super) async fn run(watch: bool, daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    if watch {
        return self::watch(daemon, out).await;
    }
    let (document, report) = ask(daemon).await?;
    if out.json {
        out.item(&document)?;
    } else {
        page::lines(&report, clock::now()).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    if report.problems.is_empty() { Ok(()) } else { Err(Failure::NeedsOperator) }
}

/// A page every two seconds until it is told to stop. A daemon that is gone for a while is a page, too.
async fn watch(daemon: &Client, out: &mut Output) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let on_terminal = io::stdout().is_terminal();
    loop {
        let asked = tokio::select! {
            () = stop.told() => return Ok(()),
            asked = ask(daemon) => asked,
        };
        match asked {
            Ok((document, _)) if out.json => out.item(&document)?,
            Err(failure) if out.json => eprintln!("ringhookd: {failure}"),
            Ok((_, report)) => draw(out, &page::lines(&report, clock::now()), on_terminal)?,
            Err(failure) => draw(out, &[failure.to_string()], on_terminal)?,
        }
        out.flush()?;
        tokio::select! {
            () = stop.told() => return Ok(()),
            () = tokio::time::sleep(REDRAW) => {}
        }
    }
}

/// Over the page before on a terminal, else behind it.
fn draw(out: &mut Output, lines: &[String], on_terminal: bool) -> Result<(), Failure> {
    if on_terminal {
        out.show(format_args!("\x1b[H\x1b[2J"))?;
    }
    lines.iter().try_for_each(|line| out.line(line))?;
    if on_terminal { Ok(()) } else { out.line("") }
}

/// The daemon's answer, as it came and as it is read.
async fn ask(daemon: &Client) -> Result<(Value, Report), Failure> {
    let document: Value = daemon.get("/v1/status").await?;
    let report = serde_json::from_value(document.clone());
    let report = report.map_err(|error| {
        Failure::no(format!("the daemon's answer is not understood ({error}); is it another version?"))
    })?;
    Ok((document, report))
}
