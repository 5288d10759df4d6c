//! Why a command failed, for standard error and as an exit code.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::daemon;
use crate::logging::{FATAL, is_journal, lines};

#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The answer is no, or it did not work.
    #[error("{0}")]
    No(String),
    #[error("{0}")]
    Usage(String),
    /// The daemon's own exit codes: 78 refused configuration, 65 damaged store, 75 store in use.
    #[error("{words}")]
    Daemon { code: u8, words: String },
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// The same, and a line of the log says so.
    #[error("")]
    Logged { code: u8 },
    /// All is said already.
    #[error("")]
    Said,
    /// The same, and it is that something needs an operator.
    #[error("")]
    NeedsOperator,
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        Self::Daemon { code: error.exit_code(), words: error.to_string() }
    }
}

impl Failure {
    pub(super) fn no(words: impl Into<String>) -> Self {
        Self::No(words.into())
    }

    /// Says it on standard error. Whoever closed our output knows.
    pub(super) fn report(&self) -> ExitCode {
        let closed = matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe);
        if !closed && !matches!(self, Self::Said | Self::NeedsOperator | Self::Logged { .. }) {
            let rank = if is_journal() { FATAL } else { "" };
            eprintln!("{rank}ringhookd: {}", lines(&self.to_string()));
        }
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Daemon { code, .. } | Self::Logged { code } => ExitCode::from(*code),
            Self::NeedsOperator => ExitCode::from(3),
            Self::No(_) | Self::Output(_) | Self::Said => ExitCode::FAILURE,
        }
    }
}
