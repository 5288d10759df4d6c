//! The store's one file: the room of the write-ahead log first, redb's pages behind it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use super::disk::{Device, Disk, LOG_BYTES};
use super::error::{Fault, StoreError};
use super::folder::{Identity, write_new};
use super::identity;
use super::wal::Wal;

pub(crate) const START: u64 = LOG_BYTES as u64;

/// A file that was opened, and has all in redb that its log had.
pub(crate) struct Opened {
    pub db: Database,
    pub wal: Wal,
}

/// Opens the file; tests put a failing disk here.
pub(crate) type OpenFn = Box<dyn Fn(&Identity) -> Result<Opened, StoreError> + Send + Sync>;

/// redb's part of the file.
#[derive(Debug)]
pub(crate) struct Pages {
    disk: Disk,
}

impl Pages {
    pub(crate) fn of(disk: Disk) -> Self {
        Self { disk }
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.len()?.saturating_sub(START))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(START + offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.file()?.set_len(START + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(START + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.disk.file.close()
    }
}

/// Makes a file with an empty log and nothing behind it, which only its owner reads.
pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
    // Written, not only reserved: the first write to a reserved block costs a journal entry of the file system.
    write_new(path, &vec![0; LOG_BYTES])
}

/// The file of a path, for redb and for the log.
pub(crate) fn disk(path: &Path) -> io::Result<Disk> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(Device::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// The same, for looking only.
pub(crate) fn readable(path: &Path) -> io::Result<Disk> {
    Ok(Device::new(FileBackend::new(File::open(path)?).map_err(io::Error::other)?))
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
    let db = database(Pages::of(Arc::clone(&disk)), cache_bytes, check)?;
    identity::identify(&db, identity)?;
    let wal = Wal::recover(&db, disk)?;
    Ok(Opened { db, wal })
}

/// redb over its part of a file.
pub(crate) fn database(pages: Pages, cache_bytes: usize, check: bool) -> Result<Database, Fault> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check);
    Ok(builder.create_with_backend(pages)?)
}
