//! What is committed while the file is copied, kept in a file beside it, so that the copy can catch up.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing is kept while no copy is made.
#[derive(Debug, Default)]
pub(crate) struct Tee(Mutex<Option<Spill>>);

#[derive(Debug)]
struct Spill {
    file: File,
    bytes: u64,
    /// Something is missing: the copy is worth nothing.
    is_broken: bool,
}

/// Held over a commit, so that a copy that begins has each commit in its snapshot or here.
pub(crate) struct Held<'a>(MutexGuard<'a, Option<Spill>>);

impl Held<'_> {
    /// Keeps the changes of a commit that was made. The store does not depend on it.
    pub(crate) fn note(&mut self, changes: &[u8]) {
        let Some(spill) = self.0.as_mut().filter(|spill| !spill.is_broken) else { return };
        let length = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let written =
            spill.file.write_all(&length.to_be_bytes()).and_then(|()| spill.file.write_all(changes));
        match written {
            Ok(()) => spill.bytes += 4 + u64::from(length),
            Err(_) => spill.is_broken = true,
        }
    }
}

impl Tee {
    pub(crate) fn hold(&self) -> Held<'_> {
        Held(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps every commit from now on in an empty file.
    pub(crate) fn begin(&self, file: File) {
        *self.hold().0 = Some(Spill { file, bytes: 0, is_broken: false });
    }

    /// A commit may have been made, or not: a copy must not go on.
    pub(crate) fn break_off(&self) {
        if let Some(spill) = self.hold().0.as_mut() {
            spill.is_broken = true;
        }
    }

    /// How much is kept; nothing where something is missing.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.hold().0.as_ref().filter(|spill| !spill.is_broken).map(|spill| spill.bytes)
    }

    /// Keeps nothing more; what [`Tee::bytes`] says.
    pub(crate) fn end(&self) -> Option<u64> {
        self.hold().0.take().filter(|spill| !spill.is_broken).map(|spill| spill.bytes)
    }
}

/// Reads what was kept, commit by commit.
#[derive(Debug)]
pub(crate) struct Kept {
    file: File,
    at: u64,
}

impl Kept {
    pub(crate) fn new(file: File) -> Self {
        Self { file, at: 0 }
    }

    /// How much of so many bytes is left.
    pub(crate) fn left(&self, bytes: u64) -> u64 {
        bytes - self.at
    }

    /// The changes of the next commit, of so many bytes in all.
    pub(crate) fn next(&mut self, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        if self.at >= bytes {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.file.read_exact_at(&mut length, self.at)?;
        let mut changes = vec![0; u32::from_be_bytes(length) as usize];
        self.file.read_exact_at(&mut changes, self.at + 4)?;
        self.at += 4 + changes.len() as u64;
        Ok(Some(changes))
    }
}
