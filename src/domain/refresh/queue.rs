//! Who is refreshed next: accounts by the time they come due, and those that are due by urgency.

use std::collections::BTreeSet;
use std::time::Duration;

use super::census::{Census, Standing};
use super::entry::{Place, ScheduleEntry};

/// Every account's entry, by its dense number, and the orders. About 60 bytes an account.
#[derive(Debug)]
pub(super) struct Queue {
    entries: Vec<ScheduleEntry>,
    /// (Due, account).
    waiting: BTreeSet<(u32, u32)>,
    ready: Ready,
    in_flight: usize,
    /// Those in flight that failed before, and are not late.
    failing_in_flight: usize,
    /// Those in flight that are late.
    late: usize,
    living: usize,
    /// Living ones whose token was sent and nobody knows what came of it.
    in_doubt: usize,
    pub(super) census: Census,
}

/// Whom to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    MostUrgent,
    /// While it is not certain that OAuth works: whoever has failed least says most about it.
    LeastFailed,
    /// While OAuth may be answering late: whoever's token was sent already, so that no other link is put at risk.
    InDoubt,
}

/// Accounts that are due.
#[derive(Debug, Default)]
struct Ready {
    /// (Urgency, account), of those that nothing speaks against.
    clean: BTreeSet<(u32, u32)>,
    /// The same of the others.
    failed: BTreeSet<(u32, u32)>,
    /// Those once more: (failures, urgency, account).
    by_failures: BTreeSet<(u16, u32, u32)>,
    /// Of those the ones in doubt, once more.
    in_doubt: BTreeSet<(u16, u32, u32)>,
}

impl Ready {
    fn insert(&mut self, account: u32, entry: &ScheduleEntry) {
        if entry.is_clean() {
            self.clean.insert((entry.due, account));
        } else {
            self.failed.insert((entry.due, account));
            self.by_failures.insert((entry.failures, entry.due, account));
            if entry.is_in_doubt() {
                self.in_doubt.insert((entry.failures, entry.due, account));
            }
        }
    }

    fn remove(&mut self, account: u32, entry: &ScheduleEntry) {
        if entry.is_clean() {
            self.clean.remove(&(entry.due, account));
        } else {
            self.failed.remove(&(entry.due, account));
            self.by_failures.remove(&(entry.failures, entry.due, account));
            self.in_doubt.remove(&(entry.failures, entry.due, account));
        }
    }

    fn first(&self, pick: Pick) -> Option<u32> {
        let clean = self.clean.first().copied();
        let first = match pick {
            Pick::MostUrgent => clean.into_iter().chain(self.failed.first().copied()).min(),
            Pick::LeastFailed => {
                clean.or_else(|| self.by_failures.first().map(|&(_, due, account)| (due, account)))
            }
            Pick::InDoubt => self.in_doubt.first().map(|&(_, due, account)| (due, account)),
        };
        first.map(|(_, account)| account)
    }

    fn len(&self) -> usize {
        self.clean.len() + self.failed.len()
    }
}

impl Queue {
    /// A link is lapsing so long before its end.
    pub(super) fn new(lapsing_below: Duration) -> Self {
        Self {
            entries: Vec::new(),
            waiting: BTreeSet::new(),
            ready: Ready::default(),
            in_flight: 0,
            failing_in_flight: 0,
            late: 0,
            living: 0,
            in_doubt: 0,
            census: Census::new(lapsing_below),
        }
    }

    /// A link is lapsing so long before its end from now on.
    pub(super) fn lapsing_below(&mut self, lapsing_below: Duration) {
        self.census = Census::new(lapsing_below);
        for entry in &self.entries {
            self.census.change(None, Standing::of(entry));
        }
    }

    /// The entry of an account that has tokens.
    pub(super) fn get(&self, account: u32) -> Option<&ScheduleEntry> {
        self.entries.get(account as usize).filter(|entry| entry.is_known())
    }

    /// The entry of an account that an answer is to come for, with or without tokens.
    pub(super) fn in_flight_of(&self, account: u32) -> Option<ScheduleEntry> {
        self.entries.get(account as usize).filter(|entry| entry.place == Place::InFlight).copied()
    }

    /// Accounts with a place in the schedule.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.ready.len() + self.in_flight
    }

    /// Accounts whose tokens are not known to be dead.
    pub(super) fn living(&self) -> usize {
        self.living
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Those in flight whose answer may still come in time.
    pub(super) fn punctual(&self) -> usize {
        self.in_flight - self.late
    }

    pub(super) fn late(&self) -> usize {
        self.late
    }

    /// Accounts whose token was sent, and nobody knows, or not yet, what came of it.
    pub(super) fn in_doubt(&self) -> usize {
        self.in_doubt + self.late
    }

    pub(super) fn due(&self) -> usize {
        self.ready.len()
    }

    /// Takes the account out of wherever it is, changes it, and puts it where it says then.
    pub(super) fn change(&mut self, account: u32, now: u32, change: impl FnOnce(&mut ScheduleEntry)) {
        let index = account as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, ScheduleEntry::EMPTY);
        }
        let mut entry = self.entries[index];
        let before = Standing::of(&entry);
        self.take_out(account, &entry);
        change(&mut entry);
        self.census.change(before, Standing::of(&entry));
        entry.late &= entry.place == Place::InFlight;
        match entry.place {
            Place::Nowhere => {}
            Place::Waiting => drop(self.waiting.insert((entry.due, account))),
            Place::Ready => {
                // Kept, so that it is found again whatever `now` is then.
                entry.due = entry.urgency(now);
                self.ready.insert(account, &entry);
            }
            Place::InFlight => {
                self.in_flight += 1;
                self.late += usize::from(entry.late);
                self.failing_in_flight += usize::from(entry.failures > 0 && !entry.late);
            }
        }
        self.living += usize::from(entry.is_living());
        self.in_doubt += usize::from(entry.is_in_doubt());
        self.entries[index] = entry;
    }

    fn take_out(&mut self, account: u32, entry: &ScheduleEntry) {
        self.living -= usize::from(entry.is_living());
        self.in_doubt -= usize::from(entry.is_in_doubt());
        match entry.place {
            Place::Nowhere => {}
            Place::Waiting => drop(self.waiting.remove(&(entry.due, account))),
            Place::Ready => self.ready.remove(account, entry),
            Place::InFlight => {
                self.in_flight -= 1;
                self.late -= usize::from(entry.late);
                self.failing_in_flight -= usize::from(entry.failures > 0 && !entry.late);
            }
        }
    }

    /// Lets everybody be ready who is due.
    pub(super) fn come_due(&mut self, now: u32) {
        while let Some(&(due, account)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            debug_assert_eq!(self.entries[account as usize].due, due);
            self.change(account, now, |entry| entry.place = Place::Ready);
        }
    }

    /// The next account that is ready. However many fail, they have at most half of the places for themselves.
    pub(super) fn first(&self, pick: Pick, places: usize) -> Option<u32> {
        let crowded = pick == Pick::MostUrgent && self.failing_in_flight * 2 >= places.max(2);
        self.ready.first(if crowded { Pick::LeastFailed } else { pick })
    }

    /// It is in flight from now on.
    pub(super) fn start(&mut self, account: u32, now: u32) {
        self.change(account, now, |entry| {
            *entry = ScheduleEntry { place: Place::InFlight, kept: false, ..*entry };
        });
    }

    /// Whether whoever is in doubt, if anybody is, is under way or has failed often.
    pub(super) fn has_only_hopeless_in_doubt(&self) -> bool {
        let least = self.ready.in_doubt.first();
        least.is_none_or(|&(_, _, account)| self.entries[account as usize].fails_often())
    }

    /// Whether whoever is ready has failed often.
    pub(super) fn has_only_failing(&self) -> bool {
        let least = self.ready.by_failures.first();
        self.ready.clean.is_empty()
            && least.is_none_or(|&(_, _, account)| self.entries[account as usize].fails_often())
    }

    /// Living accounts that wait, the next to come due first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        let living = |account: &u32| self.entries[*account as usize].end.is_none();
        self.waiting.iter().map(|&(_, account)| account).filter(living)
    }

    /// Living accounts that nothing speaks against and that wait beyond `then`, as no failed one does; the last to come due
    /// first.
    pub(super) fn clean_later(&self, then: u32) -> impl Iterator<Item = u32> {
        let clean = |account: &u32| {
            let entry = &self.entries[*account as usize];
            entry.end.is_none() && entry.is_clean()
        };
        let later = self.waiting.iter().rev().take_while(move |(due, _)| *due > then);
        later.map(|&(_, account)| account).filter(clean)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready.len() == 0
    }

    /// Until the next account comes due; nothing when none waits.
    pub(super) fn next_due(&self, now: u32) -> Option<Duration> {
        self.waiting.first().map(|(due, _)| Duration::from_secs(u64::from(due.saturating_sub(now))))
    }

    /// The wall clock was set back to `now`, by so many seconds: ages and waits stay what they were.
    pub(super) fn set_back(&mut self, now: u32, by: u32) {
        for account in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            self.change(account, now, |entry| {
                entry.renewed_at = entry.renewed_at.saturating_sub(by).min(now);
                entry.latest = entry.latest.saturating_sub(by);
                entry.due = entry.due.saturating_sub(by);
            });
        }
    }

    pub(super) fn numbers(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// For tests: the daemon looks at no account that it is not asked for.
    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &ScheduleEntry)> {
        (0..).zip(&self.entries).filter(|(_, entry)| entry.is_known())
    }
}
