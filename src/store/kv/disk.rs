//! What the file lies on, for redb and for the log, until it is given up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

/// Bytes of the log's room. redb's pages stay aligned behind it, and what gathers until it is full reaches the disk in
/// a few milliseconds.
pub(crate) const LOG_BYTES: usize = 2 << 20;
/// The file, for redb and for the log.
pub(crate) type Disk = Arc<Device>;

/// What the file lies on, until it is given up.
#[derive(Debug)]
pub(crate) struct Device {
    pub file: Box<dyn StorageBackend>,
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

    pub(crate) fn file(&self) -> io::Result<&dyn StorageBackend> {
        if self.given_up.load(Ordering::Acquire) {
            Err(io::Error::other("given up"))
        } else {
            Ok(&*self.file)
        }
    }
}
