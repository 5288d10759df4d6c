//! Repeated warnings, thinned out: the first few of a reason in a minute pass, later ones are counted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::Millis;

const WINDOW: Duration = Duration::from_mins(1);

/// Counts by reason. Reasons should be few (an enum), since they are remembered.
#[derive(Debug)]
pub struct Limiter<R> {
    per_minute: u32,
    windows: BTreeMap<R, Window>,
}

#[derive(Debug)]
struct Window {
    start: Millis,
    passed: u32,
    silent: u64,
}

impl<R: Ord> Limiter<R> {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, windows: BTreeMap::new() }
    }

    /// Whether a line about `reason` may be written now, and how many were not since the last one.
    pub fn pass(&mut self, reason: R, now: Millis) -> Option<u64> {
        let fresh = || Window { start: now, passed: 0, silent: 0 };
        let window = self.windows.entry(reason).or_insert_with(fresh);
        // A clock that was set back starts a new window; waiting until it has caught up could take years.
        if now < window.start || now.since(window.start) >= WINDOW {
            window.start = now;
            window.passed = 0;
        }
        if window.passed >= self.per_minute {
            window.silent += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_of_a_minute_are_counted_and_told_with_the_next() {
        let mut limiter = Limiter::new(2);
        let passes: Vec<_> =
            [0, 1, 2, 59_999, 60_000, 60_001].map(|ms| limiter.pass("slow", Millis(ms))).into();
        assert_eq!(passes, [Some(0), Some(0), None, None, Some(2), Some(0)]);
    }

    #[test]
    fn reasons_do_not_silence_each_other() {
        let mut limiter = Limiter::new(1);
        assert_eq!(limiter.pass(1, Millis(0)), Some(0));
        assert_eq!(limiter.pass(2, Millis(0)), Some(0));
        assert_eq!(limiter.pass(1, Millis(0)), None);
    }

    #[test]
    fn a_clock_set_back_does_not_silence_for_long() {
        let mut limiter = Limiter::new(1);
        assert_eq!(limiter.pass((), Millis(1_000_000_000)), Some(0));
        assert_eq!(limiter.pass((), Millis(5)), Some(0));
        assert_eq!(limiter.pass((), Millis(6)), None);
    }
}
