//! Whom to send to an OAuth that may be down, or answering late: a probe must not cost a link that is well.

use std::time::Duration;

use super::{CLIENT_BACKOFF, Planner};
use crate::domain::refresh::entry::{Place, seconds, to_seconds};
use crate::domain::refresh::queue::Pick;
use crate::domain::refresh::{LONGEST_NAP, Moment};

/// While OAuth may be answering late, an account that nothing speaks against is tried this long after the last answer at the
/// soonest, and only where those in doubt keep failing: they may do so for reasons of their own.
const RISK_ONE: Duration = Duration::from_hours(1);
/// So long after the first late answer a place that becomes free goes only to accounts that are in doubt already, because the breaker
/// opens at the fifth only. Then one account that is well is sent at a time. OAuth's next answer ends both.
pub(super) const HOLD: Duration = Duration::from_secs(30);
/// So many that come due last are looked through for a probe: what was renewed lately waits longest.
const PROBE_CANDIDATES: usize = 4;

impl Planner {
    pub(super) fn whom_to_send(&mut self, unproven: bool, now: Moment) -> Pick {
        if self.breaker.is_closed() && !unproven {
            return if self.held_for(now).is_some() { Pick::InDoubt } else { Pick::MostUrgent };
        }
        if self.breaker.is_open() {
            if self.silent && self.queue.in_doubt() > 0 && !self.may_risk_one(now) {
                return Pick::InDoubt;
            }
            if self.queue.has_only_failing() {
                self.hasten_one_without_failures(now);
            }
        }
        Pick::LeastFailed
    }

    /// How long accounts that are well are held back, unless OAuth is heard before.
    pub(super) fn held_for(&self, now: Moment) -> Option<Duration> {
        let left = (self.held_since? + HOLD).saturating_sub(now.ticks);
        match self.queue.punctual() {
            0 => Some(left).filter(|left| !left.is_zero()),
            // Its answer tells.
            _ => Some(LONGEST_NAP),
        }
    }

    /// Whether a probe may put an account at risk that is in no doubt: rarely, or those that fail for reasons of their own
    /// would hold up all others for ever.
    fn may_risk_one(&mut self, now: Moment) -> bool {
        let long_ago = now.ticks.saturating_sub(self.risked_at) >= RISK_ONE;
        let may = long_ago && self.queue.has_only_hopeless_in_doubt();
        if may {
            self.risked_at = now.ticks;
        }
        may
    }

    /// Requests that the breaker waits for: while it is open one that is late is no probe any more.
    pub(super) fn awaited(&self) -> usize {
        if self.breaker.is_open() { self.queue.punctual() } else { self.queue.in_flight() }
    }

    /// The refresh of `account` has had no answer for so long that OAuth may be in trouble. It goes on, since its answer may
    /// hold the only tokens that live.
    pub fn late(&mut self, account: u32, now: Moment, random: u64) {
        self.read_clocks(now);
        let Some(entry) = self.queue.in_flight_of(account).filter(|entry| !entry.late) else { return };
        let was_open = self.breaker.is_open();
        if self.breaker.late(now.ticks, random, entry.fails_often()) {
            self.silent = true;
            if !entry.fails_often() {
                self.held_since.get_or_insert(now.ticks);
            }
            if !was_open && self.breaker.is_open() {
                self.risked_at = now.ticks;
            }
            self.queue.change(account, seconds(now.wall), |entry| entry.late = true);
        }
    }

    /// A probe with one that always fails would tell nothing of the others, and none of them may be due for hours.
    fn hasten_one_without_failures(&mut self, now: Moment) {
        let wall = seconds(now.wall);
        let refusals = &self.refusals;
        let other = self.queue.clean_later(wall.saturating_add(to_seconds(CLIENT_BACKOFF.most)));
        let other = other.take(PROBE_CANDIDATES).find(|&account| !refusals.has(account));
        if let Some(other) = other {
            self.queue.change(other, wall, |entry| entry.place = Place::Ready);
        }
    }
}
