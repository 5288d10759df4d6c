//! The writer's sign of life: on a disk that hangs nothing fails, the writer only stands still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// No step of the writer takes as long on a disk that answers. Webhooks are answered 503 sooner.
const LONGEST_STEP: Duration = Duration::from_secs(5);
/// In place of a time: no writer runs.
const AT_REST: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    /// When the writer began its step, in milliseconds since the origin.
    step: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { origin: clock::instant(), step: AtomicU64::new(AT_REST) }
    }
}

impl Pulse {
    /// The writer begins a step: waiting for commands is a short one.
    pub(crate) fn beat(&self) {
        self.step.store(self.passed(), Ordering::Relaxed);
    }

    /// The writer ends.
    pub(crate) fn rest(&self) {
        self.step.store(AT_REST, Ordering::Relaxed);
    }

    /// For how long the writer has stood still, if that is longer than any step takes.
    pub(crate) fn stands_still(&self) -> Option<Duration> {
        let still = Duration::from_millis(self.passed().saturating_sub(self.step.load(Ordering::Relaxed)));
        (still > LONGEST_STEP).then_some(still)
    }

    fn passed(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
