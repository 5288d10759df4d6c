//! How many things happened lately: counts in slots of ten seconds, over the last five minutes.

use std::time::Duration;

use super::slots::Slots;
use super::time::Millis;

const SLOT_S: u64 = 10;
const SLOTS: usize = 30;

/// How far back is counted.
pub const WINDOW: Duration = Duration::from_secs(SLOT_S * SLOTS as u64);

/// A count of what happened within [`WINDOW`], to ten seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent(Slots<u32, SLOTS>);

impl Default for Recent {
    fn default() -> Self {
        Self(Slots::new(Duration::from_secs(SLOT_S)))
    }
}

impl Recent {
    pub fn add(&mut self, now: Millis) {
        let slot = self.0.at(now);
        *slot = slot.saturating_add(1);
    }

    /// What happened within the window before `now`.
    pub fn count(&self, now: Millis) -> u64 {
        self.0.until(now).map(u64::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_790_000_000_000);

    fn after(ms: u64) -> Millis {
        Millis(NOW.0 + ms)
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let mut recent = Recent::default();
        assert_eq!(recent.count(NOW), 0);
        (0..3).for_each(|_| recent.add(NOW));
        recent.add(after(200_000));
        assert_eq!(recent.count(after(200_000)), 4);
        assert_eq!(recent.count(after(290_000)), 4);
        assert_eq!(recent.count(after(300_000)), 1);
        assert_eq!(recent.count(after(500_000)), 0);
        assert_eq!(
            recent.count(NOW),
            4,
            "a look changes nothing, and a clock that is set back shows no more"
        );
    }

    #[test]
    fn a_clock_that_is_set_counts_on() {
        let mut recent = Recent::default();
        recent.add(after(60_000));
        recent.add(NOW);
        assert_eq!(recent.count(after(61_000)), 2);
        recent.add(Millis(5));
        assert_eq!(recent.count(Millis(5)), 1, "long ago is another time");
        recent.add(NOW);
        assert_eq!(recent.count(NOW), 1);
    }
}
