//! Who is refreshed next: accounts by the time they come due, and those that are due by urgency.

use std::collections::BTreeSet;
use std::time::Duration;

use super::slot::{Place, Slot};

/// Every account's slot, by its dense number, and the two orders. About 50 bytes an account.
#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: Vec<Slot>,
    /// (Due, account).
    waiting: BTreeSet<(u32, u32)>,
    /// (Urgency, account).
    ready: BTreeSet<(u32, u32)>,
    in_flight: usize,
    scheduled: usize,
}

impl Queue {
    /// The slot of an account that has tokens.
    pub(super) fn get(&self, account: u32) -> Option<&Slot> {
        self.slots.get(account as usize).filter(|slot| slot.is_known())
    }

    /// The slot of an account that an answer is to come for, with or without tokens.
    pub(super) fn in_flight_of(&self, account: u32) -> Option<Slot> {
        self.slots.get(account as usize).filter(|slot| slot.place == Place::InFlight).copied()
    }

    /// Accounts with a place in the schedule.
    pub(super) fn len(&self) -> usize {
        self.scheduled
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn due(&self) -> usize {
        self.ready.len()
    }

    /// Takes the account out of wherever it is, changes it, and puts it where it says then.
    pub(super) fn change(&mut self, account: u32, now: u32, change: impl FnOnce(&mut Slot)) {
        let index = account as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Slot::EMPTY);
        }
        let mut slot = self.slots[index];
        self.take_out(account, &slot);
        change(&mut slot);
        match slot.place {
            Place::Nowhere => {}
            Place::Waiting => drop(self.waiting.insert((slot.due, account))),
            Place::Ready => {
                // Kept, so that the entry is found again whatever `now` is then.
                slot.due = slot.urgency(now);
                self.ready.insert((slot.due, account));
            }
            Place::InFlight => self.in_flight += 1,
        }
        self.scheduled += usize::from(slot.place != Place::Nowhere);
        self.slots[index] = slot;
    }

    fn take_out(&mut self, account: u32, slot: &Slot) {
        self.scheduled -= usize::from(slot.place != Place::Nowhere);
        match slot.place {
            Place::Nowhere => {}
            Place::Waiting => drop(self.waiting.remove(&(slot.due, account))),
            Place::Ready => drop(self.ready.remove(&(slot.due, account))),
            Place::InFlight => self.in_flight -= 1,
        }
    }

    /// Lets everybody be ready who is due.
    pub(super) fn come_due(&mut self, now: u32) {
        while let Some(&(due, account)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            debug_assert_eq!(self.slots[account as usize].due, due);
            self.change(account, now, |slot| slot.place = Place::Ready);
        }
    }

    /// The most urgent account that is ready; it is in flight from now on.
    pub(super) fn start(&mut self, now: u32) -> Option<u32> {
        let &(_, account) = self.ready.first()?;
        self.change(account, now, |slot| slot.place = Place::InFlight);
        Some(account)
    }

    /// Living accounts that wait, the next to come due first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        let living = |account: &u32| self.slots[*account as usize].end.is_none();
        self.waiting.iter().map(|&(_, account)| account).filter(living)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Until the next account comes due; nothing when none waits.
    pub(super) fn next_due(&self, now: u32) -> Option<Duration> {
        self.waiting.first().map(|(due, _)| Duration::from_secs(u64::from(due.saturating_sub(now))))
    }

    /// The wall clock was set back to `now`, by so many seconds: ages and waits stay what they were.
    pub(super) fn set_back(&mut self, now: u32, by: u32) {
        for account in 0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX) {
            self.change(account, now, |slot| {
                slot.renewed_at = slot.renewed_at.saturating_sub(by).min(now);
                slot.expires_at = slot.expires_at.saturating_sub(by);
                slot.due = slot.due.saturating_sub(by);
            });
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.is_known())
    }
}
