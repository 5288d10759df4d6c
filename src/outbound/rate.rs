//! The rate limiter, the last thing before a request goes out: the rate counts at the sending.
//!
//! The schedule lets refreshes go at the rate, but each then waits for the disk. Where the disk pauses, those that were let go
//! meanwhile would leave together, more in one second than Ring allows.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock;
use crate::domain::bucket::Bucket;

/// Below the schedule's, so that what the way to Ring adds stays within what is allowed; above one, or each sleep that lasts a
/// little longer than it should would cost rate.
const BURST: u32 = 3;

/// Lets one pass at a time, in the order in which they came.
#[derive(Debug)]
pub struct RateLimiter {
    bucket: Mutex<Bucket>,
    /// The rate that holds now; the next request sets it in the bucket.
    per_second: AtomicU32,
    /// At most.
    burst: u32,
    opened: Instant,
    /// Apart from the bucket, because the next request holds that while it waits.
    paused_until: std::sync::Mutex<Instant>,
}

impl RateLimiter {
    pub fn new(per_second: u32) -> Self {
        Self::with_burst(per_second, BURST)
    }

    pub fn with_burst(per_second: u32, burst: u32) -> Self {
        let opened = clock::ticks();
        let bucket = Mutex::new(Bucket::new(per_second, burst.min(per_second)));
        let (per_second, paused_until) = (AtomicU32::new(per_second), std::sync::Mutex::new(opened));
        Self { bucket, per_second, burst, opened, paused_until }
    }

    /// So many a second may pass from now on.
    pub fn set_rate(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Lets nothing pass for this long from now: the other side asked for it.
    pub fn pause(&self, wait: Duration) {
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused_until = (*paused_until).max(clock::ticks() + wait);
    }

    /// Whether a pause has not ended.
    pub fn is_paused(&self) -> bool {
        clock::ticks() < *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the next request may go out.
    pub async fn pass(&self) {
        let mut bucket = self.bucket.lock().await;
        loop {
            let paused_until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock::ticks();
            if now < paused_until {
                tokio::time::sleep_until(paused_until).await;
                continue;
            }
            let per_second = self.per_second.load(Ordering::Relaxed);
            bucket.set_rate(per_second, self.burst.min(per_second), now - self.opened);
            match bucket.take(now - self.opened) {
                Ok(()) => return,
                Err(wait) => tokio::time::sleep(wait.max(Duration::from_millis(1))).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_from_when_it_was_asked_for() {
        let limiter = std::sync::Arc::new(RateLimiter::with_burst(10, 1));
        let start = clock::ticks();
        limiter.pause(Duration::from_secs(5));
        let next = tokio::spawn({
            let limiter = std::sync::Arc::clone(&limiter);
            async move { limiter.pass().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Somebody waits already; these two are asked for at once.
        limiter.pause(Duration::from_secs(5));
        limiter.pause(Duration::from_secs(3));
        next.await.unwrap();
        assert_eq!((clock::ticks() - start).as_secs(), 6);
        limiter.pass().await;
        assert!(clock::ticks() - start < Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_holds_for_the_next_that_passes() {
        let limiter = RateLimiter::with_burst(1, 1);
        limiter.pass().await;
        limiter.set_rate(100);
        let start = clock::ticks();
        for _ in 0..10 {
            limiter.pass().await;
        }
        assert!(clock::ticks() - start < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_a_slow_disk_held_up_leave_at_the_rate() {
        let limiter = RateLimiter::new(50);
        let mut left = Vec::new();
        // The disk stands still for a second, and 16 wait; then the schedule goes on at its rate.
        tokio::time::advance(Duration::from_secs(1)).await;
        for later in [16, 50, 50] {
            let start = clock::ticks();
            for _ in 0..later {
                limiter.pass().await;
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
