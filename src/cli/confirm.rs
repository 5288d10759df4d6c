//! Asks before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;
use crate::logging::lines;

/// Goes on after `--yes`, or a typed yes on a terminal.
pub(super) fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage(format!(
            "{what} can't be undone, and there is no terminal to ask on: add --yes"
        )));
    }
    eprint!("{} can't be undone. Go on? [y/N] ", lines(what));
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::no("nothing was changed")) }
}
