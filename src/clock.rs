//! The only place that reads a clock: the machine's, and what is known of Ring's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::ring_time::{Estimate, Offset, RingTime};
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

/// Ring's clock, as far as Ring's answers and webhooks tell. Clones share what they hear.
#[derive(Debug, Clone)]
pub struct RingClock {
    started: Instant,
    estimate: Arc<Mutex<Estimate>>,
}

impl Default for RingClock {
    fn default() -> Self {
        Self { started: instant(), estimate: Arc::default() }
    }
}

impl RingClock {
    /// A request leaves now; for [`RingClock::answered`].
    pub fn asked(&self) -> Duration {
        instant().saturating_duration_since(self.started)
    }

    /// An answer came that Ring dated so; its request was `asked` then.
    pub fn answered(&self, date: Millis, asked: Duration) {
        let now = self.asked();
        self.estimate().answered(date, asked, self::now(), now);
    }

    /// A webhook came that Ring sent at `sent`.
    pub fn sent(&self, sent: Millis) {
        let (wall, ticks) = (now(), self.asked());
        self.estimate().sent(sent, wall, ticks);
    }

    /// The time at Ring.
    pub fn now(&self) -> RingTime {
        self.when(now())
    }

    /// The time at Ring when our wall clock says `wall`, which is now.
    pub fn when(&self, wall: Millis) -> RingTime {
        let ticks = self.asked();
        self.estimate().now(wall, ticks)
    }

    /// The time at Ring for schedules, which a sleep of the machine does not stop.
    pub fn awake(&self) -> Millis {
        let (wall, ticks) = (now(), self.asked());
        self.estimate().awake(wall, ticks)
    }

    /// How far Ring's clock is ahead of ours; nothing before it was heard of.
    pub fn offset(&self) -> Option<Offset> {
        let (wall, ticks) = (now(), self.asked());
        self.estimate().offset(wall, ticks)
    }

    fn estimate(&self) -> MutexGuard<'_, Estimate> {
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
