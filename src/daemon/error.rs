//! Why the daemon does not run, and its exit codes.

use std::io;

use thiserror::Error;

use crate::config;
use crate::delivery::sinks::SinkError;
use crate::ring_api::SettingsError;
use crate::store::StoreError;

/// Why the daemon does not run.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Config(#[from] config::ConfigError),
    #[error("{0}")]
    Secrets(#[from] config::Problems),
    /// Of an error that names neither file nor folder.
    #[error("{place}: {error}")]
    StoreAt { place: String, error: StoreError },
    #[error("[tls]: {0}")]
    Certificate(String),
    #[error("[ring]: {0}")]
    Ring(#[from] SettingsError),
    #[error("{0}")]
    Sink(#[from] SinkError),
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Of sockets that a supervisor handed over, as a whole sentence.
    #[error("{0}")]
    Handed(String),
    #[error("{what}: {error}")]
    Bind { what: String, error: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// The daemon's exit code: 78 refused configuration, 65 damaged store, 75 store in use, else 1. An address that can't
    /// be bound may come later, so systemd shall try again: 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Secrets(_)
            | Self::Ring(_)
            | Self::Sink(_)
            | Self::Handed(_)
            | Self::Certificate(_) => 78,
            Self::Store(error) | Self::StoreAt { error, .. } => match error {
                StoreError::InUse { .. } => 75,
                StoreError::Damaged(_)
                | StoreError::Foreign { .. }
                | StoreError::Newer { .. }
                | StoreError::BadBackup { .. }
                | StoreError::Older { .. } => 65,
                StoreError::Missing { .. }
                | StoreError::Denied(_)
                | StoreError::NoFolder { .. }
                | StoreError::Exists { .. }
                | StoreError::Partial { .. }
                | StoreError::Environment { .. }
                | StoreError::WrongKey { .. }
                | StoreError::Vault(_) => 78,
                _ => 1,
            },
            Self::Bind { .. } | Self::Io(_) => 1,
        }
    }
}
