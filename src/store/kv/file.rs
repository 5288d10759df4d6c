//! The store's one file: the room of the write-ahead log first, redb's pages behind it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use super::error::{Fault, StoreError};
use super::folder::{Identity, write_new};
use super::wal::Wal;
use crate::store::memory::load;
use crate::store::memory::shared::OpenFn;
use crate::store::rows::codec::Damaged;

/// Bytes of the log's room. redb's pages stay aligned behind it, and what gathers until it is full reaches the disk in
/// a few milliseconds.
pub const LOG_BYTES: usize = 2 << 20;
const START: u64 = LOG_BYTES as u64;

/// The file, for redb and for the log.
pub(crate) type Disk = Arc<Device>;

/// What the file lies on, until it is given up.
#[derive(Debug)]
pub(crate) struct Device {
    file: Box<dyn StorageBackend>,
    given_up: AtomicBool,
}

impl Device {
    pub(crate) fn new(file: impl StorageBackend) -> Disk {
        Arc::new(Self { file: Box::new(file), given_up: AtomicBool::new(false) })
    }

    /// From now on every call fails. After a failed sync of the log, redb's pages may be lost that it has written between its
    /// commits; redb knows of no failure, and would commit when it is closed.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file()?.read(offset, out)
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file()?.write(offset, data)
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn file(&self) -> io::Result<&dyn StorageBackend> {
        if self.given_up.load(Ordering::Acquire) {
            Err(io::Error::other("given up"))
        } else {
            Ok(&*self.file)
        }
    }
}

/// A file that was opened, and has all in redb that its log had.
pub(crate) struct Opened {
    pub db: Database,
    pub wal: Wal,
}

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
        return Err(StoreError::from(Fault::Damaged(Damaged("file: it is empty"))));
    }
    let db = database(Pages::of(Arc::clone(&disk)), cache_bytes, check)?;
    load::identify(&db, identity)?;
    let wal = Wal::recover(&db, disk)?;
    Ok(Opened { db, wal })
}

/// redb over its part of a file.
fn database(pages: Pages, cache_bytes: usize, check: bool) -> Result<Database, Fault> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check);
    Ok(builder.create_with_backend(pages)?)
}
