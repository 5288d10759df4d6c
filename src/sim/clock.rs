//! The simulation's clock: the wall clock and an offset, which tests move so that tokens grow old in no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::domain::time::Millis;

/// Clones share the offset.
#[derive(Debug, Clone, Default)]
pub struct SimClock(Arc<AtomicI64>);

impl SimClock {
    /// Epoch milliseconds, the offset included.
    pub fn now(&self) -> Millis {
        Millis(clock::now().0.saturating_add_signed(self.offset_ms()))
    }

    /// Moves the clock forward for good.
    pub fn advance(&self, by: Duration) {
        self.shift(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Sets the clock back, as a machine sees Ring's whose own is ahead.
    pub fn set_back(&self, by: Duration) {
        self.shift(-i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Milliseconds that it is ahead of the wall clock.
    pub fn offset_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn shift(&self, by: i64) {
        let add = |offset: i64| Some(offset.saturating_add(by));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}
