//! What the four ports share: the way to the writer, and the threads that read.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::compact::{self, Compaction, Level};
use super::group::{Command, JobOf};
use crate::domain::actor::Actor;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::memory::shared::Shared;
use crate::store::read::readers::Readers;
use crate::store::txn::transaction::Txn;

/// How often, and at which distance, a command is offered to a writer that is behind.
const OFFERS: usize = 200;
const OFFER_AGAIN: Duration = Duration::from_millis(10);

pub(crate) struct Handle {
    pub shared: Arc<Shared>,
    commands: Mutex<Option<SyncSender<Command>>>,
    levels: SyncSender<Level>,
    readers: Readers,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.shared.folder.path()).finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: SyncSender<Command>,
        levels: SyncSender<Level>,
        readers: Readers,
    ) -> Arc<Self> {
        Arc::new(Self { shared, commands: Mutex::new(Some(commands)), levels, readers })
    }

    /// Runs a command in the next group commit; waits a little when the writer is behind.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Txn<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit_by(Actor::Daemon, run).await
    }

    /// The same for what `by` causes.
    pub(crate) async fn submit_by<T: Send + 'static>(
        &self,
        by: Actor,
        run: impl FnMut(&mut Txn<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let mut command = Command::Job(Box::new(JobOf { run, by, value: None, reply }));
        for _ in 0..OFFERS {
            match self.try_send(command) {
                Ok(()) => {
                    return answer
                        .await
                        .unwrap_or_else(|_| Err(StoreError::Unavailable("the writer is gone".into())));
                }
                Err(TrySendError::Full(back)) => command = back,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(StoreError::Unavailable("it is closed".into()));
                }
            }
            tokio::time::sleep(OFFER_AGAIN).await;
        }
        Err(StoreError::Busy)
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), StoreError> {
        self.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Unavailable("it is closed".into()),
        })
    }

    fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>> {
        match self.commands.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(commands) => commands.try_send(command),
            None => Err(TrySendError::Disconnected(command)),
        }
    }

    /// Runs a read of the file, which may block, on one of the store's own threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || read(&shared)).await
    }

    /// Makes the file small.
    pub(crate) fn compact(
        &self,
        stopping: impl Fn() -> bool + Send + 'static,
    ) -> Result<tokio::sync::mpsc::Receiver<Compaction>, StoreError> {
        compact::begin(&self.shared, &self.levels, stopping)
    }

    /// No command comes any more.
    pub(crate) fn end_commands(&self) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits for the reads that were asked for; no more come. Blocks.
    pub(crate) fn end_reads(&self) {
        self.readers.close();
    }
}
