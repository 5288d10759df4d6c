//! Tells every row as it stands at one moment, for a backup, beside the writer and without holding it up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::clock;
use crate::store::kv::caught;
use crate::store::kv::changes::{Changes, HEAD};
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::frames::{Frame, Snapshot, VERSION};
use crate::store::kv::wal::is_of_log;
use crate::store::memory::shared::Shared;

/// Rows that are sent together.
const FRAME_BYTES: usize = 256 << 10;
/// Frames that wait for the reader.
const WAITING: usize = 4;
/// What has to stay free on the store's disk beside `min_free`. Pages that a snapshot still needs are not used again, and the
/// backup may be written to the same disk; it is broken off before that could refuse a webhook.
const MARGIN: u64 = 32 << 20;

/// Lets one snapshot be under way at a time.
pub(crate) struct Turn(Arc<Shared>);

impl Turn {
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        (!shared.snapshot_under_way.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(shared)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.snapshot_under_way.store(false, Ordering::Release);
    }
}

/// Begins a snapshot, of everything that was acknowledged until now, on a thread of its own. It ends early when its receiver is
/// dropped, or `stopping` says so.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    stopping: impl Fn() -> bool + Send + 'static,
) -> Result<Receiver<Bytes>, StoreError> {
    if let Some(error) = shared.unavailable() {
        return Err(error);
    }
    has_room(shared)?;
    let Some(turn) = Turn::take(shared) else { return Err(StoreError::Busy) };
    let (frames, receiver) = mpsc::channel(WAITING);
    thread::Builder::new()
        .name("store-snapshot".into())
        .spawn(move || run(turn, &frames, &stopping))
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(receiver)
}

/// Why it ended before its end.
enum End {
    /// The reader is gone.
    Left,
    Fault(StoreError),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault.into())
    }
}

fn run(turn: Turn, frames: &Sender<Bytes>, stopping: &dyn Fn() -> bool) {
    let told = caught::running(std::panic::AssertUnwindSafe(|| Ok(tell(&turn.0, frames, stopping))));
    // Before its end is heard, so that whoever hears it may begin another.
    drop(turn);
    let last = match told.unwrap_or_else(|fault| Err(fault.into())) {
        Ok(()) => Frame::Whole,
        Err(End::Left) => return,
        Err(End::Fault(error)) => Frame::Broken(error.to_string()),
    };
    // A reader that is gone wants no end.
    let _ = frames.blocking_send(last.encode());
}

fn tell(shared: &Shared, frames: &Sender<Bytes>, stopping: &dyn Fn() -> bool) -> Result<(), End> {
    let view = shared.view()?;
    let head = Snapshot {
        version: VERSION,
        identity: shared.identity.clone(),
        master: shared.vault.current().to_string(),
        taken_at: clock::now().rfc3339(),
        // But for the one that says which records of the log count, which every open store has. A copy has no log.
        rows: view.row_count()?.saturating_sub(1),
    };
    let send = |frame: Bytes| {
        if stopping() {
            return Err(End::Fault(StoreError::Unavailable("the daemon stops".into())));
        }
        has_room(shared).map_err(End::Fault)?;
        frames.blocking_send(frame).map_err(|_| End::Left)
    };
    send(Frame::Head(head).encode())?;
    let mut rows = Changes::new();
    let mut end = None;
    let told = view.each_row(|table, key, value| {
        if is_of_log(table, key) {
            return Ok(());
        }
        rows.put(table.name(), key, value);
        if rows.0.len() - HEAD < FRAME_BYTES {
            return Ok(());
        }
        let full = std::mem::replace(&mut rows, Changes::new());
        send(Frame::encode_rows(full)).map_err(|why| {
            end = Some(why);
            Fault::Closed
        })
    });
    match (end, told) {
        (Some(end), _) => return Err(end),
        (None, told) => told?,
    }
    send(Frame::encode_rows(rows))
}

/// Refuses while the store's disk is nearly full.
pub(crate) fn has_room(shared: &Shared) -> Result<(), StoreError> {
    let needed = shared.options.get().min_free_bytes.saturating_add(MARGIN);
    let free = shared.folder.free_bytes().map_err(Fault::from)?;
    if free < needed { Err(StoreError::NoRoomForSnapshot { free, needed }) } else { Ok(()) }
}
