//! For tests and benches only: a store without its thread, one over any disk, and one that is filled in bulk.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::mpsc::Receiver;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::domain::backlog::Entry;
use crate::domain::clock_trust::Watch;
use crate::domain::dedup::Identity;
use crate::domain::ids::{AccountId, DeviceId};
use crate::domain::time::Millis;
use crate::store::Store;
use crate::store::command::Import;
use crate::store::kv::db::Db;
use crate::store::kv::disk::{self, Pages, StorageBackend};
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::file;
use crate::store::kv::folder::Folder;
use crate::store::kv::schema;
use crate::store::memory::options::Options;
use crate::store::memory::shared::QueueState;
use crate::store::read::readers::Readers;
use crate::store::rows::small::Tombstone;
use crate::store::txn::transaction::Txn;
use crate::store::txn::{devices, ids, import, keys};
use crate::store::writer::committer;
use crate::store::writer::group::{Command, Writer};
use crate::store::writer::open::{prepare, start};
use crate::vault::Vault;

/// Bytes of the room that the write-ahead log has at the start of the file.
pub const LOG_BYTES: usize = disk::LOG_BYTES;

/// Gives a store that is not open the schema of the next program.
///
/// # Errors
/// What the disk says.
pub fn raise_schema(folder: &Path) -> Result<(), StoreError> {
    Ok(schema::raise(&database(folder)?)?)
}

/// Gives a store that is not open the schema and the tables of an older program.
///
/// # Errors
/// What the disk says.
pub fn lower_schema(folder: &Path, schema: u32) -> Result<(), StoreError> {
    Ok(schema::lower(&database(folder)?, schema)?)
}

fn database(folder: &Path) -> Result<Db, StoreError> {
    let (folder, _) = Folder::open(folder)?;
    let disk = file::disk(&folder.data()).map_err(Fault::from)?;
    Ok(Db::open(Pages::of(disk), 1 << 20, false)?)
}

/// A store whose writer runs only inside these calls.
pub struct Inline {
    pub store: Store,
    writer: Writer,
    commands: Receiver<Command>,
    watch: Option<Watch>,
}

impl std::fmt::Debug for Inline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inline").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Inline {
    /// As [`Store::open_with`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with<D: StorageBackend>(
        folder: &Path,
        vault: Vault,
        options: Options,
        check: bool,
        disk: impl Fn() -> D + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let (folder, identity) = Folder::open(folder)?;
        let open = file::opening(options.cache_bytes, check, disk);
        let (handle, writer, commands) =
            prepare(folder, identity, vault, options, open, Readers::in_place())?;
        Ok(Self { store: Store::over(handle), writer, commands, watch: None })
    }

    /// Runs a call of the store to its end; what it sends is committed at `now`.
    pub fn run<T>(&mut self, now: Millis, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match call.as_mut().poll(&mut context) {
                Poll::Ready(value) => return value,
                Poll::Pending => self.commit(now),
            }
        }
    }

    /// Runs calls to their ends; what they send at first is committed together at `now`.
    pub fn run_all<T>(&mut self, now: Millis, calls: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
        let mut context = Context::from_waker(Waker::noop());
        let mut answers: Vec<Option<T>> = Vec::new();
        let mut calls = calls;
        for call in &mut calls {
            answers.push(match call.as_mut().poll(&mut context) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            });
        }
        self.commit(now);
        let rest = calls.into_iter().zip(answers);
        rest.map(|(call, answer)| answer.unwrap_or_else(|| self.run(now, call))).collect()
    }

    /// Commits what was sent.
    pub fn commit(&mut self, now: Millis) {
        let group: Vec<_> = self.commands.try_iter().collect();
        if !group.is_empty() {
            self.writer.commit(now, group);
        }
    }

    /// Lets what is due at `now` happen. Returns whether more is due at once.
    pub fn tick(&mut self, now: Millis) -> bool {
        committer::tick(&mut self.writer, now, true)
    }

    /// The same while the clock is not believed.
    pub fn tick_in_doubt(&mut self, now: Millis) -> bool {
        committer::tick(&mut self.writer, now, false)
    }

    /// Lets both clocks be seen, the second as the time since any moment.
    pub fn look(&mut self, wall: Millis, monotonic: Duration) {
        let watch = self.watch.get_or_insert_with(|| Watch::from(wall, monotonic));
        committer::look(&self.writer, watch, wall, monotonic);
    }

    /// Has memory show after `act` what waited in the queues before, as it does for a moment while a commit reaches it.
    pub fn memory_behind<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let waiting = |state: &QueueState| state.backlog.oldest(usize::MAX).collect();
        let before: Vec<(u16, Vec<(u32, Entry)>)> =
            self.store.handle.shared.queues().iter().map(|(&queue, state)| (queue, waiting(state))).collect();
        let value = act(self);
        for (queue, waiting) in before {
            let mut queues = self.store.handle.shared.queues();
            let Some(state) = queues.get_mut(&queue) else { continue };
            for (account, entry) in waiting {
                if !state.backlog.contains(account, entry.seq) {
                    state.backlog.push(account, entry);
                }
            }
        }
        value
    }

    /// How many forgotten accounts are remembered.
    ///
    /// # Panics
    /// When the file can't be read.
    pub fn tombstones(&self) -> u64 {
        let view = self.store.handle.shared.view();
        let count = view.and_then(|view| view.table::<Tombstone>()?.len());
        count.expect("the file can be read")
    }

    /// Tries to bring a failing store back. Returns whether it is usable.
    pub fn recover(&mut self, now: Millis) -> bool {
        self.writer.recover(now)
    }
}

impl Store {
    /// Opens a store over whatever `disk` gives each time it is needed: for tests with failing disks. `check`: all of redb's
    /// pages each time.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with<D: StorageBackend>(
        folder: &Path,
        vault: Vault,
        options: Options,
        check: bool,
        disk: impl Fn() -> D + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let (folder, identity) = Folder::open(folder)?;
        let open = file::opening(options.cache_bytes, check, disk);
        Ok(Self::running(start(folder, identity, vault, options, open)?))
    }

    /// Remembers ids as if their events had come and gone, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn fill_ids(&self, ids: Vec<Identity>) -> Result<(), StoreError> {
        self.handle
            .submit(move |txn: &mut Txn<'_>| ids.iter().try_for_each(|id| ids::remember(txn, id)))
            .await
    }

    /// Imports accounts, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn fill_accounts(&self, imports: Vec<Import>) -> Result<(), StoreError> {
        let fill = move |txn: &mut Txn<'_>| {
            imports.iter().try_for_each(|import| import::import(txn, import).map(drop))
        };
        self.handle.submit(fill).await
    }

    /// Gives accounts the event key and the device that their first event would have, all in one commit.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn fill_devices(&self, devices: Vec<(AccountId, DeviceId)>) -> Result<(), StoreError> {
        let fill = move |txn: &mut Txn<'_>| {
            devices.iter().try_for_each(|(account, device)| {
                let Some(number) = txn.core.accounts.find(account) else { return Ok(()) };
                keys::event_key(txn, number)?;
                devices::note_device(txn, device, number, Some(txn.now))
            })
        };
        self.handle.submit(fill).await
    }
}
