//! How many accounts are called what, and when the first lapses: counted where entries change, so that to ask looks at no account.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Health;
use super::entry::{LATE_AFTER, ScheduleEntry, to_seconds};
use super::health::{End, Proof};
use crate::domain::looks::visit;

/// The counts of all accounts. What an account is called changes with time alone, too: those moments are kept as counts by
/// the second, and passed as the clock does.
#[derive(Debug)]
pub(super) struct Census {
    lapsing_below: u32,
    /// Living accounts by what OAuth last said of their tokens, in the order of [`Proof`].
    living: [Ages; 3],
    lapsed: usize,
    revoked: usize,
    failing: usize,
}

/// The part of an entry that the census counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    proof: Proof,
    end: Option<End>,
    lapses_at: u32,
    /// The first second at which it is late, if it is not lapsing before.
    late_at: u32,
    fails: bool,
}

impl Standing {
    /// None of an account without tokens.
    pub(super) fn of(entry: &ScheduleEntry) -> Option<Self> {
        entry.is_known().then(|| Self {
            proof: entry.proof,
            end: entry.end,
            lapses_at: entry.lapses_at(),
            late_at: entry.latest.saturating_add(to_seconds(LATE_AFTER)).saturating_add(1),
            fails: entry.failures > 0 || entry.proof == Proof::Refused,
        })
    }
}

impl Census {
    /// A link is lapsing so long before its end.
    pub(super) fn new(lapsing_below: Duration) -> Self {
        Self {
            lapsing_below: to_seconds(lapsing_below),
            living: Default::default(),
            lapsed: 0,
            revoked: 0,
            failing: 0,
        }
    }

    /// An account stands otherwise than before.
    pub(super) fn change(&mut self, before: Option<Standing>, after: Option<Standing>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.count(before, Ages::remove, |count| *count -= 1);
        }
        if let Some(after) = after {
            self.count(after, Ages::add, |count| *count += 1);
        }
    }

    fn count(&mut self, of: Standing, age: fn(&mut Ages, u32, u32), by_one: fn(&mut usize)) {
        match of.end {
            Some(End::Lapsed) => by_one(&mut self.lapsed),
            Some(End::Revoked) => by_one(&mut self.revoked),
            None => {
                if of.fails {
                    by_one(&mut self.failing);
                }
                let lapsing_at = of.lapses_at.saturating_sub(self.lapsing_below);
                age(&mut self.living[of.proof as usize], of.late_at.min(lapsing_at), lapsing_at);
            }
        }
    }

    /// Living accounts whose last refresh failed, or was refused.
    pub(super) fn failing(&self) -> usize {
        self.failing
    }

    /// In the order of [`Health::ALL`].
    pub(super) fn by_health(&mut self, now: u32) -> [usize; Health::ALL.len()] {
        let mut counts = [0; Health::ALL.len()];
        let mut add = |health: Health, count| counts[health as usize] += count;
        for proof in [Proof::Honoured, Proof::Untried, Proof::Refused] {
            let ages = &mut self.living[proof as usize];
            let (lapsing, stale) = (ages.lapsing.passed(now), ages.stale.passed(now));
            add(Health::Fresh.with(proof), ages.stale.count - stale);
            add(Health::Late.with(proof), stale - lapsing);
            add(Health::Lapsing.with(proof), lapsing);
        }
        add(Health::Lapsed, self.lapsed);
        add(Health::Revoked, self.revoked);
        counts
    }

    /// When the first living account lapses.
    pub(super) fn nearest_lapse(&self) -> Option<u32> {
        let first = self.living.iter().filter_map(|ages| ages.lapsing.first()).min();
        first.map(|lapsing_at| lapsing_at.saturating_add(self.lapsing_below))
    }
}

/// When living accounts get another name by their age.
#[derive(Debug, Default)]
struct Ages {
    /// When they are fresh no more.
    stale: Moments,
    lapsing: Moments,
}

impl Ages {
    fn add(&mut self, stale_at: u32, lapsing_at: u32) {
        self.stale.add(stale_at);
        self.lapsing.add(lapsing_at);
    }

    fn remove(&mut self, stale_at: u32, lapsing_at: u32) {
        self.stale.remove(stale_at);
        self.lapsing.remove(lapsing_at);
    }
}

/// How many accounts have each moment, in seconds, and how many have it behind them.
#[derive(Debug, Default)]
struct Moments {
    by_second: BTreeMap<u32, usize>,
    count: usize,
    /// The count of those up to the second at which it was last asked for.
    passed: usize,
    asked_at: u32,
}

impl Moments {
    fn add(&mut self, at: u32) {
        *self.by_second.entry(at).or_default() += 1;
        self.count += 1;
        self.passed += usize::from(at <= self.asked_at);
    }

    fn remove(&mut self, at: u32) {
        if let Some(count) = self.by_second.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.by_second.remove(&at);
            }
        }
        self.count -= 1;
        self.passed -= usize::from(at <= self.asked_at);
    }

    fn first(&self) -> Option<u32> {
        self.by_second.first_key_value().map(|(&at, _)| at)
    }

    /// How many have it behind them. Looks at the seconds since it was last asked, or those that the clock was set back.
    fn passed(&mut self, now: u32) -> usize {
        let between = |from: u32, to: u32| self.by_second.range(from + 1..=to).inspect(|_| visit());
        if now > self.asked_at {
            self.passed += between(self.asked_at, now).map(|(_, count)| count).sum::<usize>();
        } else if now < self.asked_at {
            self.passed -= between(now, self.asked_at).map(|(_, count)| count).sum::<usize>();
        }
        self.asked_at = now;
        self.passed
    }
}
