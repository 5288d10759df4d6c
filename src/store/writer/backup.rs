//! Writes a backup of what the daemon tells: under another name at first, and under its own once it was read back whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, CWD, FlockOperation, RenameFlags, fadvise, flock, renameat_with};

use crate::failpoint;
use crate::store::kv::backup_head::{self, BackupHead};
use crate::store::kv::copy::Copy;
use crate::store::kv::db::Db;
use crate::store::kv::disk::{Device, Pages};
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::folder::{sync_folder, unavailable};
use crate::store::kv::frames::{Frame, Frames, Snapshot, VERSION};
use crate::store::kv::{caught, identity};
use crate::store::memory::load;

/// redb's page cache while the file is written and checked.
const CACHE_BYTES: usize = 32 << 20;

/// A backup that is being written. Its file goes with this, unless it was finished.
pub struct Backup {
    path: PathBuf,
    unfinished: Unfinished,
    frames: Frames,
    copy: Option<Copy>,
    head: Option<Snapshot>,
    is_whole: bool,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file under its other name; removed with this.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed, or of no use to anybody.
        let _ = fs::remove_file(&self.path);
    }
}

impl Backup {
    /// Begins one that will be called `path`, where nothing may be.
    ///
    /// # Errors
    /// When something is there, another backup to this name is under way, or the disk says no.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        let not_new = || {
            StoreError::Denied(format!(
                "{}: there is something already, and a backup never overwrites",
                path.display()
            ))
        };
        if path.symlink_metadata().is_ok() {
            return Err(not_new());
        }
        let name = path.file_name().ok_or_else(not_new)?;
        let mut other = std::ffi::OsString::from(".");
        other.push(name);
        other.push(".unfinished");
        let unfinished = take(&path.with_file_name(other))?;
        let file = unfinished.file.try_clone().map_err(|e| unavailable(&unfinished.path, &e))?;
        let disk = Device::of_file(file).map_err(Fault::from);
        let copy = disk.and_then(|disk| Copy::begin(disk, CACHE_BYTES));
        let copy = copy.map_err(|fault| said(&unfinished.path, fault))?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            frames: Frames::default(),
            copy: Some(copy),
            head: None,
            is_whole: false,
        })
    }

    /// Takes in a piece of what the daemon tells.
    ///
    /// # Errors
    /// When the daemon gave up, what it tells is not understood, or the disk says no.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.frames.push(piece);
        let bad = |error: &dyn std::fmt::Display| StoreError::Unavailable(error.to_string());
        while let Some(frame) = self.frames.next().map_err(|e| bad(&e))? {
            match (frame, &mut self.copy) {
                (Frame::Head(head), _) if head.version == VERSION => self.head = Some(head),
                (Frame::Rows(rows), Some(copy)) if self.head.is_some() && !self.is_whole => {
                    copy.put(&rows).map_err(|fault| said(&self.path, fault))?;
                    failpoint!("backup.rows");
                }
                (Frame::Whole, _) => self.is_whole = true,
                (Frame::Broken(why), _) => {
                    return Err(StoreError::Unavailable(format!("the daemon gave up: {why}")));
                }
                _ => return Err(StoreError::Unavailable("the daemon is of another version".into())),
            }
        }
        Ok(())
    }

    /// Rows that were taken in, and how many there will be.
    pub fn progress(&self) -> Option<(u64, u64)> {
        Some((self.copy.as_ref()?.rows(), self.head.as_ref()?.rows))
    }

    /// Checks the file as `check` checks a store, and gives it its name. Blocks, for seconds where it is large.
    ///
    /// # Errors
    /// When anything is missing, what was written does not come back from the disk, or its name was taken meanwhile.
    pub fn finish(mut self) -> Result<BackupHead, StoreError> {
        let (Some(copy), Some(head), true) = (self.copy.take(), self.head.take(), self.is_whole) else {
            return Err(StoreError::Unavailable("the daemon broke off: the backup is not whole".into()));
        };
        let rows = copy.rows();
        if rows != head.rows {
            return Err(StoreError::Unavailable(format!("{rows} rows came of {}", head.rows)));
        }
        let path = &self.unfinished.path;
        drop(copy.finish().map_err(|fault| said(path, fault))?);
        let sync = || self.unfinished.file.sync_all().map_err(|e| unavailable(path, &e));
        sync()?;
        failpoint!("backup.written");
        caught::reading(path, || self.check(&head))?;
        let sealed = backup_head::seal(&self.unfinished.file, &head).map_err(|e| unavailable(path, &e))?;
        sync()?;
        self.forget_cached();
        let read = backup_head::read(&self.unfinished.file).map_err(|e| unavailable(path, &e))?;
        if read.as_ref() != Ok(&sealed) {
            return Err(StoreError::Damaged(format!(
                "{}: it does not come back as it was written",
                path.display()
            )));
        }
        failpoint!("backup.checked");
        self.rename()?;
        Ok(sealed)
    }

    fn check(&self, head: &Snapshot) -> Result<(), StoreError> {
        self.forget_cached();
        let file = OpenOptions::new().read(true).write(true).open(&self.unfinished.path);
        let disk = Device::of_file(file.map_err(Fault::from)?).map_err(Fault::from)?;
        let db = Db::open(Pages::of(disk), CACHE_BYTES, true)?;
        identity::identify(&db.view()?, &head.identity)?;
        load::read(&db, &[])?;
        let rows = db.view()?.row_count()?;
        if rows == head.rows {
            Ok(())
        } else {
            Err(StoreError::Damaged(format!("{rows} rows are there of {}", head.rows)))
        }
    }

    /// So that what is read next comes from the disk.
    fn forget_cached(&self) {
        let _ = fadvise(&self.unfinished.file, 0, None, Advice::DontNeed);
    }

    fn rename(&self) -> Result<(), StoreError> {
        let (from, to) = (&self.unfinished.path, &self.path);
        let renamed = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from);
        let renamed = match renamed {
            // A file system that can't do that in one step. A link is no overwriting either.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => fs::hard_link(from, to),
            renamed => renamed,
        };
        renamed.map_err(|e| unavailable(to, &e))?;
        sync_folder(to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }
}

/// Makes the unfinished file anew, also where a backup that was killed has left one.
fn take(path: &Path) -> Result<Unfinished, StoreError> {
    let left = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let left = left.map_err(|e| unavailable(path, &e))?;
    let locked = flock(&left, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !locked || !is_at(&left, path) {
        return Err(StoreError::Denied(format!("{}: another backup is writing it", path.display())));
    }
    // Not written over: it may be somebody else's. Its lock is held until the new one has its own.
    fs::remove_file(path).map_err(|e| unavailable(path, &e))?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|e| unavailable(path, &e))?;
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(Unfinished { path: path.to_owned(), file })
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(found)) = (file.metadata(), fs::metadata(path)) else { return false };
    (opened.dev(), opened.ino()) == (found.dev(), found.ino())
}

/// What went wrong, in words that name the file.
fn said(path: &Path, fault: Fault) -> StoreError {
    if fault.is_disk_full() {
        return StoreError::Unavailable(format!(
            "{}: no room is left on its disk; what was written is removed",
            path.display()
        ));
    }
    match StoreError::from(fault) {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{}: {why}", path.display())),
        error => error,
    }
}
