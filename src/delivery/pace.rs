//! The limit of events a second that a queue hands to its receiver.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::domain::bucket::Bucket;

/// A limited queue is looked at so often at most, so that a lease of a fast one has several events.
const STEP: Duration = Duration::from_millis(50);
/// The part of a second whose events may go at once; twice a step, so that a step that lasts longer costs no rate.
const BURST: u32 = 10;

/// Lets so many events a second pass, or all.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Option<(u32, Bucket)>,
    opened: Instant,
}

impl Pace {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let limited = |per_second: u32| (per_second, Bucket::new(per_second, per_second / BURST));
        Self { limit: per_second.map(limited), opened: clock::ticks() }
    }

    /// How many of `most` events may go now; where none may, how long to wait.
    pub(super) fn take(&mut self, most: usize) -> Result<usize, Duration> {
        let now = clock::ticks().saturating_duration_since(self.opened);
        let Some((_, bucket)) = &mut self.limit else { return Ok(most) };
        bucket.take_some(now, most).map_err(|wait| wait.max(STEP))
    }

    /// Events that might have gone, and were not there.
    pub(super) fn give_back(&mut self, events: usize) {
        if let Some((_, bucket)) = &mut self.limit {
            bucket.give_back(events);
        }
    }

    /// The limit as a reason for a backlog.
    pub(super) fn words(&self) -> String {
        let per_second = self.limit.as_ref().map_or(0, |(per_second, _)| *per_second);
        format!("limited to {per_second} a second (events_per_second)")
    }
}
