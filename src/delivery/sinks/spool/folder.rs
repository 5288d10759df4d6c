//! The folder of a spool: files that are whole or not there, and a count of those that wait.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use crate::config::Spool;
use crate::failpoint;

/// Ends the name of a file that is being written; it begins with a dot.
const PART: &str = ".json.part";

/// Why not everything was written.
#[derive(Debug, Error)]
pub(super) enum Stopped {
    #[error("{files} files of {bytes} bytes wait in {folder} for their reader")]
    Full { folder: PathBuf, files: u64, bytes: u64 },
    #[error("{folder}: {error}")]
    Disk { folder: PathBuf, error: io::Error },
    #[error("writing panicked: {0}")]
    Panic(String),
}

#[derive(Debug)]
pub(super) struct Folder {
    options: Spool,
    /// Whether it was there since the start: from then on it is not made again.
    seen: bool,
    /// What waits, at most: files that the reader took since are still counted. Nothing when it must be looked at.
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Waiting {
    files: u64,
    bytes: u64,
}

/// What is written together.
struct Batch {
    /// Synced once, at the end.
    folder: File,
    /// Permissions of the files.
    mode: u32,
    waiting: Waiting,
    /// Whether `waiting` was counted for this batch.
    looked: bool,
}

impl Folder {
    pub(super) fn open(options: Spool) -> Self {
        let mut folder = Self { options, seen: false, waiting: None };
        folder.waiting = folder.look().ok();
        folder
    }

    /// Writes files until one can't be; how many are there now, durably, and why not more.
    pub(super) fn write(
        &mut self,
        mut files: impl Iterator<Item = (String, Bytes)>,
    ) -> (usize, Result<(), Stopped>) {
        let mut batch = match self.begin() {
            Ok(batch) => batch,
            Err(error) => return (0, Err(self.disk(error))),
        };
        let mut count = 0;
        let outcome = files.try_for_each(|(name, content)| {
            self.add(&mut batch, &name, &content)?;
            count += 1;
            Ok(())
        });
        failpoint!("spool.renamed");
        if count > 0
            && let Err(error) = batch.folder.sync_all()
        {
            return (0, Err(self.disk(error)));
        }
        // After an error it may be another folder by the next time, or emptied to make room.
        self.waiting = (!matches!(outcome, Err(Stopped::Disk { .. }))).then_some(batch.waiting);
        (count, outcome)
    }

    fn begin(&mut self) -> io::Result<Batch> {
        let counted = self.waiting.take();
        let waiting = counted.map_or_else(|| self.look(), Ok)?;
        let folder = File::open(&self.options.folder)?;
        let mode = folder.metadata()?.permissions().mode() & 0o444 | 0o600;
        Ok(Batch { folder, mode, waiting, looked: counted.is_none() })
    }

    fn add(&mut self, batch: &mut Batch, name: &str, content: &[u8]) -> Result<(), Stopped> {
        let bytes = content.len() as u64;
        // Written before a crash or a failure, and not taken since.
        let again = self.options.folder.join(name).exists();
        if !again && !batch.looked && !self.has_room(batch.waiting, bytes) {
            batch.looked = true;
            batch.waiting = self.look().map_err(|error| self.disk(error))?;
        }
        if !again && !self.has_room(batch.waiting, bytes) {
            let Waiting { files, bytes } = batch.waiting;
            return Err(Stopped::Full { folder: self.options.folder.clone(), files, bytes });
        }
        put(&self.options.folder, name, content, batch.mode).map_err(|error| self.disk(error))?;
        if !again {
            batch.waiting.files += 1;
            batch.waiting.bytes += bytes;
        }
        Ok(())
    }

    fn has_room(&self, waiting: Waiting, bytes: u64) -> bool {
        let fits = waiting.files < self.options.max_files
            && waiting.bytes.saturating_add(bytes) <= self.options.max_bytes;
        fits || waiting.files == 0
    }

    /// Counts what waits, and removes what was left half written: nobody else writes here.
    fn look(&mut self) -> io::Result<Waiting> {
        if !self.seen {
            make(&self.options.folder)?;
        }
        let mut waiting = Waiting::default();
        for entry in fs::read_dir(&self.options.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                if name.ends_with(PART) {
                    fs::remove_file(entry.path())?;
                }
                continue;
            }
            match entry.metadata() {
                Ok(data) if data.is_file() => {
                    waiting.files += 1;
                    waiting.bytes += data.len();
                }
                Ok(_) => {}
                // The reader was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.seen = true;
        Ok(waiting)
    }

    fn disk(&self, error: io::Error) -> Stopped {
        Stopped::Disk { folder: self.options.folder.clone(), error }
    }
}

/// Makes a file that is whole, synced and readable as `mode` says when it gets its name; its name is not synced yet.
fn put(folder: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let part = folder.join(format!(".{}{PART}", name.trim_end_matches(".json")));
    let write = || {
        // Never through a link that somebody else with rights to the folder put there.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(content)?;
        // Set on the open file, since the umask of a service takes all from others.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        failpoint!("spool.written");
        fs::rename(&part, folder.join(name))
    };
    write().inspect_err(|_| drop(fs::remove_file(&part)))
}

/// Makes the folder, and those above it, so that they outlive a power cut.
fn make(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    make(parent)?;
    DirBuilder::new().mode(0o700).create(path)?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}
