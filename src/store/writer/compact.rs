//! Makes the store's file small: what lives is copied into a new file beside the daemon's work, catches up, and takes its place
//! between two commits.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::failpoint;
use crate::store::kv::caught;
use crate::store::kv::changes::{Changes, HEAD};
use crate::store::kv::copy::Copy;
use crate::store::kv::db::Db;
use crate::store::kv::disk::Disk;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::file;
use crate::store::kv::folder::sync_folder;
use crate::store::kv::tables::Tables;
use crate::store::kv::tee::Kept;
use crate::store::kv::wal::{Wal, is_of_log};
use crate::store::memory::shared::Shared;
use crate::store::read::snapshot::{Turn, has_room};
use crate::store::rows::row::Damaged;

/// Rows that are copied at once.
const BATCH_BYTES: usize = 256 << 10;
/// What may be left for the moment in which the new file takes the place of the old one.
const LAST_BYTES: u64 = 256 << 10;
/// How often the copy runs after what was committed meanwhile.
const ROUNDS: usize = 100;
/// How long those who read the old file have to end. Reads are short.
const OLD_READERS: Duration = Duration::from_secs(20);

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compaction {
    Copied {
        rows: u64,
        of: u64,
    },
    /// The size of the file before and after, in bytes.
    Done {
        before: u64,
        after: u64,
    },
    Failed(StoreError),
}

/// A new file that is nearly level with the old one.
pub(crate) struct Level {
    db: Db,
    disk: Disk,
    path: PathBuf,
    kept: Kept,
    reply: SyncSender<Result<Old, StoreError>>,
}

/// The file before, for those who still read it.
pub(crate) struct Old {
    db: Option<Db>,
    wal: Wal,
}

/// Begins, on a thread of its own. It goes on where nobody listens any more, until `stopping` says that it has to end.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    levels: &SyncSender<Level>,
    stopping: impl Fn() -> bool + Send + 'static,
) -> Result<Receiver<Compaction>, StoreError> {
    if let Some(error) = shared.unavailable() {
        return Err(error);
    }
    has_room(shared)?;
    let Some(turn) = Turn::take(shared) else { return Err(StoreError::Busy) };
    let (told, receiver) = mpsc::channel(4);
    let (shared, levels) = (Arc::clone(shared), levels.clone());
    let work = move || {
        let before = shared.folder.data_bytes();
        let run = || Ok(run(&shared, &levels, &told, &stopping));
        let done =
            caught::running(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|fault| Err(fault.into()));
        shared.tee.end();
        remove(&shared);
        // Before its end is heard, so that whoever hears it may begin another.
        drop(turn);
        let old = match done {
            Ok(old) => {
                let after = shared.folder.data_bytes();
                tracing::info!(before, after, "the store's file was compacted");
                tell_last(&told, Compaction::Done { before, after });
                Some(old)
            }
            Err(error) => {
                tracing::warn!(%error, "the store's file was not compacted");
                tell_last(&told, Compaction::Failed(error));
                None
            }
        };
        drop(told);
        if let Some(old) = old {
            thread::sleep(OLD_READERS);
            old.wal.give_up();
            drop(old.db);
        }
    };
    let spawned = thread::Builder::new().name("store-compact".into()).spawn(work);
    spawned.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(receiver)
}

fn tell_last(told: &Sender<Compaction>, last: Compaction) {
    // Whoever is gone, or does not read, hears nothing.
    let _ = told.try_send(last);
}

/// What a compaction that was killed has left is removed at the start, too.
fn remove(shared: &Shared) {
    for path in shared.folder.compacting() {
        let _ = fs::remove_file(path);
    }
}

fn run(
    shared: &Shared,
    levels: &SyncSender<Level>,
    told: &Sender<Compaction>,
    stopping: &dyn Fn() -> bool,
) -> Result<Old, StoreError> {
    remove(shared);
    let [path, meanwhile] = shared.folder.compacting();
    file::create(&path)?;
    let disk = file::disk(&path).map_err(Fault::from)?;
    let mut copy = Copy::begin(Arc::clone(&disk), shared.options.get().cache_bytes)?;
    let kept = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&meanwhile);
    let kept = kept.map_err(Fault::from)?;
    shared.tee.begin(kept.try_clone().map_err(Fault::from)?);
    let go_on = || {
        if stopping() {
            return Err(StoreError::Unavailable("the daemon stops".into()));
        }
        has_room(shared)?;
        shared
            .tee
            .bytes()
            .ok_or_else(|| StoreError::Unavailable("what was committed meanwhile is not known".into()))
    };
    copy_rows(shared, &mut copy, told, &go_on)?;
    failpoint!("compact.copied");
    let mut kept = Kept::new(kept);
    catch_up(&mut copy, &mut kept, &go_on)?;
    let db = copy.finish()?;
    failpoint!("compact.level");
    let (reply, answer) = sync_channel(1);
    let gone = || StoreError::Unavailable("the writer is gone".into());
    levels.send(Level { db, disk, path, kept, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn copy_rows(
    shared: &Shared,
    copy: &mut Copy,
    told: &Sender<Compaction>,
    go_on: &dyn Fn() -> Result<u64, StoreError>,
) -> Result<(), StoreError> {
    let view = shared.view()?;
    let of = view.row_count()?.saturating_sub(1);
    let mut rows = Changes::new();
    let mut stopped = None;
    let copied = view.each_row(|table, key, value| {
        if is_of_log(table, key) {
            return Ok(());
        }
        rows.put(table.name(), key, value);
        if rows.0.len() - HEAD < BATCH_BYTES {
            return Ok(());
        }
        let full = std::mem::replace(&mut rows, Changes::new());
        copy.put(&full.0[HEAD..])?;
        // Only shown: one that does not fit is left out.
        let _ = told.try_send(Compaction::Copied { rows: copy.rows(), of });
        go_on().map(drop).map_err(|why| {
            stopped = Some(why);
            Fault::Closed
        })
    });
    if let Some(why) = stopped {
        return Err(why);
    }
    copied?;
    copy.put(&rows.0[HEAD..])?;
    if copy.rows() == of { Ok(()) } else { Err(Fault::Damaged(Damaged("snapshot")).into()) }
}

/// Until little is left. What is committed meanwhile is less each time, unless more comes than a disk can take.
fn catch_up(
    copy: &mut Copy,
    kept: &mut Kept,
    go_on: &dyn Fn() -> Result<u64, StoreError>,
) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        let bytes = go_on()?;
        if kept.left(bytes) <= LAST_BYTES {
            return Ok(());
        }
        while let Some(changes) = kept.next(bytes).map_err(Fault::from)? {
            copy.put(&changes)?;
        }
    }
    Err(StoreError::Unavailable(
        "more is committed than can be copied; try it again when less comes in".into(),
    ))
}

/// Why the new file did not take the place of the old one.
pub(crate) enum Failed {
    /// All is as it was.
    Before(StoreError),
    /// It may have taken it: the file has to be opened anew.
    After(Fault),
}

impl<F: Into<Fault>> From<F> for Failed {
    fn from(fault: F) -> Self {
        Self::Before(fault.into().into())
    }
}

/// Puts the new file in the old one's place; called by the writer, between two commits.
pub(crate) fn put_in_place(shared: &Shared, wal: &mut Wal, mut level: Level) -> Result<(), Fault> {
    match switch(shared, &mut level) {
        Ok(new) => {
            let Level { db, reply, .. } = level;
            let old = Old { db: shared.swap_db(db), wal: std::mem::replace(wal, new) };
            // A thread that is gone lets the old file go.
            let _ = reply.send(Ok(old));
            Ok(())
        }
        Err(Failed::Before(error)) => {
            let _ = level.reply.send(Err(error));
            Ok(())
        }
        Err(Failed::After(fault)) => {
            let _ = level.reply.send(Err(StoreError::Unavailable(fault.to_string())));
            Err(fault)
        }
    }
}

fn switch(shared: &Shared, level: &mut Level) -> Result<Wal, Failed> {
    let bytes = shared.tee.end().ok_or(Fault::Closed)?;
    let txn = level.db.begin()?;
    let mut tables = Tables::new(&txn, Changes::new());
    while let Some(changes) = level.kept.next(bytes)? {
        tables.replay(&changes, "snapshot")?;
    }
    drop(tables);
    let new = Wal::begin(Arc::clone(&level.disk), txn)?;
    let file = File::open(&level.path)?;
    file.sync_all()?;
    let data = shared.folder.data();
    failpoint!("compact.ready");
    shared.folder.adopt(&level.path).map_err(Failed::Before)?;
    failpoint!("compact.renamed");
    sync(&data).map_err(Failed::After)?;
    Ok(new)
}

fn sync(data: &Path) -> Result<(), Fault> {
    let folder = data.parent().unwrap_or(Path::new("."));
    sync_folder(folder).map_err(|error| std::io::Error::other(error.to_string()).into())
}
