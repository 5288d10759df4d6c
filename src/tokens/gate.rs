//! The last thing before a request goes out: keeps the rate where it counts, at the sending.
//!
//! The schedule lets refreshes go at the rate, but each then waits for the disk. Where the disk pauses, those that were let go
//! meanwhile would leave together, more in one second than Ring allows.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock;
use crate::domain::refresh::Bucket;

/// Below the schedule's, so that what the way to Ring adds stays within what is allowed; above one, or each sleep that lasts a
/// little longer than it should would cost rate.
const BURST: u32 = 3;

/// Lets one pass at a time, in the order in which they came.
#[derive(Debug)]
pub(super) struct Gate {
    bucket: Mutex<Bucket>,
    opened: Instant,
}

impl Gate {
    pub(super) fn new(per_second: u32) -> Self {
        Self::with_burst(per_second, BURST.min(per_second))
    }

    pub(super) fn with_burst(per_second: u32, burst: u32) -> Self {
        Self { bucket: Mutex::new(Bucket::new(per_second, burst)), opened: clock::ticks() }
    }

    /// Lets nothing pass for this long: the other side asked for it.
    pub(super) async fn pause(&self, wait: Duration) {
        self.bucket.lock().await.pause(clock::ticks() - self.opened, wait);
    }

    /// Waits until the next request may go out.
    pub(super) async fn pass(&self) {
        let mut bucket = self.bucket.lock().await;
        while let Err(wait) = bucket.take(clock::ticks() - self.opened) {
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_a_slow_disk_held_up_leave_at_the_rate() {
        let gate = Gate::new(50);
        let mut left = Vec::new();
        // The disk stands still for a second, and 16 wait; then the schedule goes on at its rate.
        tokio::time::advance(Duration::from_secs(1)).await;
        for later in [16, 50, 50] {
            let start = clock::ticks();
            for _ in 0..later {
                gate.pass().await;
                left.push(clock::ticks());
            }
            assert!(clock::ticks() - start <= Duration::from_millis(1100), "{later}");
        }
        for (at, &first) in left.iter().enumerate() {
            let within = left[at..].iter().take_while(|&&t| t < first + Duration::from_secs(1)).count();
            assert!(within <= 53, "{within} in a second");
        }
    }
}
