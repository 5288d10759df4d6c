//! The threads that read the file for the ports: a disk that hangs holds these up, and no caller's runtime.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use crate::store::kv::caught;
use crate::store::kv::error::{Fault, StoreError};

/// Reads at a time. A few, because one long read must not hold up the short ones.
const THREADS: usize = 4;
/// Reads that may wait for a thread. Beyond that the store is busy.
const WAITING: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Where reads run: in the caller for a store without threads of its own.
pub(crate) struct Readers(Option<Threads>);

struct Threads {
    jobs: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let (jobs, waiting) = sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let waiting = Arc::clone(&waiting);
            Builder::new().name("store-read".into()).spawn(move || work(&waiting))
        };
        let threads: Result<Vec<_>, _> = (0..THREADS).map(start).collect();
        let threads = threads.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(Self(Some(Threads { jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn in_place() -> Self {
        Self(None)
    }

    /// Runs `read` on a thread that may block. A read whose caller has gone before it began is skipped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(Threads { jobs, .. }) = &self.0 else { return Ok(caught::running(AssertUnwindSafe(read))?) };
        let (reply, answer) = oneshot::channel();
        let job = move || {
            if !reply.is_closed() {
                // A caller that is gone wants no answer.
                let _ = reply.send(caught::running(AssertUnwindSafe(read)));
            }
        };
        match jobs.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(jobs) => jobs.try_send(Box::new(job)).map_err(|_| StoreError::Busy)?,
            None => return Err(StoreError::Unavailable("it is closed".into())),
        }
        Ok(answer.await.map_err(|_| StoreError::Unavailable("the readers are gone".into()))??)
    }

    /// Waits until the reads that were asked for are done. Blocks.
    pub(crate) fn close(&self) {
        let Some(Threads { jobs, threads }) = &self.0 else { return };
        jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic ends its own read alone.
            let _ = thread.join();
        }
    }
}

/// Until no handle of the store is left, or it is closed.
fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
