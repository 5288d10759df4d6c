//! The tasks of the daemon: they come and go while it runs, and a stop waits for all of them.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

/// Clones share them. They are aborted with the last clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        // What has ended takes no room.
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Waits until none runs any more.
    pub(super) async fn ended(&self) {
        loop {
            let mut running = std::mem::take(&mut *self.running());
            if running.is_empty() {
                return;
            }
            while running.join_next().await.is_some() {}
        }
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
