//! The schedule as a whole: asked what to do next, told how it came out.

use std::collections::HashSet;
use std::time::Duration;

use super::breaker::Breaker;
use super::bucket::Bucket;
use super::halt::{CLIENT_PAUSE, Halt, Who};
use super::notice::Notice;
use super::queue::{Pick, Queue};
use super::slot::{End, Place, Record, Slot, seconds, to_seconds};
use super::suspects::{Finding, Suspects};
use super::{Answer, LONGEST_NAP, Moment, Policy};
use crate::domain::backoff::{Backoff, share};

mod asked;
mod due;

pub use asked::Overview;
use due::{due, latest, wait_for_its_time};

/// Between two tries for an account that OAuth refuses our own client to.
const CLIENT_BACKOFF: Backoff = Backoff { least: CLIENT_PAUSE, most: Duration::from_mins(30) };
/// Spread of the second look at a token that was refused.
const ASK_AGAIN_SPREAD: Duration = Duration::from_mins(10);
/// `Retry-After` is believed within these.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));
/// A wall clock that is further back than this was set, not read twice.
const SET_BACK: Duration = Duration::from_secs(10);
/// A wall clock that has gained more than this at once may be wrong by it; less may be a night's sleep.
const LEAP: Duration = Duration::from_hours(24);
/// So many that come due last are looked through for a probe: what was renewed lately waits longest.
const PROBE_CANDIDATES: usize = 4;
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

/// Plans the refreshes of all accounts.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    queue: Queue,
    bucket: Bucket,
    breaker: Breaker,
    suspects: Suspects,
    halt: Halt,
    /// Accounts whose last failure was everybody's.
    shared: HashSet<u32>,
    /// By so much the wall clock may be ahead: what it has leapt in this run.
    ahead: Duration,
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
            halt: Halt::default(),
            shared: HashSet::new(),
            ahead: Duration::ZERO,
            last: None,
        }
    }

    /// Schedules an account as the store remembers it, at start or after an import. `random` is uniform over all of
    /// `u64`.
    pub fn plan(&mut self, account: u32, record: &Record, now: Moment, random: u64) {
        self.read_clocks(now);
        let wall = seconds(now.wall);
        self.forget(account);
        let (renewed_at, expires_at) = (seconds(record.renewed_at).min(wall), seconds(record.expires_at));
        let doubtful = self.is_doubtful(now);
        let pace = self.policy.pace;
        let latest = latest(pace, renewed_at, expires_at);
        let mut new = Slot {
            renewed_at,
            // It has an hour from now on, unless people know already that it is late.
            latest: if record.told == Notice::Fresh { latest.max(wall) } else { latest },
            place: Place::Waiting,
            end: record.end,
            unsettled: record.unsettled && record.end.is_none(),
            told: record.told.to_u8(),
            ..Slot::EMPTY
        };
        match record.end {
            Some(_) => wait_for_its_time(account, &mut new, wall, false, doubtful),
            // Renewed in what is the future now: the clock was set back since, and how old it is nobody knows.
            None if new.unsettled || record.renewed_at.since(now.wall) > SET_BACK => new.due = wall,
            None => new.due = due(pace, renewed_at, expires_at, wall, random),
        }
        self.queue.change(account, wall, |slot| *slot = new.instead_of(slot));
    }

    /// Whether the account is planned by such a record, or in flight, so that its answer will tell.
    pub fn knows(&self, account: u32, record: &Record) -> bool {
        let by = |slot: &Slot| slot.renewed_at == seconds(record.renewed_at) && slot.end == record.end;
        self.queue.in_flight_of(account).is_some() || self.queue.get(account).is_some_and(by)
    }

    /// Takes an account out, e.g. because its user removed the app. An answer that comes later is ignored.
    pub fn remove(&mut self, account: u32, now: Moment) {
        self.forget(account);
        self.queue.change(account, seconds(now.wall), |slot| *slot = Slot::EMPTY.instead_of(slot));
    }

    fn forget(&mut self, account: u32) {
        self.suspects.forget(account);
        self.halt.forget(account);
        self.shared.remove(&account);
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

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next {
        self.read_clocks(now);
        let wall = seconds(now.wall);
        self.queue.come_due(wall);
        if self.queue.is_idle() {
            return nap(self.queue.next_due(wall).unwrap_or(LONGEST_NAP));
        }
        if let Some(halted) = self.halt.left(now.ticks) {
            return nap(halted);
        }
        let unproven = self.halt.is_unproven();
        let places = if unproven { 1 } else { self.policy.parallel.max(1) };
        if self.queue.in_flight() >= places {
            return nap(LONGEST_NAP);
        }
        let permit = self.breaker.permit(now.ticks, self.queue.in_flight());
        if let Err(wait) = permit.and_then(|()| self.bucket.take(now.ticks)) {
            return nap(wait);
        }
        if self.breaker.is_open() && self.queue.has_only_failing() {
            self.hasten_one_without_failures(now);
        }
        let certain = self.breaker.is_closed() && !unproven;
        let pick = if certain { Pick::MostUrgent } else { Pick::LeastFailed };
        self.queue.start(wall, pick, places).map_or_else(|| nap(LONGEST_NAP), Next::Refresh)
    }

    /// A probe with one that always fails would tell nothing of the others, and none of them may be due for hours.
    fn hasten_one_without_failures(&mut self, now: Moment) {
        let wall = seconds(now.wall);
        let suspects = &self.suspects;
        let other = self.queue.clean_later(wall.saturating_add(to_seconds(CLIENT_BACKOFF.most)));
        let other = other.take(PROBE_CANDIDATES).find(|&account| !suspects.has(account));
        if let Some(other) = other {
            self.queue.change(other, wall, |slot| slot.place = Place::Ready);
        }
    }

    /// Takes a request that is no refresh out of the same budget. It waits for what refreshes wait for; where a probe may
    /// go, it may be that.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn take_call(&mut self, now: Moment) -> Result<(), Duration> {
        if let Some(wait) = self.halt.left(now.ticks).or_else(|| self.bucket.paused(now.ticks)) {
            return Err(wait);
        }
        self.breaker.permit_call(now.ticks, self.queue.in_flight())?;
        self.bucket.take(now.ticks)
    }

    /// How the refresh of `account` came out. Nothing when it was removed, or planned anew, meanwhile.
    pub fn answered(&mut self, account: u32, answer: Answer, now: Moment, random: u64) -> Option<Ruling> {
        self.read_clocks(now);
        let slot = self.queue.in_flight_of(account);
        let was_open = self.breaker.is_open();
        let often = slot.is_some_and(|slot| slot.fails_often());
        self.hear(Some(account), often, answer, now, random);
        let slot = slot?;
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
                let own = if self.is_first_own(account, was_open) { 1 } else { failures };
                let wait = self.policy.backoff.wait(u32::from(own), random);
                self.again(account, wait, now, |slot| {
                    slot.failures = failures;
                    slot.unsettled |= answer == Answer::Unknown && slot.end.is_none();
                })
            }
            Answer::ClientRefused => {
                if self.halt.is_unproven() {
                    self.shared.insert(account);
                }
                let failures = slot.failures.saturating_add(1);
                let wait = CLIENT_BACKOFF.wait(u32::from(failures), random);
                self.again(account, wait, now, |slot| slot.failures = failures)
            }
            Answer::Throttled { .. } => self.again(account, Duration::ZERO, now, |_| {}),
        })
    }

    /// People were told so of the account's tokens.
    pub fn told(&mut self, account: u32, notice: Notice, now: Moment) {
        if self.queue.get(account).is_some() {
            self.queue.change(account, seconds(now.wall), |slot| slot.told = notice.to_u8());
        }
    }

    /// A token that OAuth means to have ended may be made good by another that is tried next: it is as if it had not.
    pub fn reconsider(&mut self, account: u32, now: Moment) {
        if self.queue.get(account).is_some_and(|slot| slot.place != Place::InFlight) {
            self.queue.change(account, seconds(now.wall), |slot| {
                *slot = Slot { end: None, place: Place::Ready, asked: true, ..*slot };
            });
        }
    }

    /// How a request came out that was no planned account's, e.g. the exchange of a code.
    pub fn heard(&mut self, answer: Answer, now: Moment, random: u64) {
        self.hear(None, false, answer, now, random);
    }

    fn read_clocks(&mut self, now: Moment) {
        let Some(last) = self.last.replace(now) else { return };
        let expected = last.wall.plus(now.ticks.saturating_sub(last.ticks));
        let by = now.wall.since(expected);
        if by > LEAP {
            self.ahead += by;
        }
        let by = expected.since(now.wall);
        if by > SET_BACK {
            self.ahead = self.ahead.saturating_sub(by);
            self.queue.set_back(seconds(now.wall), to_seconds(by));
        }
    }

    /// What an answer says about OAuth and about us, whoever's it was; `often` of an account that keeps failing.
    fn hear(&mut self, who: Who, often: bool, answer: Answer, now: Moment, random: u64) {
        match answer {
            Answer::Renewed { .. } | Answer::Refused => {
                self.breaker.succeeded(self.policy.parallel);
                self.halt.accepted(who);
            }
            Answer::Withheld => {}
            Answer::NotSent | Answer::Unknown => drop(self.breaker.failed(now.ticks, random, often)),
            Answer::Throttled { retry_after } => {
                let (least, most) = RETRY_AFTER;
                self.bucket.pause(now.ticks, retry_after.unwrap_or(least).clamp(least, most));
            }
            Answer::ClientRefused => self.halt.refused(who, now.ticks),
        }
    }

    fn renewed(&mut self, account: u32, expires_in: Duration, now: Moment, random: u64) -> Ruling {
        let wall = seconds(now.wall);
        self.suspects.honoured(account, now);
        self.shared.remove(&account);
        let (pace, expires_at) = (self.policy.pace, wall.saturating_add(to_seconds(expires_in)));
        self.queue.change(account, wall, |slot| {
            *slot = Slot {
                renewed_at: wall,
                latest: latest(pace, wall, expires_at),
                due: due(pace, wall, expires_at, wall, random),
                place: Place::Waiting,
                told: slot.told,
                ..Slot::EMPTY
            };
        });
        Ruling::Renewed
    }

    fn refused(&mut self, account: u32, slot: Slot, now: Moment, random: u64) -> Ruling {
        let wall = seconds(now.wall);
        let doubtful = self.is_doubtful(now);
        if slot.end.is_some() {
            self.queue.change(account, wall, |slot| wait_for_its_time(account, slot, wall, true, doubtful));
            return Ruling::StillEnded;
        }
        let lapsed = wall >= slot.lapses_at().saturating_add(to_seconds(self.ahead));
        let finding = self.suspects.refused(account, lapsed, self.queue.living(), now);
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
                    wait_for_its_time(account, slot, wall, true, doubtful);
                });
                Ruling::Ended(end)
            }
        }
    }

    /// Whether this failure is the account's first since one that everybody had: an answer that is lost after an outage is
    /// asked for again soon, however often the account failed in it.
    fn is_first_own(&mut self, account: u32, shared: bool) -> bool {
        if shared {
            self.shared.insert(account);
            return false;
        }
        self.shared.remove(&account)
    }

    /// Whether an end may be the work of an OAuth that honours nobody and a wall clock that is ahead.
    fn is_doubtful(&self, now: Moment) -> bool {
        !self.suspects.honours_others(now)
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

#[cfg(test)]
#[expect(clippy::unchecked_time_subtraction, reason = "of constants")]
mod tests;
