//! How many webhooks came in each minute of the last hour.

use serde::{Deserialize, Serialize};

use super::time::Millis;

const MINUTE_MS: u64 = 60_000;
const MINUTES: usize = 60;

/// The webhooks of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Answered 200.
    pub taken: u32,
    pub refused: u32,
}

/// The last hour, a minute a place.
#[derive(Debug, Clone)]
pub struct Minutes {
    places: [Minute; MINUTES],
    /// The minute of the newest, counted from the epoch.
    newest: u64,
}

impl Default for Minutes {
    fn default() -> Self {
        Self { places: [Minute::default(); MINUTES], newest: 0 }
    }
}

impl Minutes {
    pub fn add(&mut self, now: Millis, is_taken: bool) {
        self.advance(now);
        let minute = &mut self.places[place(self.newest)];
        let count = if is_taken { &mut minute.taken } else { &mut minute.refused };
        *count = count.saturating_add(1);
    }

    /// The hour before `now`, the oldest first; the last is the minute that runs.
    pub fn hour(&self, now: Millis) -> Vec<Minute> {
        let mut here = self.clone();
        here.advance(now);
        let first = place(here.newest + 1);
        here.places[first..].iter().chain(&here.places[..first]).copied().collect()
    }

    /// A clock that is set back counts into the newest minute until it has caught up, or until that is more than an hour.
    fn advance(&mut self, now: Millis) {
        let minute = now.0 / MINUTE_MS;
        if minute.abs_diff(self.newest) >= MINUTES as u64 {
            *self = Self { newest: minute, ..Self::default() };
        }
        while self.newest < minute {
            self.newest += 1;
            self.places[place(self.newest)] = Minute::default();
        }
    }
}

fn place(minute: u64) -> usize {
    // Below the number of places.
    usize::try_from(minute % MINUTES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_790_000_000_000);

    fn after(minutes: u64) -> Millis {
        Millis(NOW.0 + minutes * MINUTE_MS)
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
