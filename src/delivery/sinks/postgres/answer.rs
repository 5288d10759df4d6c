//! The meaning of the server's errors for the events, and the words that operators read of them.

use tokio_postgres::Error;

use crate::config::Target;
use crate::delivery::sinks::words::Words;
use crate::domain::secret::Secret;

/// The beginnings of the codes that are about the rows: their data, a constraint, a view's check, a limit such as the longest key of
/// an index, an exception of a trigger.
const ABOUT_ROWS: [&str; 5] = ["22", "23", "44", "54", "P0"];
const NO_TABLE: &str = "42P01";

/// Why rows are not in the table, in words.
#[derive(Debug)]
pub(super) enum Refusal {
    /// One of them is to blame, perhaps.
    Row(String),
    /// No event would fare better.
    Server(String),
}

/// What helps, where that is known.
pub(super) fn advice(error: &Error) -> &'static str {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some(NO_TABLE) => {
            ". docs/POSTGRES.md has the statement that makes it; create_table = true has it made"
        }
        _ => "",
    }
}

/// Puts errors into words.
#[derive(Debug)]
pub(super) struct Answers(Words);

impl Answers {
    pub(super) fn new(target: &Target, password: Option<&Secret<String>>) -> Self {
        Self(Words::new(&target.url, password.map(|password| password.expose().clone())))
    }

    pub(super) fn refused(&self, error: &Error) -> Refusal {
        let why = self.why(error);
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some(code) if ABOUT_ROWS.iter().any(|class| code.starts_with(class)) => Refusal::Row(why),
            _ => Refusal::Server(why + advice(error)),
        }
    }

    /// With the server's address, its own message, and without its details, which quote the row.
    pub(super) fn why(&self, error: &Error) -> String {
        self.of_server(&self.said(error))
    }

    /// The same without its address.
    pub(super) fn said(&self, error: &Error) -> String {
        if let Some(said) = error.as_db_error() {
            return self.0.said(&format!("{}: {}", said.code().code(), said.message()));
        }
        let why = if error.is_closed() {
            "the connection ended before an answer"
        } else if error.to_string().starts_with("invalid configuration") {
            "the server asks for a password: write password_file"
        } else {
            "the connection broke, or the answer is not PostgreSQL's"
        };
        why.to_owned()
    }

    pub(super) fn of_server(&self, why: &str) -> String {
        self.0.of_receiver(why)
    }
}
