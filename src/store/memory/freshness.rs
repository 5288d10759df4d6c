//! When webhooks came, of each account and of all together: 8 bytes an account, so that a silence can be told.

use std::time::Duration;

use super::index::NO_ACCOUNT;
use super::options::Silence;
use crate::domain::freshness::Rhythm;
use crate::domain::time::Millis;

/// Accounts in a row on disk, which fits a page.
pub(crate) const BLOCK: usize = 256;
/// Accounts that are named in a minute when their silence begins or ends; all are counted.
const NAMED: usize = 16;

/// Accounts whose silence began or ended.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    pub named: Vec<(u32, Duration)>,
    pub count: u64,
}

impl Turned {
    pub(crate) fn add(&mut self, account: u32, silence: Duration) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push((account, silence));
        }
    }
}

/// By the accounts' numbers; the intake as a whole has the number of no account.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    rhythms: Vec<Rhythm>,
    /// Blocks that are not on disk as they are here.
    dirty: Vec<bool>,
    /// Since when webhooks are taken, by a clock that is believed.
    pub since: Option<Millis>,
    /// Accounts whose silence was told.
    pub silent: u64,
    pub ended: Turned,
    /// How long the intake's silence was, which has just ended.
    intake_ended: Option<Duration>,
    /// Where the next look at accounts, and the next writing, begin.
    pub look_from: usize,
    pub write_from: usize,
    pub next_step: Millis,
}

impl Freshness {
    /// Takes over a block as it lies on disk.
    pub(crate) fn load(&mut self, block: usize, rhythms: &[Rhythm]) {
        let from = block * BLOCK;
        self.grow(from + rhythms.len());
        self.rhythms[from..from + rhythms.len()].copy_from_slice(rhythms);
        let accounts = rhythms.iter().skip(usize::from(block == 0));
        self.silent += accounts.filter(|rhythm| rhythm.is_told()).count() as u64;
    }

    fn grow(&mut self, len: usize) {
        if self.rhythms.len() < len {
            self.rhythms.resize(len, Rhythm::default());
            self.dirty.resize(len.div_ceil(BLOCK), false);
        }
    }

    pub(crate) fn intake(&self) -> Rhythm {
        self.get(NO_ACCOUNT)
    }

    pub(crate) fn get(&self, account: u32) -> Rhythm {
        self.rhythms.get(account as usize).copied().unwrap_or_default()
    }

    pub(crate) fn accounts(&self) -> usize {
        self.rhythms.len()
    }

    fn change(&mut self, account: u32, change: impl FnOnce(&mut Rhythm)) {
        let at = account as usize;
        self.grow(at + 1);
        let before = self.rhythms[at];
        change(&mut self.rhythms[at]);
        self.dirty[at / BLOCK] |= self.rhythms[at] != before;
    }

    /// A webhook came, of whatever account.
    pub(crate) fn intake_heard(&mut self, now: Millis, silence: &Silence) {
        let (before, since) = (self.intake(), self.since);
        self.change(NO_ACCOUNT, |rhythm| rhythm.heard(now, since, &silence.intake));
        if before.is_told() {
            self.intake_ended = before.last().map(|last| now.since(last));
            // No account could be heard before.
            self.since = since.map(|_| now);
        }
    }

    /// It was known to have been heard at `at`.
    pub(crate) fn intake_came(&mut self, at: Millis) {
        self.change(NO_ACCOUNT, |rhythm| rhythm.came(at));
    }

    /// A webhook of this account came.
    pub(crate) fn heard(&mut self, account: u32, now: Millis, silence: &Silence) {
        if account == NO_ACCOUNT {
            return;
        }
        let (before, since) = (self.get(account), self.since);
        self.change(account, |rhythm| rhythm.heard(now, since, &silence.account));
        if before.is_told() {
            self.silent -= 1;
            self.ended.add(account, before.last().map_or(Duration::ZERO, |last| now.since(last)));
        }
    }

    /// Notes that the silence of an account was told, or is none any more.
    pub(crate) fn set_told(&mut self, account: u32, told: bool) {
        if account != NO_ACCOUNT && self.get(account).is_told() != told {
            self.change(account, |rhythm| rhythm.set_told(told));
            self.silent = if told { self.silent + 1 } else { self.silent - 1 };
        }
    }

    pub(crate) fn forget(&mut self, account: u32) {
        self.set_told(account, false);
        self.change(account, |rhythm| *rhythm = Rhythm::default());
    }

    /// Webhooks are taken, and the clock is believed, or not. Whether the intake's silence begins now, or ends after so long.
    pub(crate) fn look(&mut self, now: Millis, listens: bool, silence: &Silence) -> (bool, Option<Duration>) {
        self.since = listens.then(|| self.since.unwrap_or(now));
        let intake = self.intake();
        let silent = intake.silence(now, self.since, &silence.intake);
        let begins = silent.is_some() && !intake.is_told();
        if begins {
            self.change(NO_ACCOUNT, |rhythm| rhythm.set_told(true));
        } else if intake.is_told() && intake.is_given_up(now, &silence.intake) {
            self.change(NO_ACCOUNT, |rhythm| rhythm.set_told(false));
        }
        (begins, self.intake_ended.take())
    }

    /// Some blocks that are not on disk as they are here, the intake's before all, and those after the last that were taken.
    pub(crate) fn take_dirty(&mut self, most: usize) -> Vec<usize> {
        let blocks = self.dirty.len();
        let from = self.write_from.min(blocks);
        let order = std::iter::once(0).chain(from..blocks).chain(1..from.max(1));
        let mut taken = Vec::new();
        for block in order {
            if taken.len() < most && self.dirty.get(block).copied().unwrap_or(false) {
                self.dirty[block] = false;
                taken.push(block);
            }
        }
        self.write_from = taken.last().map_or(0, |last| last + 1);
        taken
    }

    pub(crate) fn block(&self, block: usize) -> &[Rhythm] {
        let from = (block * BLOCK).min(self.rhythms.len());
        &self.rhythms[from..(from + BLOCK).min(self.rhythms.len())]
    }
}
