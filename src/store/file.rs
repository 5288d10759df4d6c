//! The store's one file: the room of the write-ahead log first, redb's pages behind it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use super::codec::Damaged;
use super::error::{Fault, StoreError};
use super::folder::{Identity, sync_folder, unavailable, write_new};
use super::load;
use super::shared::OpenFn;
use super::wal::Wal;

/// Bytes of the log's room. redb's pages stay aligned behind it, and what gathers until it is full reaches the disk in
/// a few milliseconds.
pub const LOG_BYTES: usize = 2 << 20;
const START: u64 = LOG_BYTES as u64;

/// What a redb file starts with, and no record of the log.
const REDB: &[u8; 4] = b"redb";

/// What the file lies on; tests put a failing disk here.
pub(super) type Disk = Arc<dyn StorageBackend>;

/// A file that was opened, and has all in redb that its log had.
pub(super) struct Opened {
    pub db: Database,
    pub wal: Wal,
}

/// redb's part of the file.
#[derive(Debug)]
pub(super) struct Pages(pub Disk);

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()?.saturating_sub(START))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(START + offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(START + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(START + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// Makes a file with an empty log and nothing behind it, which only its owner reads.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    // Written, not only reserved: the first write to a reserved block costs a journal entry of the file system.
    write_new(path, &vec![0; LOG_BYTES])
}

/// The file of a path, for redb and for the log.
pub(super) fn disk(path: &Path) -> io::Result<Disk> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(Arc::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// The same, for looking only.
pub(super) fn readable(path: &Path) -> io::Result<Disk> {
    Ok(Arc::new(FileBackend::new(File::open(path)?).map_err(io::Error::other)?))
}

/// Opens whatever `disk` gives, each time the store is opened.
pub(super) fn opening<D: StorageBackend>(
    cache_bytes: usize,
    check: bool,
    disk: impl Fn() -> D + Send + Sync + 'static,
) -> OpenFn {
    Box::new(move |identity: &Identity| open(Arc::new(disk()), cache_bytes, check, identity))
}

/// Opens the file as it was left, once it is sure that it is this store's. `check`: also redb's pages, all of them.
pub(super) fn open(
    disk: Disk,
    cache_bytes: usize,
    check: bool,
    identity: &Identity,
) -> Result<Opened, StoreError> {
    if disk.len().map_err(Fault::from)? <= START {
        // redb would make a new store of it and say nothing.
        return Err(StoreError::from(Fault::Damaged(Damaged("file: it is empty"))));
    }
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check);
    let db = builder.create_with_backend(Pages(Arc::clone(&disk))).map_err(Fault::from)?;
    load::identify(&db, identity)?;
    let wal = Wal::recover(&db, disk)?;
    Ok(Opened { db, wal })
}

/// Gives the file of a version that had no log its room, beside the old one until it is whole.
pub(super) fn make_room(path: &Path) -> Result<(), StoreError> {
    let failed = |e| unavailable(path, &e);
    let mut old = File::open(path).map_err(failed)?;
    let mut magic = [0; REDB.len()];
    if old.read_exact(&mut magic).is_err() || magic != *REDB {
        return Ok(());
    }
    let new = path.with_extension("new");
    let mut copy = || -> io::Result<()> {
        // One that was begun before.
        let _ = fs::remove_file(&new);
        let mut out = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        out.write_all(&vec![0; LOG_BYTES])?;
        out.write_all(&magic)?;
        io::copy(&mut old, &mut out)?;
        out.sync_all()?;
        fs::rename(&new, path)
    };
    copy().map_err(failed)?;
    tracing::info!("the store's file was given the room of a write-ahead log");
    path.parent().map_or(Ok(()), sync_folder)
}
