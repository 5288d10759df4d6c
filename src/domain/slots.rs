//! A ring of slots of equal length over the newest time: what is older than the ring is gone.

use std::time::Duration;

use super::time::Millis;

/// `N` slots, each of the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots<T, const N: usize> {
    ring: [T; N],
    /// In milliseconds.
    length: u64,
    /// The newest slot, counted from the epoch.
    newest: u64,
}

impl<T: Copy + Default, const N: usize> Slots<T, N> {
    /// Empty ones; `length` is at least a millisecond.
    pub(super) fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { ring: [T::default(); N], length, newest: 0 }
    }

    /// The slot of `now`.
    pub(super) fn at(&mut self, now: Millis) -> &mut T {
        self.advance(now);
        &mut self.ring[place::<N>(self.newest)]
    }

    /// All of them as they stand at `now`, the oldest first; the last is the one that runs.
    pub(super) fn until(&self, now: Millis) -> impl Iterator<Item = T> + use<T, N> {
        let mut here = self.clone();
        here.advance(now);
        let first = place::<N>(here.newest + 1);
        here.ring.rotate_left(first);
        here.ring.into_iter()
    }

    /// A clock that is set back counts into the newest slot until it has caught up, or until that is further than the ring reaches.
    fn advance(&mut self, now: Millis) {
        let slot = now.0 / self.length;
        if slot.abs_diff(self.newest) >= N as u64 {
            (self.ring, self.newest) = ([T::default(); N], slot);
        }
        while self.newest < slot {
            self.newest += 1;
            self.ring[place::<N>(self.newest)] = T::default();
        }
    }
}

fn place<const N: usize>(slot: u64) -> usize {
    // Below the number of slots.
    usize::try_from(slot % N as u64).unwrap_or_default()
}
