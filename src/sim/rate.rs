//! Ring's rate limit: so many requests in any second, over all endpoints of a client.

use std::collections::VecDeque;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);

/// The last second's requests. Time is counted from any fixed moment.
#[derive(Debug)]
pub(super) struct Rate {
    /// A second; nothing is no limit.
    limit: Option<usize>,
    admitted: VecDeque<Duration>,
    all: VecDeque<Duration>,
    peak: usize,
}

/// What is left of the second's requests; nothing where this one is over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) limit: usize,
    pub(super) remaining: Option<usize>,
}

impl Rate {
    pub(super) fn new(limit: Option<usize>) -> Self {
        Self { limit, admitted: VecDeque::new(), all: VecDeque::new(), peak: 0 }
    }

    /// Counts a request; nothing when there is no limit.
    pub(super) fn count(&mut self, at: Duration) -> Option<Allowance> {
        for times in [&mut self.admitted, &mut self.all] {
            while times.front().is_some_and(|first| at.saturating_sub(*first) >= WINDOW) {
                times.pop_front();
            }
        }
        self.all.push_back(at);
        self.peak = self.peak.max(self.all.len());
        let limit = self.limit?;
        let remaining = limit.checked_sub(self.admitted.len() + 1);
        if remaining.is_some() {
            self.admitted.push_back(at);
        }
        Some(Allowance { limit, remaining })
    }

    /// The requests of the worst second, whether or not they were admitted.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_slides_and_what_is_refused_does_not_count_against_it() {
        let mut rate = Rate::new(Some(2));
        let mut left = |ms| rate.count(Duration::from_millis(ms)).unwrap().remaining;
        assert_eq!(
            (left(0), left(500), left(900), left(1000), left(1400)),
            (Some(1), Some(0), None, Some(0), None)
        );
        assert_eq!(rate.peak(), 4);
        assert_eq!(Rate::new(None).count(Duration::ZERO), None);
    }
}
