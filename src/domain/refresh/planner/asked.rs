//! What the schedule is asked: how an account is, why nothing goes out, how it stands as a whole. Changes nothing.

use std::time::Duration;

use super::Planner;
use crate::domain::access_token::Reason;
use crate::domain::refresh::slot::{Place, Proof, Slot, seconds};
use crate::domain::refresh::{Health, Moment, Notice};
use crate::domain::time::Millis;

/// How the whole schedule stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overview {
    /// Accounts with tokens, in the order of [`Health::ALL`].
    pub by_health: [usize; Health::ALL.len()],
    /// Living ones whose last refresh failed, or was refused.
    pub failing: usize,
    pub due: usize,
    pub in_flight: usize,
    /// Those of them whose answer is overdue, and awaited all the same.
    pub late: usize,
    /// Until the next account comes due.
    pub next_due: Option<Duration>,
    /// The living account that is nearest to its end, and when that is.
    pub nearest_lapse: Option<(u32, Millis)>,
    /// OAuth as a whole is taken to be down.
    pub oauth_down: bool,
    /// OAuth refused our own secret; nothing goes out for a while.
    pub halted: bool,
}

impl Planner {
    /// Why nobody's tokens are refreshed at present, if so, and how long that lasts at least.
    pub fn trouble(&self, now: Moment) -> Option<(Reason, Duration)> {
        if let Some(left) = self.halt.left(now.ticks) {
            return Some((Reason::ClientRefused, left));
        }
        // Where a probe may go, whoever asks may be it.
        let permit = self.breaker.permit(now.ticks, self.awaited());
        let down = permit.err().filter(|_| self.breaker.is_open());
        let paused = self.bucket.paused(now.ticks);
        match down {
            Some(wait) => Some((Reason::OauthDown, wait.max(paused.unwrap_or_default()))),
            None => paused.map(|wait| (Reason::Throttled, wait)),
        }
    }

    /// How the account's tokens are; nothing when it has none.
    pub fn health(&self, account: u32, now: Moment) -> Option<Health> {
        let slot = self.queue.get(account)?;
        Some(self.health_of(slot, seconds(now.wall)))
    }

    fn health_of(&self, slot: &Slot, now: u32) -> Health {
        self.health_by_age(slot, now).with(slot.proof)
    }

    fn health_by_age(&self, slot: &Slot, now: u32) -> Health {
        slot.health(now, self.policy.warnings.0[0])
    }

    /// How long the account's access token is good still by the monotonic clock; nothing when it is not planned.
    pub fn access_left(&self, account: u32, now: Moment) -> Option<Duration> {
        let dead_at = self.queue.get(account)?.dead_at;
        Some(Duration::from_secs(dead_at.into()).saturating_sub(now.ticks))
    }

    /// When the account is tried next.
    pub fn next_try(&self, account: u32, now: Moment) -> Option<Millis> {
        let slot = self.queue.get(account)?;
        match slot.after.unwrap_or(slot.place) {
            Place::Nowhere => None,
            Place::Waiting => Some(Millis(u64::from(slot.due) * 1000)),
            Place::Ready | Place::InFlight => Some(now.wall),
        }
    }

    /// What there is to tell of the account's tokens; nothing when that was told last.
    pub fn news_of(&self, account: u32, now: Moment) -> Option<Notice> {
        self.queue.get(account).and_then(|slot| self.news(slot, seconds(now.wall)))
    }

    /// One more than the highest number of an account.
    pub fn numbers(&self) -> u32 {
        self.queue.numbers()
    }

    fn news(&self, slot: &Slot, now: u32) -> Option<Notice> {
        let left = Duration::from_secs(u64::from(slot.lapses_at().saturating_sub(now)));
        let notice = Notice::of(self.health_by_age(slot, now), left, self.policy.warnings);
        // Nobody is told that a token is well which OAuth has not honoured.
        let is_so = notice != Notice::Fresh || slot.proof == Proof::Honoured;
        Some(notice).filter(|&notice| is_so && notice.to_u8() != slot.told)
    }

    /// When the account's refresh token would die of disuse.
    pub fn lapses_at(&self, account: u32) -> Option<Millis> {
        self.queue.get(account).map(|slot| Millis(u64::from(slot.lapses_at()) * 1000))
    }

    /// Of all living tokens, the account that is nearest to its end, and when that is. Looks at every account.
    pub fn nearest_lapse(&self) -> Option<(u32, Millis)> {
        let living = self.queue.slots().filter(|(_, slot)| slot.end.is_none());
        let nearest = living.min_by_key(|(_, slot)| slot.lapses_at());
        nearest.map(|(account, slot)| (account, Millis(u64::from(slot.lapses_at()) * 1000)))
    }

    /// The schedule at a glance. Looks at every account.
    pub fn overview(&self, now: Moment) -> Overview {
        let wall = seconds(now.wall);
        let mut overview = Overview {
            due: self.queue.due(),
            in_flight: self.queue.in_flight(),
            late: self.queue.late(),
            next_due: self.queue.next_due(wall),
            nearest_lapse: self.nearest_lapse(),
            oauth_down: self.breaker.is_open(),
            halted: self.halt.left(now.ticks).is_some(),
            ..Overview::default()
        };
        for (_, slot) in self.queue.slots() {
            overview.by_health[self.health_of(slot, wall) as usize] += 1;
            let fails = slot.failures > 0 || slot.proof == Proof::Refused;
            overview.failing += usize::from(slot.end.is_none() && fails);
        }
        overview
    }

    /// Accounts in the schedule, those of them that are due, and refreshes in flight.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.queue.len(), self.queue.due(), self.queue.in_flight())
    }

    /// Whether OAuth as a whole is taken to be down.
    pub fn is_oauth_down(&self) -> bool {
        self.breaker.is_open()
    }
}
