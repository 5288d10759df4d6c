//! One account's events in one queue, and what became of each.

use std::collections::VecDeque;

/// One holder's lease in one run of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) run: u32,
    /// Unique in the harness.
    pub(crate) lease: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Waiting,
    Out(Holder),
    Unsure(Holder),
    Settled { run: u32 },
}

/// The events of one account in one queue; those before `base` are settled.
#[derive(Debug, Default)]
pub(crate) struct Line {
    base: u32,
    slots: VecDeque<Slot>,
}

impl Line {
    pub(crate) fn get(&self, position: u32) -> Slot {
        match position.checked_sub(self.base) {
            None => Slot::Settled { run: u32::MAX },
            Some(at) => self.slots.get(at as usize).copied().unwrap_or(Slot::Waiting),
        }
    }

    pub(crate) fn set(&mut self, position: u32, slot: Slot) {
        let Some(at) = position.checked_sub(self.base) else { return };
        let at = at as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Slot::Waiting);
        }
        self.slots[at] = slot;
    }

    /// Forgets settled ones at the front that were settled before `run`.
    pub(crate) fn shrink(&mut self, run: u32) {
        while let Some(Slot::Settled { run: at }) = self.slots.front()
            && *at < run
        {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// One at `position` came: those before it must be settled, or out with the same lease. That it came proves
    /// that an unsure one is settled. Returns the first that is neither.
    pub(crate) fn pass(&mut self, position: u32, holder: Holder) -> Option<u32> {
        let base = self.base;
        for at in base..position {
            match self.get(at) {
                Slot::Settled { .. } => {}
                Slot::Out(other) if other == holder => {}
                Slot::Unsure(by) => self.set(at, Slot::Settled { run: by.run }),
                Slot::Waiting | Slot::Out(_) => return Some(at),
            }
        }
        None
    }

    pub(crate) fn first_open(&self, before: u32) -> Option<u32> {
        let end = before.min(self.base + u32::try_from(self.slots.len()).unwrap() + 1);
        (self.base..end).find(|&at| !matches!(self.get(at), Slot::Settled { .. }))
    }

    /// How many before `end` are settled. One that a daemon died over while it was being acknowledged is: it came, and
    /// whether it would come again is seen in what waits in the queue.
    pub(crate) fn settled_before(&self, end: u32, run: u32) -> u32 {
        let here = self.slots.iter().take(end.saturating_sub(self.base) as usize);
        let here = here.filter(|slot| match slot {
            Slot::Settled { .. } => true,
            Slot::Unsure(by) => by.run < run,
            Slot::Waiting | Slot::Out(_) => false,
        });
        self.base.min(end) + u32::try_from(here.count()).unwrap()
    }
}
