//! The folder beside the store that is not restored with it: the epoch that tells an older copy, and answers of OAuth that
//! the store could not take. Its disk may hang, so nothing here waits for it on a thread of the runtime.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::store::sync_folder;

const ANSWER: &str = "answer";

/// What the epoch file says.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    store: String,
    epoch: u64,
}

/// An answer that waits for the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub number: u32,
    pub fence: u64,
    pub sealed: Vec<u8>,
}

/// The folder of one store.
#[derive(Debug)]
pub struct Guard {
    folder: PathBuf,
    store: String,
    /// The store is an older copy, or may be: nothing is refreshed until the operator accepts it.
    guarded: AtomicBool,
    wanted: AtomicU64,
    /// What is on disk.
    noted: Mutex<u64>,
}

impl Guard {
    /// The guard of the store that is named so. Makes the folder if it is not there.
    pub fn new(folder: &Path, store: &str) -> Self {
        // Where it can't be made, writing says so.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let (folder, store) = (folder.to_owned(), store.to_owned());
        Self {
            folder,
            store,
            guarded: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            noted: Mutex::new(0),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The epoch that was noted last; nothing where none can be read.
    pub(super) async fn noted_epoch(self: &Arc<Self>) -> Option<u64> {
        self.aside(|guard| Ok(guard.read())).await.ok().flatten()
    }

    /// Where blocking is fine.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let guard = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&guard)).await.map_err(io::Error::other)?
    }

    fn read(&self) -> Option<u64> {
        let text = fs::read(self.epoch_file()).ok()?;
        let noted: Noted = serde_json::from_slice(&text).ok()?;
        (noted.store == self.store).then_some(noted.epoch)
    }

    /// Finds out whether a store of this epoch is an older copy, or may be for all that is known; notes the epoch otherwise.
    ///
    /// # Errors
    /// When the folder of a new store can't be written: later it would be missed.
    pub(super) async fn at_start(self: &Arc<Self>, ours: u64) -> io::Result<()> {
        let guarded = self.aside(move |guard| guard.look(ours)).await?;
        self.guarded.store(guarded, Ordering::Release);
        Ok(())
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.guarded.load(Ordering::Acquire)
    }

    fn look(&self, ours: u64) -> io::Result<bool> {
        // A store without a single token has nothing to burn.
        let guarded = self.mark().exists() || self.read().map_or(ours > 0, |noted| noted > ours);
        if guarded {
            // It stays so until it is lifted, however far this copy comes meanwhile.
            let _ = self.put(&self.mark(), b"");
        } else if let Err(error) = self.write(ours) {
            if ours == 0 {
                return Err(error);
            }
            let folder = self.folder.display();
            tracing::error!(%folder, %error, "the guard folder can't be written: an older copy of the store would go unnoticed");
        }
        Ok(guarded)
    }

    /// Notes an epoch, unless a later one is noted already. Many at once share one write.
    pub(super) async fn note(self: &Arc<Self>, epoch: u64) -> io::Result<()> {
        self.wanted.fetch_max(epoch, Ordering::AcqRel);
        let mut noted = self.noted.lock().await;
        if *noted >= epoch {
            return Ok(());
        }
        let wanted = self.wanted.load(Ordering::Acquire);
        self.aside(move |guard| guard.write(wanted)).await?;
        *noted = wanted;
        Ok(())
    }

    fn write(&self, epoch: u64) -> io::Result<()> {
        let noted = Noted { store: self.store.clone(), epoch };
        self.put(&self.epoch_file(), &serde_json::to_vec(&noted)?)
    }

    /// Keeps a sealed answer until the store can take it.
    pub(super) async fn keep_answer(self: &Arc<Self>, answer: Waiting) -> io::Result<()> {
        self.aside(move |guard| guard.put(&guard.answer_file(answer.number, answer.fence), &answer.sealed))
            .await
    }

    /// The store has it.
    pub(super) async fn drop_answer(self: &Arc<Self>, number: u32, fence: u64) {
        // What stays is found to be old at the next start.
        let _ = self.aside(move |guard| fs::remove_file(guard.answer_file(number, fence))).await;
    }

    /// Answers that a run before could not give to the store.
    pub(super) async fn answers(self: &Arc<Self>) -> Vec<Waiting> {
        self.aside(|guard| Ok(guard.read_answers())).await.unwrap_or_default()
    }

    fn read_answers(&self) -> Vec<Waiting> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        files.filter_map(|file| self.read_answer(&file.path())).collect()
    }

    fn read_answer(&self, path: &Path) -> Option<Waiting> {
        let name = path.file_name()?.to_str()?.strip_prefix(&self.store)?;
        let mut parts = name.strip_prefix('.')?.split('.');
        let (number, fence) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        if parts.next() != Some(ANSWER) || parts.next().is_some() {
            return None;
        }
        Some(Waiting { number, fence, sealed: fs::read(path).ok()? })
    }

    /// Whole or not at all.
    fn put(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("unfinished");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_folder(&self.folder).map_err(io::Error::other)
    }

    /// The operator has accepted the store that is here.
    pub(super) async fn lift(self: &Arc<Self>) {
        let _ = self.aside(|guard| fs::remove_file(guard.mark())).await;
        self.guarded.store(false, Ordering::Release);
    }

    /// There while an older copy is not accepted.
    fn mark(&self) -> PathBuf {
        self.folder.join(format!("{}.guarded", self.store))
    }

    fn epoch_file(&self) -> PathBuf {
        self.folder.join(format!("{}.epoch", self.store))
    }

    fn answer_file(&self, number: u32, fence: u64) -> PathBuf {
        self.folder.join(format!("{}.{number}.{fence}.{ANSWER}", self.store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_epoch_is_read_by_its_own_store_alone_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("guard");
        let guard = Arc::new(Guard::new(&folder, "one"));
        assert_eq!(guard.read(), None);
        for epoch in [5, 9, 7] {
            guard.note(epoch).await.unwrap();
        }
        assert_eq!(guard.read(), Some(9));
        assert_eq!(Guard::new(&folder, "other").read(), None);
        fs::copy(guard.epoch_file(), folder.join("other.epoch")).unwrap();
        assert_eq!(Guard::new(&folder, "other").read(), None, "another store's");
        fs::write(guard.epoch_file(), "{").unwrap();
        assert_eq!(guard.read(), None);
    }

    #[tokio::test]
    async fn an_older_copy_and_a_missing_mark_are_noticed_and_nothing_is_ever_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let guard = Arc::new(Guard::new(&dir.path().join("guard"), "one"));
        assert!(guard.look(7).unwrap(), "it is missing");
        guard.lift().await;
        for ours in [0, 5, 5, 9] {
            assert!(!guard.look(ours).unwrap(), "{ours}");
        }
        for ours in [8, 0, 9, 100] {
            assert!(guard.look(ours).unwrap(), "{ours}: once an older copy, it stays one");
        }
        assert_eq!(guard.read(), Some(9));
        guard.lift().await;
        assert!(!guard.look(9).unwrap());
        fs::write(dir.path().join("file"), "").unwrap();
        let nowhere = Guard::new(&dir.path().join("file/guard"), "one");
        assert!(nowhere.look(0).is_err() && nowhere.look(3).unwrap());
    }

    #[tokio::test]
    async fn answers_are_found_again_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let guard = Arc::new(Guard::new(dir.path(), "one"));
        let answer = || Waiting { number: 7, fence: 3, sealed: vec![1, 2] };
        guard.keep_answer(answer()).await.unwrap();
        Arc::new(Guard::new(dir.path(), "one2")).keep_answer(answer()).await.unwrap();
        for stray in ["one.epoch", "one.7.answer", "one.7.3.answer.x", "one.x.3.answer"] {
            fs::write(dir.path().join(stray), "x").unwrap();
        }
        assert_eq!(guard.answers().await, [answer()]);
        guard.drop_answer(7, 3).await;
        assert_eq!(guard.answers().await, []);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let guard = Arc::new(Guard::new(&file.join("guard"), "one"));
        assert!(guard.note(1).await.is_err() && guard.read().is_none());
    }
}
