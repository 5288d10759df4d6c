//! When the store's file is made small without anybody asking: where much of it is free, and few webhooks come.

use std::time::Duration;

/// So many events a second, over the time between two looks, are few.
const FEW: u64 = 10;
/// A file that has been worth it for so long is made small though many come, because it is never quiet everywhere.
const AT_LAST: Duration = Duration::from_hours(24);
/// From one to the next, however it ended: what is free is known about, and a disk that has no room has none a minute later.
const PAUSE: Duration = Duration::from_hours(24);

/// What a look sees. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub file: u64,
    /// Of the file.
    pub free: u64,
    /// Webhooks since the start.
    pub webhooks: u64,
}

/// Decides at each look. Times are spans since any moment.
#[derive(Debug)]
pub struct Compaction {
    /// Less than this is never worth it.
    above: u64,
    last: Option<(u64, Duration)>,
    worth_since: Option<Duration>,
    not_before: Duration,
}

impl Compaction {
    pub fn new(above: u64) -> Self {
        Self { above, last: None, worth_since: None, not_before: Duration::ZERO }
    }

    /// Whether to begin now.
    pub fn look(&mut self, now: Duration, seen: Seen) -> bool {
        let before = self.last.replace((seen.webhooks, now));
        let is_worth_it = seen.free > self.above && seen.free > seen.file / 2;
        if !is_worth_it {
            self.worth_since = None;
            return false;
        }
        let since = *self.worth_since.get_or_insert(now);
        // The first look does not know how many come.
        let Some((webhooks, then)) = before else { return false };
        let seconds = now.saturating_sub(then).as_secs().max(1);
        let is_quiet = seen.webhooks.saturating_sub(webhooks) <= FEW * seconds;
        let begins = now >= self.not_before && (is_quiet || now.saturating_sub(since) >= AT_LAST);
        if begins {
            self.not_before = now + PAUSE;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;

    fn seen(file: u64, free: u64, webhooks: u64) -> Seen {
        Seen { file: file * MIB, free: free * MIB, webhooks }
    }

    /// Looks each minute from the first on, at what `see` says for that second; the seconds at which it begins.
    fn begins(minutes: u64, see: impl Fn(u64) -> Seen) -> Vec<u64> {
        let mut compaction = Compaction::new(64 * MIB);
        let seconds = (0..minutes).map(|minute| minute * MINUTE);
        seconds.filter(|&second| compaction.look(Duration::from_secs(second), see(second))).collect()
    }

    #[test]
    fn it_begins_where_over_half_is_free_and_that_is_much() {
        assert_eq!(begins(9, |_| seen(200, 101, 0)), [MINUTE]);
        assert_eq!(begins(9, |_| seen(200, 100, 0)), [0; 0], "half");
        assert_eq!(begins(9, |_| seen(90, 64, 0)), [0; 0], "little");
    }

    #[test]
    fn it_waits_until_few_come_but_not_for_ever() {
        assert_eq!(begins(9, |second| seen(200, 150, second * 10)), [MINUTE]);
        let until_five = |second: u64| seen(200, 150, second.min(5 * MINUTE) * 1000);
        assert_eq!(begins(9, until_five), [6 * MINUTE]);
        assert_eq!(begins(25 * 60, |second| seen(200, 150, second * 1000)), [24 * HOUR]);
        // Not a day of all in all, but at a stretch.
        let paused = |second: u64| seen(200, if second == 12 * HOUR { 0 } else { 150 }, second * 1000);
        assert_eq!(begins(30 * 60, paused), [0; 0]);
    }

    #[test]
    fn it_begins_once_a_day_where_it_changes_nothing() {
        assert_eq!(begins(49 * 60, |_| seen(200, 150, 0)), [MINUTE, MINUTE + 24 * HOUR, MINUTE + 48 * HOUR]);
    }
}
