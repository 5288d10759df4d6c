//! The schedule as a whole: asked what to do next, told how it came out.

use std::time::Duration;

use super::breaker::Breaker;
use super::bucket::Bucket;
use super::notice::Notice;
use super::queue::Queue;
use super::slot::{End, Health, Place, Record, Slot, seconds, to_seconds};
use super::suspects::{Finding, Suspects};
use super::{Answer, LONGEST_NAP, Moment, Pace, Policy};
use crate::domain::backoff::share;
use crate::domain::lending::Reason;
use crate::domain::time::Millis;

const DAY: Duration = Duration::from_hours(24);
/// Before the access token runs out, as Ring recommends; a quarter of its life where that is less.
const BEFORE_EXPIRY: Duration = Duration::from_mins(5);
/// After OAuth refused our own secret, which only a person can put right.
const CLIENT_PAUSE: Duration = Duration::from_mins(15);
/// Spread of the second look at a token that was refused.
const ASK_AGAIN_SPREAD: Duration = Duration::from_mins(10);
/// `Retry-After` is believed within these.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));
/// A wall clock that is further back than this was set, not read twice.
const SET_BACK: Duration = Duration::from_secs(10);
/// Requests that may go out at once.
const BURST: u32 = 5;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Refresh this account; [`Planner::answered`] has to follow.
    Refresh(u32),
    /// Ask again after this long, or when something was told; at most [`LONGEST_NAP`].
    Wait(Duration),
}

/// What an answer amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    Renewed,
    /// It is tried again, at the latest after this long.
    Retry {
        within: Duration,
    },
    /// OAuth means it. Said once.
    Ended(End),
    /// It had ended before and still has.
    StillEnded,
}

/// How the whole schedule stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overview {
    /// Accounts with tokens, in the order of [`Health::ALL`].
    pub by_health: [usize; 5],
    /// Living ones whose last refresh failed.
    pub failing: usize,
    pub due: usize,
    pub in_flight: usize,
    /// Until the next account comes due.
    pub next_due: Option<Duration>,
    /// The living account that is nearest to its end, and when that is.
    pub nearest_lapse: Option<(u32, Millis)>,
    /// OAuth as a whole is taken to be down.
    pub oauth_down: bool,
    /// OAuth refused our own secret; nothing goes out for a while.
    pub halted: bool,
}

/// Plans the refreshes of all accounts.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    queue: Queue,
    bucket: Bucket,
    breaker: Breaker,
    suspects: Suspects,
    /// On the monotonic clock.
    halted_until: Duration,
    last: Option<Moment>,
}

impl Planner {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            queue: Queue::default(),
            bucket: Bucket::new(policy.per_second, BURST.min(policy.per_second)),
            breaker: Breaker::default(),
            suspects: Suspects::default(),
            halted_until: Duration::ZERO,
            last: None,
        }
    }

    /// Schedules an account as the store remembers it, at start or after an import. `random` is uniform over all of
    /// `u64`.
    pub fn plan(&mut self, account: u32, record: &Record, now: Moment, random: u64) {
        self.read_clocks(now);
        let wall = seconds(now.wall);
        self.suspects.forget(account);
        let mut new = Slot {
            renewed_at: seconds(record.renewed_at).min(wall),
            expires_at: seconds(record.expires_at),
            place: Place::Waiting,
            end: record.end,
            unsettled: record.unsettled && record.end.is_none(),
            told: record.told.to_u8(),
            ..Slot::EMPTY
        };
        match record.end {
            Some(_) => wait_a_day(&mut new, wall, random),
            // Renewed in what is the future now: the clock was set back since, and how old it is nobody knows.
            None if new.unsettled || record.renewed_at.since(now.wall) > SET_BACK => new.due = wall,
            None => new.due = due(self.policy.pace, &new, wall, random),
        }
        self.queue.change(account, wall, |slot| *slot = new.instead_of(slot));
    }

    /// Takes an account out, e.g. because its user removed the app. An answer that comes later is ignored.
    pub fn remove(&mut self, account: u32, now: Moment) {
        self.suspects.forget(account);
        self.queue.change(account, seconds(now.wall), |slot| *slot = Slot::EMPTY.instead_of(slot));
    }

    /// Somebody waits for a token of this account.
    pub fn hasten(&mut self, account: u32, now: Moment) {
        let known =
            self.queue.get(account).is_some_and(|slot| slot.place == Place::Waiting && slot.end.is_none());
        if known {
            self.queue.change(account, seconds(now.wall), |slot| {
                slot.place = Place::Ready;
                slot.asked = true;
            });
        }
    }

    /// The same, on the word of somebody who may ask as often as they like.
    ///
    /// # Errors
    /// How long until the account's next try, when the one before failed: asking does not bring it forward.
    pub fn ask(&mut self, account: u32, now: Moment) -> Result<(), Duration> {
        let wall = seconds(now.wall);
        let Some(slot) = self.queue.get(account).copied() else { return Ok(()) };
        let held = slot.failures > 0 || slot.end.is_some() || self.suspects.has(account);
        if slot.place == Place::Waiting && held {
            return Err(Duration::from_secs(u64::from(slot.due.saturating_sub(wall).max(1))));
        }
        self.hasten(account, now);
        Ok(())
    }

    /// Why nobody's tokens are refreshed at present, if so, and how long that lasts at least.
    pub fn trouble(&self, now: Moment) -> Option<(Reason, Duration)> {
        let halted = self.halted_until.saturating_sub(now.ticks);
        if !halted.is_zero() {
            return Some((Reason::ClientRefused, halted));
        }
        if !self.breaker.is_open() {
            return None;
        }
        // Where a probe may go, whoever asks may be it.
        let wait = self.breaker.permit(now.ticks, self.queue.in_flight()).err()?;
        Some((Reason::OauthDown, wait))
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next {
        self.read_clocks(now);
        let wall = seconds(now.wall);
        self.queue.come_due(wall);
        if self.queue.is_idle() {
            return nap(self.queue.next_due(wall).unwrap_or(LONGEST_NAP));
        }
        let halted = self.halted_until.saturating_sub(now.ticks);
        if !halted.is_zero() {
            return nap(halted);
        }
        if self.queue.in_flight() >= self.policy.parallel.max(1) {
            return nap(LONGEST_NAP);
        }
        let permit = self.breaker.permit(now.ticks, self.queue.in_flight());
        if let Err(wait) = permit.and_then(|()| self.bucket.take(now.ticks)) {
            return nap(wait);
        }
        self.queue.start(wall).map_or_else(|| nap(LONGEST_NAP), Next::Refresh)
    }

    /// Takes a request of the API out of the same budget.
    ///
    /// # Errors
    /// How long to wait when none is left.
    pub fn take_call(&mut self, now: Moment) -> Result<(), Duration> {
        self.bucket.take(now.ticks)
    }

    /// How the refresh of `account` came out. Nothing when it was removed, or planned anew, meanwhile.
    pub fn answered(&mut self, account: u32, answer: Answer, now: Moment, random: u64) -> Option<Ruling> {
        self.read_clocks(now);
        self.hear(answer, now, random);
        let slot = self.queue.in_flight_of(account)?;
        if let Some(place) = slot.after {
            self.queue
                .change(account, seconds(now.wall), |slot| *slot = Slot { place, after: None, ..*slot });
            return None;
        }
        Some(match answer {
            Answer::Renewed { expires_in } => self.renewed(account, expires_in, now, random),
            Answer::Refused => self.refused(account, slot, now, random),
            Answer::Withheld | Answer::NotSent | Answer::Unknown => {
                let failures = slot.failures.saturating_add(1);
                let wait = self.policy.backoff.wait(u32::from(failures), random);
                self.again(account, wait, now, |slot| {
                    slot.failures = failures;
                    slot.unsettled |= answer == Answer::Unknown && slot.end.is_none();
                })
            }
            Answer::Throttled { .. } | Answer::ClientRefused => {
                self.again(account, Duration::ZERO, now, |_| {})
            }
        })
    }

    /// How the account's tokens are; nothing when it has none.
    pub fn health(&self, account: u32, now: Moment) -> Option<Health> {
        let slot = self.queue.get(account)?;
        Some(self.health_of(slot, seconds(now.wall)))
    }

    fn health_of(&self, slot: &Slot, now: u32) -> Health {
        slot.health(now, latest(self.policy.pace, slot), self.policy.warnings.0[0])
    }

    /// What there is to tell of the account's tokens; nothing when that was told last.
    pub fn news_of(&self, account: u32, now: Moment) -> Option<Notice> {
        self.queue.get(account).and_then(|slot| self.news(slot, seconds(now.wall)))
    }

    /// All accounts of whose tokens there is something to tell. Looks at every account.
    pub fn all_news(&self, now: Moment) -> impl Iterator<Item = (u32, Notice)> {
        let wall = seconds(now.wall);
        self.queue.slots().filter_map(move |(account, slot)| Some((account, self.news(slot, wall)?)))
    }

    fn news(&self, slot: &Slot, now: u32) -> Option<Notice> {
        let left = Duration::from_secs(u64::from(slot.lapses_at().saturating_sub(now)));
        let notice = Notice::of(self.health_of(slot, now), left, self.policy.warnings);
        Some(notice).filter(|&notice| notice.to_u8() != slot.told)
    }

    /// People were told so of the account's tokens.
    pub fn told(&mut self, account: u32, notice: Notice, now: Moment) {
        if self.queue.get(account).is_some() {
            self.queue.change(account, seconds(now.wall), |slot| slot.told = notice.to_u8());
        }
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

    /// A token that OAuth means to have ended may be made good by another that is tried next: it is as if it had not.
    pub fn reconsider(&mut self, account: u32, now: Moment) {
        if self.queue.get(account).is_some_and(|slot| slot.place != Place::InFlight) {
            self.queue.change(account, seconds(now.wall), |slot| {
                *slot = Slot { end: None, place: Place::Ready, asked: true, ..*slot };
            });
        }
    }

    /// The schedule at a glance. Looks at every account.
    pub fn overview(&self, now: Moment) -> Overview {
        let wall = seconds(now.wall);
        let mut overview = Overview {
            due: self.queue.due(),
            in_flight: self.queue.in_flight(),
            next_due: self.queue.next_due(wall),
            nearest_lapse: self.nearest_lapse(),
            oauth_down: self.breaker.is_open(),
            halted: self.halted_until > now.ticks,
            ..Overview::default()
        };
        for (_, slot) in self.queue.slots() {
            overview.by_health[self.health_of(slot, wall) as usize] += 1;
            overview.failing += usize::from(slot.end.is_none() && slot.failures > 0);
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

    fn read_clocks(&mut self, now: Moment) {
        let Some(last) = self.last.replace(now) else { return };
        let expected = last.wall.plus(now.ticks.saturating_sub(last.ticks));
        let by = expected.since(now.wall);
        if by > SET_BACK {
            self.queue.set_back(seconds(now.wall), to_seconds(by));
        }
    }

    /// What an answer says about OAuth and about us, whoever's refresh it was.
    fn hear(&mut self, answer: Answer, now: Moment, random: u64) {
        match answer {
            Answer::Renewed { .. } | Answer::Refused => self.breaker.succeeded(self.policy.parallel),
            Answer::Withheld => {}
            Answer::NotSent | Answer::Unknown => drop(self.breaker.failed(now.ticks, random)),
            Answer::Throttled { retry_after } => {
                let (least, most) = RETRY_AFTER;
                self.bucket.pause(now.ticks, retry_after.unwrap_or(least).clamp(least, most));
            }
            Answer::ClientRefused => self.halted_until = now.ticks + CLIENT_PAUSE,
        }
    }

    fn renewed(&mut self, account: u32, expires_in: Duration, now: Moment, random: u64) -> Ruling {
        let wall = seconds(now.wall);
        self.suspects.honoured(account, now);
        let pace = self.policy.pace;
        self.queue.change(account, wall, |slot| {
            *slot = Slot {
                renewed_at: wall,
                expires_at: wall.saturating_add(to_seconds(expires_in)),
                place: Place::Waiting,
                told: slot.told,
                ..Slot::EMPTY
            };
            slot.due = due(pace, slot, wall, random);
        });
        Ruling::Renewed
    }

    fn refused(&mut self, account: u32, slot: Slot, now: Moment, random: u64) -> Ruling {
        let wall = seconds(now.wall);
        if slot.end.is_some() {
            self.queue.change(account, wall, |slot| wait_a_day(slot, wall, random));
            return Ruling::StillEnded;
        }
        let finding = self.suspects.refused(account, self.queue.len(), now);
        if let Finding::AskAnother(_) = finding {
            let other = self.queue.waiting().find(|&other| !self.suspects.has(other));
            if let Some(other) = other {
                self.hasten(other, now);
            }
        }
        match finding {
            Finding::AskAgain(wait) | Finding::AskAnother(wait) => {
                let wait = wait + share(ASK_AGAIN_SPREAD, random);
                self.again(account, wait, now, |slot| slot.unsettled = false)
            }
            Finding::Final => {
                let end = if wall >= slot.lapses_at() { End::Lapsed } else { End::Revoked };
                self.queue.change(account, wall, |slot| {
                    slot.end = Some(end);
                    slot.unsettled = false;
                    wait_a_day(slot, wall, random);
                });
                Ruling::Ended(end)
            }
        }
    }

    fn again(&mut self, account: u32, wait: Duration, now: Moment, change: impl FnOnce(&mut Slot)) -> Ruling {
        let wall = seconds(now.wall);
        self.queue.change(account, wall, |slot| {
            change(slot);
            slot.place = Place::Waiting;
            // Rounded up: due a moment too early would be no wait at all.
            slot.due = wall.saturating_add(to_seconds(wait + Duration::from_millis(999)));
        });
        Ruling::Retry { within: wait }
    }
}

fn nap(wait: Duration) -> Next {
    // Never none: due times are whole seconds of a clock that is read in milliseconds.
    Next::Wait(wait.clamp(Duration::from_millis(1), LONGEST_NAP))
}

/// When the account should have been renewed at the latest.
fn latest(pace: Pace, slot: &Slot) -> u32 {
    match pace {
        Pace::Every(interval) => slot.renewed_at.saturating_add(to_seconds(interval)),
        Pace::AlwaysFresh => slot.expires_at,
    }
}

/// The next refresh after a renewal. Spread over a quarter of the time, each time anew, so that accounts that were
/// imported together drift apart and stay so.
fn due(pace: Pace, slot: &Slot, now: u32, random: u64) -> u32 {
    let (from, to) = match pace {
        Pace::Every(interval) => (slot.renewed_at, slot.renewed_at.saturating_add(to_seconds(interval))),
        Pace::AlwaysFresh => {
            // A token that hardly lives must not be refreshed all the time.
            let life = Duration::from_secs(u64::from(slot.expires_at.saturating_sub(slot.renewed_at)));
            let before = to_seconds(BEFORE_EXPIRY.min(life / 4));
            (now, slot.expires_at.saturating_sub(before))
        }
    };
    let quarter = Duration::from_secs(u64::from(to.saturating_sub(from) / 4));
    to.saturating_sub(to_seconds(share(quarter, random)))
}

/// What has ended is tried once a day until day 30, then no more.
fn wait_a_day(slot: &mut Slot, now: u32, random: u64) {
    slot.due = now.saturating_add(to_seconds(DAY.saturating_sub(share(DAY / 4, random))));
    slot.place = if slot.due < slot.lapses_at() { Place::Waiting } else { Place::Nowhere };
}

#[cfg(test)]
#[expect(clippy::unchecked_time_subtraction, reason = "of constants")]
mod tests;
