//! The only place that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Millis;

/// The wall clock; the epoch when it stands before that.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Millis {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    Millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// The monotonic clock, for spans within one run.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn instant() -> Instant {
    Instant::now()
}

/// The timer's clock: monotonic, and stands still where a test has paused the runtime.
pub fn ticks() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
