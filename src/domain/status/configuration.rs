//! How the file of the configuration stands to what is in force.

use serde::{Deserialize, Serialize};

use super::Millis;

/// What is in force, and what of the file is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// When the file was read that is in force.
    pub read_at: Millis,
    /// The last reading, where it was refused.
    pub refused: Option<RefusedConfiguration>,
    /// What was read and waits for a restart.
    pub needs_restart: Vec<Outstanding>,
}

/// A file that was not taken over. The configuration before it stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedConfiguration {
    pub at: Millis,
    /// A line each.
    pub problems: Vec<String>,
}

/// A key, or a whole section, that can't change while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outstanding {
    pub key: String,
    pub why: String,
}

/// A key, or a whole section, that holds from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub key: String,
    /// What has happened to it, in words that follow the key.
    pub words: String,
}

/// What a reading of the file has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub applied: Vec<Applied>,
    pub needs_restart: Vec<Outstanding>,
}
