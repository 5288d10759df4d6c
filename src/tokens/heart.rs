//! The planner's sign of life: until when it is heard of again, and whether it has ended unasked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// In place of a time: it does not run, or waits for the disk. How long that takes is no fault of its own.
const AT_REST: u64 = u64::MAX;
/// It ended by a fault.
const DEAD: u64 = 0;

#[derive(Debug)]
pub(super) struct Heart {
    origin: Instant,
    /// When the next beat is due, in milliseconds since the origin.
    due: AtomicU64,
}

impl Heart {
    pub(super) fn new() -> Self {
        Self { origin: clock::ticks(), due: AtomicU64::new(AT_REST) }
    }

    /// It beats again within `wait`, but for the time that its own work takes.
    pub(super) fn beat(&self, wait: Duration) {
        let due = self.origin.elapsed() + wait;
        // Never the number that means death.
        self.due.store(u64::try_from(due.as_millis()).unwrap_or(AT_REST).max(1), Ordering::Relaxed);
    }

    pub(super) fn rest(&self) {
        self.due.store(AT_REST, Ordering::Relaxed);
    }

    /// Whether the beat that was due is missing for longer than `patience`.
    pub(super) fn stands_still(&self, patience: Duration) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        let waited = u64::try_from(patience.as_millis()).unwrap_or(AT_REST);
        due == DEAD
            || u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(AT_REST)
                > due.saturating_add(waited)
    }

    /// Until this is dropped it is alive; then it is dead, if it was not told to end.
    pub(super) fn alive(&self) -> Alive<'_> {
        Alive { heart: self, asked: false }
    }
}

#[derive(Debug)]
pub(super) struct Alive<'a> {
    heart: &'a Heart,
    asked: bool,
}

impl Alive<'_> {
    /// It was told to end.
    pub(super) fn end(mut self) {
        self.asked = true;
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.heart.due.store(if self.asked { AT_REST } else { DEAD }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn a_beat_that_is_missing_is_a_standstill_and_a_rest_is_none() {
        let heart = Heart::new();
        advance(HOUR).await;
        assert!(!heart.stands_still(Duration::ZERO), "it has not begun");
        heart.beat(60 * SECOND);
        advance(60 * SECOND).await;
        assert!(!heart.stands_still(Duration::ZERO));
        advance(10 * SECOND).await;
        assert_eq!([9, 10].map(|s| heart.stands_still(s * SECOND)), [true, false]);
        heart.rest();
        advance(HOUR).await;
        assert!(!heart.stands_still(Duration::ZERO), "a disk may hang for any time");
        heart.beat(Duration::ZERO);
        assert!(!heart.stands_still(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_nobody_asked_for_is_seen_at_once() {
        let heart = Heart::new();
        heart.alive().end();
        assert!(!heart.stands_still(Duration::ZERO));
        drop(heart.alive());
        assert!(heart.stands_still(HOUR));
    }
}
