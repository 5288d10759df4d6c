//! The connection that all deliveries of a queue share: made when it is needed, never mended, and thrown away after any failure, so that
//! nothing that was in flight is taken for delivered.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as BriefMutex, MutexGuard, PoisonError};

use tokio::sync::Mutex;
#[cfg(any(feature = "sink-mqtt", feature = "sink-postgres", feature = "sink-redis"))]
use tokio::time::{Instant, timeout_at};

/// A connection. Its last user ends it.
pub(super) trait Connection {
    /// Whether it has ended by itself.
    fn is_over(&self) -> bool;
}

/// At most one connection, and those that are still waited for.
pub(super) struct Shared<C> {
    /// Held by the delivery that connects; the others wait for what comes of it. Why the last attempt failed.
    connecting: Mutex<String>,
    /// Attempts that failed.
    failures: AtomicU64,
    current: BriefMutex<Option<Arc<C>>>,
}

impl<C> fmt::Debug for Shared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl<C> Default for Shared<C> {
    fn default() -> Self {
        Self { connecting: Mutex::default(), failures: AtomicU64::new(0), current: BriefMutex::default() }
    }
}

impl<C: Connection> Shared<C> {
    /// The connection as [`Self::get`] has it, by then.
    #[cfg(any(feature = "sink-mqtt", feature = "sink-postgres", feature = "sink-redis"))]
    pub(super) async fn get_by(
        &self,
        deadline: Instant,
        open: impl Future<Output = Result<C, String>>,
    ) -> Result<Arc<C>, String> {
        let got = timeout_at(deadline, self.get(open)).await;
        got.unwrap_or_else(|_| Err("connecting took too long".to_owned()))
    }

    /// The connection, made by `open` where there is none. Fails in the words of `open`.
    pub(super) async fn get(&self, open: impl Future<Output = Result<C, String>>) -> Result<Arc<C>, String> {
        let failures = self.failures.load(Ordering::Relaxed);
        if let Some(connection) = self.living() {
            return Ok(connection);
        }
        let mut why = self.connecting.lock().await;
        if let Some(connection) = self.living() {
            return Ok(connection);
        }
        // Of many that waited one tried in vain: the others need not.
        if self.failures.load(Ordering::Relaxed) != failures {
            return Err(why.clone());
        }
        match open.await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *self.current() = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(failure) => {
                why.clone_from(&failure);
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    /// Begins nothing more over this connection. What waits for its answers may still get them.
    #[cfg(any(feature = "sink-postgres", feature = "sink-redis"))]
    pub(super) fn forget(&self, connection: &Arc<C>) {
        self.current().take_if(|known| Arc::ptr_eq(known, connection));
    }

    fn living(&self) -> Option<Arc<C>> {
        self.current().as_ref().filter(|connection| !connection.is_over()).cloned()
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<C>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
