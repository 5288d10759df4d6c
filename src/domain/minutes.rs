//! How many webhooks came in each minute of the last hour.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::slots::Slots;
use super::time::Millis;

const MINUTES: usize = 60;

/// The webhooks of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Answered 200.
    pub taken: u32,
    pub refused: u32,
}

/// The last hour, a minute a slot.
#[derive(Debug, Clone)]
pub struct Minutes(Slots<Minute, MINUTES>);

impl Default for Minutes {
    fn default() -> Self {
        Self(Slots::new(Duration::from_mins(1)))
    }
}

impl Minutes {
    pub fn add(&mut self, now: Millis, is_taken: bool) {
        let minute = self.0.at(now);
        let count = if is_taken { &mut minute.taken } else { &mut minute.refused };
        *count = count.saturating_add(1);
    }

    /// The hour before `now`, the oldest first; the last is the minute that runs.
    pub fn hour(&self, now: Millis) -> Vec<Minute> {
        self.0.until(now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_790_000_000_000);

    fn after(minutes: u64) -> Millis {
        Millis(NOW.0 + minutes * 60_000)
    }

    fn counts(minutes: &Minutes, now: Millis) -> Vec<(usize, u32, u32)> {
        let hour = minutes.hour(now).into_iter().enumerate();
        let some = hour.filter(|(_, minute)| *minute != Minute::default());
        some.map(|(at, minute)| (at, minute.taken, minute.refused)).collect()
    }

    #[test]
    fn an_hour_is_seen_and_no_more() {
        let mut minutes = Minutes::default();
        assert_eq!(minutes.hour(NOW), [Minute::default(); MINUTES]);
        (0..3).for_each(|_| minutes.add(NOW, true));
        minutes.add(after(1), false);
        assert_eq!(counts(&minutes, after(1)), [(58, 3, 0), (59, 0, 1)]);
        assert_eq!(counts(&minutes, after(59)), [(0, 3, 0), (1, 0, 1)]);
        assert_eq!(counts(&minutes, after(60)), [(0, 0, 1)]);
        assert_eq!(counts(&minutes, after(61)), []);
        assert_eq!(counts(&minutes, after(1)), [(58, 3, 0), (59, 0, 1)], "a look changes nothing");
    }

    #[test]
    fn a_clock_that_is_set_counts_on() {
        let mut minutes = Minutes::default();
        minutes.add(after(5), true);
        minutes.add(NOW, true);
        assert_eq!(counts(&minutes, after(5)), [(59, 2, 0)]);
        minutes.add(Millis(7), false);
        assert_eq!(counts(&minutes, Millis(7)), [(59, 0, 1)], "long ago is another time");
    }
}
