//! What the schedule is asked: how an account is, why nothing goes out, how it stands as a whole. Decides nothing.

use std::time::Duration;

use super::Planner;
use crate::domain::access_token::Reason;
use crate::domain::refresh::entry::{Place, ScheduleEntry, seconds};
use crate::domain::refresh::{Health, Moment, Notice, Proof};
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
    /// When the first of all living links would lapse.
    pub nearest_lapse: Option<Millis>,
    /// OAuth as a whole is taken to be down.
    pub oauth_down: bool,
    /// OAuth refused our own secret; nothing goes out for a while.
    pub client_paused: bool,
}

impl Planner {
    /// Why nobody's tokens are refreshed at present, if so, and how long that lasts at least.
    pub fn trouble(&self, now: Moment) -> Option<(Reason, Duration)> {
        if let Some(left) = self.client_pause.left(now.ticks) {
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
        let entry = self.queue.get(account)?;
        Some(self.health_of(entry, seconds(now.wall)))
    }

    fn health_of(&self, entry: &ScheduleEntry, now: u32) -> Health {
        self.health_by_age(entry, now).with(entry.proof)
    }

    fn health_by_age(&self, entry: &ScheduleEntry, now: u32) -> Health {
        entry.health(now, self.policy.warnings.0[0])
    }

    /// How long the account's access token is good still by the monotonic clock; nothing when it is not planned.
    pub fn access_left(&self, account: u32, now: Moment) -> Option<Duration> {
        let dead_at = self.queue.get(account)?.dead_at;
        Some(Duration::from_secs(dead_at.into()).saturating_sub(now.ticks))
    }

    /// When the account is tried next.
    pub fn next_try(&self, account: u32, now: Moment) -> Option<Millis> {
        let entry = self.queue.get(account)?;
        match entry.after.unwrap_or(entry.place) {
            Place::Nowhere => None,
            Place::Waiting => Some(Millis(u64::from(entry.due) * 1000)),
            Place::Ready | Place::InFlight => Some(now.wall),
        }
    }

    /// Whether the account waits because OAuth's last answer can't be read and may hold the tokens that live.
    pub fn waits_on_kept_answer(&self, account: u32) -> bool {
        self.queue.get(account).is_some_and(|entry| entry.kept)
    }

    /// Why the account's last try brought no tokens, where that is no fault of everybody's.
    pub fn why_failing(&self, account: u32) -> Reason {
        match self.queue.get(account) {
            Some(entry) if entry.kept => Reason::Unreadable,
            Some(entry) if entry.proof == Proof::Refused => Reason::Refused,
            _ => Reason::Failing,
        }
    }

    /// What there is to tell of the account's tokens; nothing when that was told last.
    pub fn news_of(&self, account: u32, now: Moment) -> Option<Notice> {
        self.queue.get(account).and_then(|entry| self.news(entry, seconds(now.wall)))
    }

    /// One more than the highest number of an account.
    pub fn numbers(&self) -> u32 {
        self.queue.numbers()
    }

    fn news(&self, entry: &ScheduleEntry, now: u32) -> Option<Notice> {
        let left = Duration::from_secs(u64::from(entry.lapses_at().saturating_sub(now)));
        let notice = Notice::of(self.health_by_age(entry, now), left, self.policy.warnings);
        // Nobody is told that a token is well which OAuth has not honoured.
        let is_so = notice != Notice::Fresh || entry.proof == Proof::Honoured;
        Some(notice).filter(|&notice| is_so && notice.to_u8() != entry.told)
    }

    /// When the account's refresh token would die of disuse.
    pub fn lapses_at(&self, account: u32) -> Option<Millis> {
        self.queue.get(account).map(|entry| Millis(u64::from(entry.lapses_at()) * 1000))
    }

    /// When the first of all living links would lapse.
    pub fn nearest_lapse(&self) -> Option<Millis> {
        self.queue.census.nearest_lapse().map(|at| Millis(u64::from(at) * 1000))
    }

    /// The schedule at a glance. Looks at no account: all is counted where an account changes.
    pub fn overview(&mut self, now: Moment) -> Overview {
        let wall = seconds(now.wall);
        Overview {
            by_health: self.queue.census.by_health(wall),
            failing: self.queue.census.failing(),
            due: self.queue.due(),
            in_flight: self.queue.in_flight(),
            late: self.queue.late(),
            next_due: self.queue.next_due(wall),
            nearest_lapse: self.nearest_lapse(),
            oauth_down: self.breaker.is_open(),
            client_paused: self.client_pause.left(now.ticks).is_some(),
        }
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
