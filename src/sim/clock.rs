//! The simulation's clock: the wall clock and an offset, which tests move so that tokens grow old in no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::domain::time::Millis;

/// Clones share the offset.
#[derive(Debug, Clone, Default)]
pub struct SimClock(Arc<AtomicU64>);

impl SimClock {
    /// Epoch milliseconds, `offset` included.
    pub fn now(&self) -> Millis {
        clock::now().plus(self.offset())
    }

    /// Moves the clock forward for good.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let add = |offset: u64| Some(offset.saturating_add(ms));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How far it is ahead of the wall clock.
    pub fn offset(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}
