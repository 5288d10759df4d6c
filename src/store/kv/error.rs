//! What can go wrong in the store, for the rooms above; inside, the reason why a transaction was given up.

use std::path::PathBuf;

use thiserror::Error;

use crate::store::rows::row::Damaged;
use crate::vault::VaultError;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    #[error("the store in {folder} is in use by {holder}")]
    InUse { folder: PathBuf, holder: String },
    #[error("there is a store in {folder} already; nothing was changed")]
    Exists { folder: PathBuf },
    #[error("there is no store in {folder}: `ringhookd init` makes one (or [store] create = true)")]
    Missing { folder: PathBuf },
    #[error(
        "the store in {folder} is not whole: {present} is there, {absent} is not. Nothing was changed. Put the missing \
         part back; where it is lost, move all parts away and run `ringhookd restore FILE` with the newest backup"
    )]
    Partial { folder: PathBuf, present: String, absent: String },
    #[error(
        "the store is of schema {found}; this program knows up to {known}: use a newer ringhookd. Nothing was changed"
    )]
    Newer { found: u32, known: u32 },
    #[error(
        "the store is of schema {found}, from before the first release; this program knows {known}. Nothing was changed. Move the \
         store away and create a new one"
    )]
    Older { found: u32, known: u32 },
    #[error(
        "the store file belongs to another store than identity.json beside it: {found} against {expected}. Nothing was changed. \
         Put back the two files of one store"
    )]
    Foreign { found: String, expected: String },
    #[error("the store was made for environment {found:?}, the configuration says {configured:?}")]
    Environment { found: String, configured: String },
    #[error(
        "the store is sealed under master key {sealed}, configured is {configured}. Configure that key as [keys] master \
         (or, in the middle of a rotation, as [keys] previous, and run `ringhookd keys rotate` to its end)"
    )]
    WrongKey { sealed: String, configured: String },
    #[error(
        "the store is damaged ({0}). Nothing was changed. Keep a copy of the folder as it is. Then move the store away and run \
         `ringhookd restore FILE` with the newest backup; without one, run `ringhookd init`: every user has to link again then"
    )]
    Damaged(String),
    #[error("the store can't be opened: {0}")]
    Denied(String),
    #[error("[store] folder: {} is no folder: name another, or move that away", .folder.display())]
    NoFolder { folder: PathBuf },
    #[error("the store can't be used now: {0}")]
    Unavailable(String),
    #[error("the store is busy")]
    Busy,
    #[error("the store is full: [store] max_bytes is reached")]
    Full,
    #[error("the disk is nearly full: less than [store] min_free is left")]
    LowDisk,
    #[error(
        "the disk of the store has {} MiB left, and a backup or a compaction needs {} MiB beside what it writes: free some, or \
         write the backup to another disk", .free >> 20, .needed >> 20
    )]
    NoRoomForSnapshot { free: u64, needed: u64 },
    /// Of a file that is no backup, or a damaged one.
    #[error("{file} can't be restored: {why}. Nothing was changed. Take another backup")]
    BadBackup { file: String, why: String },
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// What is said of a file over which redb panics.
pub(crate) const DISORDER: &str = "its pages contradict each other";

/// Why a transaction was given up.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Db(Box<redb::Error>),
    #[error("{0}")]
    Damaged(#[from] Damaged),
    #[error("{0}")]
    Vault(#[from] VaultError),
    #[error("the store file is closed")]
    Closed,
    #[error("a panic: {0}")]
    Panic(String),
}

impl Fault {
    /// Whether the disk said that there is no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Self::Db(error) = self else { return false };
        matches!(&**error, redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull)
    }

    /// Whether a table has keys or values of another type than ours.
    pub(crate) fn is_other_type(&self) -> bool {
        matches!(self, Self::Db(error) if matches!(&**error, redb::Error::TableTypeMismatch { .. }))
    }

    /// What to answer when one record alone is bad: no reason to refuse everything else of the commit.
    ///
    /// # Errors
    /// The fault itself when it is more than that.
    pub(crate) fn of_one_record(self) -> Result<StoreError, Self> {
        match self {
            Self::Damaged(_) | Self::Vault(VaultError::Refused | VaultError::UnknownMaster(_)) => {
                Ok(StoreError::Damaged(self.to_string()))
            }
            other => Err(other),
        }
    }

    /// Whether the file itself is bad, so that trying again can't help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Panic(_) => true,
            Self::Db(error) => match &**error {
                // So redb says that the file is not one of its own, or ends where it should not.
                redb::Error::Io(io) => {
                    matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
                }
                error => matches!(
                    error,
                    redb::Error::Corrupted(_)
                        | redb::Error::TableTypeMismatch { .. }
                        | redb::Error::TableDoesNotExist(_)
                        | redb::Error::UpgradeRequired(_)
                        | redb::Error::TypeDefinitionChanged { .. }
                ),
            },
            Self::Vault(_) | Self::Closed => false,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Vault(error) => Self::Vault(error),
            // The words of a panic say nothing to an operator; they are in the log.
            Fault::Panic(_) => Self::Damaged(DISORDER.into()),
            fault if fault.is_damage() => Self::Damaged(fault.to_string()),
            fault => Self::Unavailable(fault.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($kind:ty),* $(,)?) => {
        $(impl From<$kind> for Fault {
            fn from(error: $kind) -> Self {
                Self::Db(Box::new(error.into()))
            }
        })*
    };
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        redb::StorageError::from(error).into()
    }
}

from_redb!(
    redb::Error,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
);
