//! What the file lies on, for redb and for the log, until it is given up; redb's part of it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;

pub(crate) use redb::StorageBackend;

/// Bytes of the log's room. redb's pages stay aligned behind it, and what gathers until it is full reaches the disk in
/// a few milliseconds.
pub(crate) const LOG_BYTES: usize = 2 << 20;
/// Where redb's part begins.
pub(crate) const START: u64 = LOG_BYTES as u64;

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

    pub(crate) fn of_file(file: File) -> io::Result<Disk> {
        Ok(Self::new(FileBackend::new(file).map_err(io::Error::other)?))
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
