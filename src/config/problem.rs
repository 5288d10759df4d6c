//! What is wrong with a configuration, as an operator wants to read it: all of it, one line each.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1; of the section's header when the key is missing.
    pub line: usize,
    /// The path of the key, such as `queue[1].max_age`; empty when the file can't be read as TOML there.
    pub key: String,
    /// As it is written, cut and escaped; never there for what may be a secret.
    pub value: Option<String>,
    /// What would be right.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        match &self.value {
            Some(value) => write!(f, "{} = {value}: ", self.key)?,
            None if self.key.is_empty() => {}
            None => write!(f, "{}: ", self.key)?,
        }
        f.write_str(&self.hint)
    }
}

/// All problems of one configuration; shows as lines of the form `FILE:LINE: KEY = VALUE: HINT`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems {
    pub file: PathBuf,
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            let colon = if self.file.as_os_str().is_empty() { "" } else { ":" };
            write!(f, "{newline}{}{colon}{problem}", self.file.display())?;
        }
        Ok(())
    }
}
