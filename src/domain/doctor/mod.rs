//! What `ringhookd doctor` finds, and the judgements that need nothing but what was seen.

mod address;
mod calls;
mod certificate;
mod clock;
mod front;
mod shape;

use serde::Serialize;

pub use self::address::{public, refused};
pub use self::calls::{Seen, calls};
pub use self::certificate::{CERTIFICATE, ends};
pub use self::clock::clock;
pub use self::front::{Fault, fault};
pub use self::shape::shape;

/// How a check ended, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Well,
    /// Fine, but worth knowing; or it could not be looked at from here.
    Note,
    /// It works, and may not for long, or not as it is meant.
    Warning,
    Failed,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub state: State,
    pub words: String,
    /// What to do; none where nothing is to be done.
    pub action: Option<String>,
}

impl Finding {
    fn new(check: &'static str, state: State, words: impl Into<String>) -> Self {
        Self { check, state, words: words.into(), action: None }
    }

    pub fn well(check: &'static str, words: impl Into<String>) -> Self {
        Self::new(check, State::Well, words)
    }

    pub fn note(check: &'static str, words: impl Into<String>) -> Self {
        Self::new(check, State::Note, words)
    }

    pub fn warning(check: &'static str, words: impl Into<String>) -> Self {
        Self::new(check, State::Warning, words)
    }

    pub fn failed(check: &'static str, words: impl Into<String>) -> Self {
        Self::new(check, State::Failed, words)
    }

    #[must_use]
    pub fn so(self, action: impl Into<String>) -> Self {
        Self { action: Some(action.into()), ..self }
    }
}

/// How it stands all in all.
pub fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_outweighs_all_else() {
        let found = [Finding::well("a", "x"), Finding::failed("b", "y").so("z"), Finding::warning("c", "w")];
        assert_eq!(worst(&found), State::Failed);
        assert_eq!((worst(&found[..1]), worst(&[])), (State::Well, State::Well));
        let json = serde_json::to_value(&found[1]).unwrap();
        assert_eq!(json, serde_json::json!({"check": "b", "state": "failed", "words": "y", "action": "z"}));
    }
}
