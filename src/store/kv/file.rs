//! The store's one file: the room of the write-ahead log first, redb's pages behind it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::db::Db;
#[cfg(feature = "testing")]
use super::disk::StorageBackend;
use super::disk::{Device, Disk, LOG_BYTES, Pages, START};
use super::error::{Fault, StoreError};
use super::folder::{Identity, write_new};
use super::identity;
use super::wal::Wal;

/// A file that was opened, and has all in redb that its log had.
pub(crate) struct Opened {
    pub db: Db,
    pub wal: Wal,
}

/// Opens the file; tests put a failing disk here.
pub(crate) type OpenFn = Box<dyn Fn(&Identity) -> Result<Opened, StoreError> + Send + Sync>;

/// Makes a file with an empty log and nothing behind it, which only its owner reads.
pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
    // Written, not only reserved: the first write to a reserved block costs a journal entry of the file system.
    write_new(path, &vec![0; LOG_BYTES])
}

/// The file of a path, for redb and for the log.
pub(crate) fn disk(path: &Path) -> io::Result<Disk> {
    Device::of_file(OpenOptions::new().read(true).write(true).open(path)?)
}

/// The same, for looking only.
pub(crate) fn readable(path: &Path) -> io::Result<Disk> {
    Device::of_file(File::open(path)?)
}

/// Opens whatever `disk` gives, each time the store is opened.
#[cfg(feature = "testing")]
pub(crate) fn opening<D: StorageBackend>(
    cache_bytes: usize,
    check: bool,
    disk: impl Fn() -> D + Send + Sync + 'static,
) -> OpenFn {
    Box::new(move |identity: &Identity| open(Device::new(disk()), cache_bytes, check, identity))
}

/// Opens the file as it was left, once it is sure that it is this store's. `check`: also redb's pages, all of them.
pub(crate) fn open(
    disk: Disk,
    cache_bytes: usize,
    check: bool,
    identity: &Identity,
) -> Result<Opened, StoreError> {
    if disk.len().map_err(Fault::from)? <= START {
        // redb would make a new store of it and say nothing.
        return Err(StoreError::Damaged(
            "the file ends where its records should begin: it was cut off, or never written".into(),
        ));
    }
    let db = Db::open(Pages::of(Arc::clone(&disk)), cache_bytes, check)?;
    identity::identify(&db.view()?, identity)?;
    let wal = Wal::recover(&db, disk)?;
    Ok(Opened { db, wal })
}
