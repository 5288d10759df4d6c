//! How many things happened lately: counts in slots of ten seconds, over the last five minutes.

use std::time::Duration;

use super::time::Millis;

const SLOT_MS: u64 = 10_000;
const SLOTS: usize = 30;

/// How far back is counted.
pub const WINDOW: Duration = Duration::from_millis(SLOT_MS * SLOTS as u64);

/// A count of what happened within [`WINDOW`], to ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    slots: [u32; SLOTS],
    /// The slot of the newest, counted from the epoch.
    newest: u64,
}

impl Recent {
    pub fn add(&mut self, now: Millis) {
        self.advance(now);
        let slot = &mut self.slots[place(self.newest)];
        *slot = slot.saturating_add(1);
    }

    /// What happened within the window before `now`.
    pub fn count(&self, now: Millis) -> u64 {
        let mut here = self.clone();
        here.advance(now);
        here.slots.iter().copied().map(u64::from).sum()
    }

    /// A clock that is set back counts into the newest slot until it has caught up, or until that is more than a window.
    fn advance(&mut self, now: Millis) {
        let slot = now.0 / SLOT_MS;
        if slot.abs_diff(self.newest) >= SLOTS as u64 {
            *self = Self { newest: slot, ..Self::default() };
        }
        while self.newest < slot {
            self.newest += 1;
            self.slots[place(self.newest)] = 0;
        }
    }
}

fn place(slot: u64) -> usize {
    // Below the number of slots.
    usize::try_from(slot % SLOTS as u64).unwrap_or_default()
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
