//! The store's folder: the locks on its file and on itself, identity beside the file, and the reserve for a full disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::access;
use crate::failpoint;

const DATA: &str = "store.redb";
const IDENTITY: &str = "identity.json";
/// Says to people who has the lock. The lock itself does not depend on it.
const HOLDER: &str = "holder";
const RESERVE: &str = "reserve";
const CREATING: &str = "creating";
/// A new file that is to take the place of the old one, and what is committed meanwhile.
const COMPACTING: [&str; 2] = ["store.compacting", "store.compacting.log"];

/// What the store is called and which environment it serves; kept beside the file, so that an empty or foreign file
/// is never taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// 32 random hex digits.
    pub store: String,
    pub environment: String,
    /// RFC 3339.
    pub created: String,
}

/// A locked folder with a whole store in it. The locks go with it, or with [`Folder::unlock`].
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    locks: Mutex<Locks>,
}

/// Files that are open only for their locks. What lies beside the store's file may be deleted, and the file itself moved away and
/// replaced, under a running daemon; the folder's lock keeps others out all the same.
#[derive(Debug, Default)]
struct Locks {
    folder: Option<File>,
    data: Option<File>,
}

impl Folder {
    /// Locks an existing store's folder and reads its identity.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Partial`], [`StoreError::InUse`], or what the disk says.
    pub fn open(path: &Path) -> Result<(Self, Identity), StoreError> {
        let folder = path.to_owned();
        // First, because whatever is missing here, a daemon may run on what is left.
        let locked = match fs::exists(path) {
            Ok(false) => return Err(StoreError::Missing { folder }),
            _ => Self::lock(path)?,
        };
        if Self::is_being_made(path)? {
            return Err(StoreError::Missing { folder });
        }
        match (is_there(path, IDENTITY)?, is_there(path, DATA)?) {
            (false, false) => return Err(StoreError::Missing { folder }),
            (true, false) => return Err(partial(path, IDENTITY, DATA)),
            (false, true) => return Err(partial(path, DATA, IDENTITY)),
            (true, true) => {}
        }
        for name in [IDENTITY, DATA] {
            let file = path.join(name);
            if !fs::metadata(&file).map_err(|e| unavailable(&file, &e))?.is_file() {
                return Err(StoreError::Damaged(format!("{}: it is no file", file.display())));
            }
        }
        // The store is written to from the start on.
        locked.lock_data()?;
        // Of a compaction that was killed: the old file is the store.
        remove_all(path, &COMPACTING)?;
        let text = fs::read(path.join(IDENTITY)).map_err(|e| unavailable(&path.join(IDENTITY), &e))?;
        let identity = serde_json::from_slice(&text)
            .map_err(|e| StoreError::Damaged(format!("{}: {e}", path.join(IDENTITY).display())))?;
        Ok((locked, identity))
    }

    /// Makes a store: folder, identity, then whatever `fill` makes; only if none of it exists. A creation that was
    /// interrupted, which a marker tells, is begun anew: nothing can have been accepted in between.
    ///
    /// # Errors
    /// [`StoreError::Partial`] when parts are there, or what `fill` or the disk says.
    pub fn create(
        path: &Path,
        identity: &Identity,
        fill: impl FnOnce(&Self) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| unavailable(path, &e))?;
        let folder = Self::lock(path)?;
        let marker = path.join(CREATING);
        if Self::is_being_made(path)? {
            remove_all(path, &[IDENTITY, DATA, RESERVE])?;
        } else {
            match (is_there(path, DATA)?, is_there(path, IDENTITY)?) {
                (true, true) => return Err(StoreError::Exists { folder: path.to_owned() }),
                (true, false) => return Err(partial(path, DATA, IDENTITY)),
                (false, true) => return Err(partial(path, IDENTITY, DATA)),
                (false, false) => {}
            }
            write_new(&marker, b"a store is being made here\n")?;
            sync_folder(path)?;
        }
        failpoint!("create.marked");
        let text = serde_json::to_vec_pretty(identity).map_err(|e| StoreError::Unavailable(e.to_string()))?;
        write_new(&path.join(IDENTITY), &text)?;
        failpoint!("create.identified");
        fill(&folder)?;
        folder.lock_data()?;
        sync_folder(path)?;
        failpoint!("create.filled");
        fs::remove_file(&marker).map_err(|e| unavailable(&marker, &e))?;
        failpoint!("create.unmarked");
        sync_folder(path)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(folder)
    }

    /// Removes what an unfinished creation has made.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn abandon(path: &Path) -> Result<(), StoreError> {
        if !Self::is_being_made(path)? {
            return Ok(());
        }
        remove_all(path, &[IDENTITY, DATA])?;
        sync_folder(path)?;
        remove_all(path, &[CREATING])
    }

    /// Whether no part of a store is there, or only parts of one whose creation was interrupted.
    ///
    /// # Errors
    /// When it can't be told: a folder that can't be entered is no empty folder.
    pub fn is_empty(path: &Path) -> Result<bool, StoreError> {
        Ok(Self::is_being_made(path)? || (!is_there(path, DATA)? && !is_there(path, IDENTITY)?))
    }

    /// Whether file and identity are both there.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn is_whole(path: &Path) -> Result<bool, StoreError> {
        Ok(is_there(path, DATA)? && is_there(path, IDENTITY)?)
    }

    /// Whether a creation was begun and not finished.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn is_being_made(path: &Path) -> Result<bool, StoreError> {
        is_there(path, CREATING)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The redb file.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Free bytes for unprivileged users on the disk that holds the folder.
    ///
    /// # Errors
    /// What the disk says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Size of the redb file in bytes.
    pub fn data_bytes(&self) -> u64 {
        fs::metadata(self.data()).map_or(0, |m| m.len())
    }

    /// Makes sure that the reserve of `bytes` is there, when the disk has that much beside `keep_free`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn fill_reserve(&self, bytes: u64, keep_free: u64) -> io::Result<()> {
        let path = self.path.join(RESERVE);
        let there = fs::metadata(&path).map_or(0, |m| m.len());
        if there >= bytes || self.free_bytes()? < bytes.saturating_add(keep_free) {
            return Ok(());
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let made = fallocate(&file, FallocateFlags::empty(), 0, bytes);
        made.map_err(|e| {
            let _ = fs::remove_file(&path);
            e.into()
        })
    }

    /// Gives the reserve's room to the store. Returns whether there was any.
    pub fn release_reserve(&self) -> bool {
        fs::remove_file(self.path.join(RESERVE)).is_ok()
    }

    /// Drops what the page cache holds of the file, so that what is read next comes from the disk: after a failed
    /// sync the cache may show what never got there.
    pub fn forget_cached(&self) {
        if let Ok(file) = File::open(self.data()) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    /// Whether the store's file still lies where it was opened. What is written to one that was moved away or deleted is lost to
    /// the next start.
    pub fn has_its_file(&self) -> bool {
        let locks = self.locks();
        let Some(opened) = locks.data.as_ref().and_then(|file| file.metadata().ok()) else { return true };
        match fs::metadata(self.data()) {
            Ok(found) => is_same(&opened, &found),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Takes over the store of another file system that was mounted in the place of the one that it was opened on, as a copy of a broken
    /// disk is. Returns whether there is one.
    ///
    /// # Errors
    /// [`StoreError::InUse`], or what the disk says.
    pub(crate) fn take_mounted(&self) -> Result<bool, StoreError> {
        let opened = self.locks().folder.as_ref().and_then(|folder| folder.metadata().ok());
        let found = fs::metadata(&self.path).ok().filter(|_| self.data().is_file());
        let (Some(opened), Some(found)) = (opened, found) else { return Ok(false) };
        if opened.dev() == found.dev() {
            return Ok(false);
        }
        let mounted = Self::lock(&self.path)?;
        std::mem::swap(&mut *self.locks(), &mut *mounted.locks());
        Ok(true)
    }

    /// Where a compaction writes.
    pub(crate) fn compacting(&self) -> [PathBuf; 2] {
        COMPACTING.map(|name| self.path.join(name))
    }

    /// Gives a file the place of the store's own, and locks it. An error says that nothing was changed.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn adopt(&self, file: &Path) -> Result<(), StoreError> {
        let opened = OpenOptions::new().read(true).write(true).open(file);
        let opened = opened.map_err(|e| unavailable(file, &e))?;
        take_lock(&opened, &self.path, file)?;
        fs::rename(file, self.data()).map_err(|e| unavailable(file, &e))?;
        self.locks().data = Some(opened);
        Ok(())
    }

    /// Lets others have the store.
    pub fn unlock(&self) {
        let Locks { folder, data } = std::mem::take(&mut *self.locks());
        for file in [data, folder].into_iter().flatten() {
            // Closing alone leaves the lock to a child that was forked and has not yet replaced itself.
            let _ = flock(&file, FlockOperation::Unlock);
        }
    }

    /// Locks the folder, and its store's file if that is there.
    fn lock(path: &Path) -> Result<Self, StoreError> {
        let dir = File::open(path).map_err(|e| unavailable(path, &e))?;
        match take_lock(&dir, path, path) {
            Ok(()) | Err(StoreError::Unavailable(_)) => {}
            // A file system that locks no folders leaves it to the file's lock.
            Err(error) => return Err(error),
        }
        let locks = Mutex::new(Locks { folder: Some(dir), data: None });
        let locked = Self { path: path.to_owned(), locks };
        if locked.data().is_file() {
            locked.lock_data()?;
        }
        // Only for people, so a disk too full to note it is no reason to stay down.
        let name = path.join(HOLDER);
        let note = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(name);
        let _ = note.and_then(|mut file| writeln!(file, "pid {} (ringhookd)", std::process::id()));
        Ok(locked)
    }

    /// Locks the store's file, unless it is locked already.
    fn lock_data(&self) -> Result<(), StoreError> {
        let path = self.data();
        while self.locks().data.is_none() || !self.has_its_file() {
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            let file = opened.map_err(|e| unavailable(&path, &e))?;
            // Replaced before it was locked: the other one counts.
            take_lock(&file, &self.path, &path)?;
            self.locks().data = Some(file);
        }
        Ok(())
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_lock(file: &File, folder: &Path, path: &Path) -> Result<(), StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = fs::read_to_string(folder.join(HOLDER)).unwrap_or_default();
            let holder: String = holder.trim().chars().take(200).collect();
            let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
            Err(StoreError::InUse { folder: folder.to_owned(), holder })
        }
        Err(e) => Err(unavailable(path, &e.into())),
    }
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Writes a new file that only its owner reads, and syncs it and its place in the folder.
///
/// # Errors
/// When it exists, or what the disk says.
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        path.parent()
            .filter(|p| !p.as_os_str().is_empty())
            .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().map_err(|e| unavailable(path, &e))
}

/// Makes sure that what was made, renamed or removed in a folder stays so.
///
/// # Errors
/// What the disk says.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| unavailable(path, &e))
}

fn remove_all(path: &Path, names: &[&str]) -> Result<(), StoreError> {
    for name in names {
        match fs::remove_file(path.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unavailable(&path.join(name), &e)),
            _ => {}
        }
    }
    Ok(())
}

fn partial(path: &Path, present: &str, absent: &str) -> StoreError {
    StoreError::Partial { folder: path.to_owned(), present: present.to_owned(), absent: absent.to_owned() }
}

/// Whether something of this name is in the folder.
fn is_there(folder: &Path, name: &str) -> Result<bool, StoreError> {
    let path = folder.join(name);
    path.try_exists().map_err(|e| unavailable(&path, &e))
}

/// What the disk said, in words; that permission is missing is for a person to mend.
pub(crate) fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    let words = access::explain(path, error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => StoreError::Denied(words),
        io::ErrorKind::NotADirectory => {
            StoreError::NoFolder { folder: path.parent().unwrap_or(path).to_owned() }
        }
        _ => StoreError::Unavailable(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { store: "s".into(), environment: "test".into(), created: "now".into() }
    }

    fn make(path: &Path) -> Result<Folder, StoreError> {
        Folder::create(path, &identity(), |folder| write_new(&folder.data(), b"data"))
    }

    #[test]
    fn a_store_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        assert!(matches!(Folder::open(&path), Err(StoreError::Missing { .. })));
        drop(make(&path).unwrap());
        assert_eq!(Folder::open(&path).unwrap().1, identity());
        assert!(matches!(make(&path), Err(StoreError::Exists { .. })), "never over an existing one");
    }

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let _first = make(&path).unwrap();
        let Err(StoreError::InUse { holder, .. }) = Folder::open(&path) else { panic!("must be in use") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    }

    #[test]
    fn the_lock_goes_with_its_holder_though_a_child_has_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let first = make(&path).unwrap();
        let of_the_child = {
            let locks = first.locks();
            [&locks.folder, &locks.data].map(|file| file.as_ref().unwrap().try_clone().unwrap())
        };
        drop(first);
        assert!(Folder::open(&path).is_ok());
        drop(of_the_child);
    }

    #[test]
    fn what_is_deleted_or_replaced_in_the_folder_lets_nobody_else_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let first = make(&path).unwrap();
        let in_use = || matches!(Folder::open(&path), Err(StoreError::InUse { .. }));
        for name in [HOLDER, IDENTITY] {
            fs::remove_file(path.join(name)).unwrap();
            assert!(in_use(), "without {name}");
        }
        write_new(&path.join(IDENTITY), &serde_json::to_vec(&identity()).unwrap()).unwrap();
        assert!(first.has_its_file());
        fs::rename(first.data(), path.join("away")).unwrap();
        assert!(in_use() && !first.has_its_file(), "moved away");
        assert!(matches!(make(&path), Err(StoreError::InUse { .. })));
        fs::copy(path.join("away"), first.data()).unwrap();
        assert!(in_use() && !first.has_its_file(), "replaced by a copy");
        fs::rename(path.join("away"), first.data()).unwrap();
        assert!(first.has_its_file(), "put back");
        // The folder moved, and a new one in its place with the same file.
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::rename(dir.path().join("old").join(DATA), path.join(DATA)).unwrap();
        assert!(in_use(), "the file is locked itself");
    }

    #[test]
    fn a_partial_set_is_refused_and_named() {
        for (present, absent) in [(DATA, IDENTITY), (IDENTITY, DATA)] {
            let dir = tempfile::tempdir().unwrap();
            write_new(&dir.path().join(present), b"{}").unwrap();
            let expected = partial(dir.path(), present, absent);
            assert_eq!(Folder::open(dir.path()).unwrap_err(), expected);
            assert_eq!(make(dir.path()).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_interrupted_creation_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let failed = Folder::create(&path, &identity(), |_| Err(StoreError::Unavailable("power cut".into())));
        assert!(failed.is_err());
        assert!(matches!(Folder::open(&path), Err(StoreError::Missing { .. })));
        drop(make(&path).unwrap());
        assert!(Folder::open(&path).is_ok());
    }

    #[test]
    fn the_reserve_is_filled_and_released() {
        let dir = tempfile::tempdir().unwrap();
        let folder = make(&dir.path().join("store")).unwrap();
        folder.fill_reserve(1 << 20, 0).unwrap();
        assert_eq!(fs::metadata(folder.path().join(RESERVE)).unwrap().len(), 1 << 20);
        folder.fill_reserve(1 << 20, u64::MAX).unwrap();
        assert!(folder.release_reserve());
        assert!(!folder.release_reserve());
        folder.fill_reserve(1 << 20, u64::MAX).unwrap();
        assert!(!folder.release_reserve(), "no room, no reserve");
    }
}
