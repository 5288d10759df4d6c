//! The schedule as a whole: asked what to do next, told how it came out.

use std::collections::HashSet;
use std::time::Duration;

use super::breaker::Breaker;
use super::client_pause::{CLIENT_PAUSE, ClientPause, Who};
use super::entry::{Place, Record, ScheduleEntry, seconds, to_seconds};
use super::health::{End, Proof};
use super::notice::Notice;
use super::queue::Queue;
use super::refusals::{Finding, Refusals};
use super::{Gain, LONGEST_NAP, Moment, Outcome, Policy};
use crate::domain::backoff::{Backoff, Throttle, share};
use crate::domain::bucket::Bucket;
use crate::domain::heard::{Doubt, Heard, Hindrance, Objection};

mod asked;
mod due;
mod policy;
mod probe;

pub use asked::Overview;
use due::{due, latest, wait_for_its_time};

/// Between two tries for an account that OAuth refuses our own client to.
const CLIENT_BACKOFF: Backoff = Backoff { least: CLIENT_PAUSE, most: Duration::from_mins(30) };
/// Spread of the second look at a token that was refused.
const ASK_AGAIN_SPREAD: Duration = Duration::from_mins(10);
/// Between two tries with a token whose answer was lost, after as many as are wanted.
const RARELY: Duration = Duration::from_hours(24);
/// A wall clock that is further back than this was set, not read twice.
const SET_BACK: Duration = Duration::from_secs(10);
/// A wall clock that has gained more than this at once may be wrong by it; less may be a night's sleep.
const LEAP: Duration = Duration::from_hours(24);
/// So long after the start Ring may tell the time unasked, by a webhook or by a refresh that is due.
const LISTEN: Duration = Duration::from_mins(5);
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
pub enum Decision {
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

/// What there is to say of a request that failed.
#[derive(Debug, Clone, Copy, Default)]
struct Fault {
    /// It is of an account that keeps failing.
    often: bool,
    /// It counts already, since it was late.
    counted: bool,
}

/// Plans the refreshes of all accounts.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    queue: Queue,
    bucket: Bucket,
    breaker: Breaker,
    refusals: Refusals,
    client_pause: ClientPause,
    /// Accounts whose last failure was everybody's.
    shared: HashSet<u32>,
    throttle: Throttle,
    /// An answer is late, or never came, and nothing was heard of OAuth since: it may be answering late.
    silent: bool,
    /// Since when accounts that are well are held back: an answer was late then, and OAuth has given none since.
    held_since: Option<Duration>,
    /// When OAuth last worked, stopped working, or an account was put at risk to see whether it does.
    risked_at: Duration,
    /// By so much the wall clock may be ahead: what it has leapt in this run.
    ahead: Duration,
    last: Option<Moment>,
}

impl Planner {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            queue: Queue::new(policy.warnings.0[0]),
            bucket: Bucket::new(policy.per_second, BURST.min(policy.per_second)),
            breaker: Breaker::default(),
            refusals: Refusals::default(),
            client_pause: ClientPause::default(),
            shared: HashSet::new(),
            throttle: Throttle::default(),
            silent: false,
            held_since: None,
            risked_at: Duration::ZERO,
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
        let mut new = ScheduleEntry {
            renewed_at,
            // It has an hour from now on, unless people know already that it is late.
            latest: if record.told == Notice::Fresh { latest.max(wall) } else { latest },
            place: Place::Waiting,
            dead_at: to_seconds(now.ticks + record.access_left(now.wall)),
            proof: record.proof,
            end: record.end,
            unsettled: record.unsettled && record.end.is_none(),
            told: record.told.to_u8(),
            ..ScheduleEntry::EMPTY
        };
        match record.end {
            Some(_) => wait_for_its_time(account, &mut new, wall, false, doubtful),
            // Renewed in what is the future now: the clock was set back since, and how old it is nobody knows.
            None if new.unsettled || record.renewed_at.since(now.wall) > SET_BACK => new.due = wall,
            None => new.due = due(pace, renewed_at, expires_at, wall, random),
        }
        if record.proof == Proof::Refused && record.end.is_none() {
            new.due = new.due.min(wall.saturating_add(to_seconds(share(ASK_AGAIN_SPREAD, random))));
        }
        self.queue.change(account, wall, |entry| *entry = new.instead_of(entry));
    }

    /// Whether the account is planned by such a record, or in flight, so that its answer will tell.
    pub fn knows(&self, account: u32, record: &Record) -> bool {
        // The proof tells tokens apart that were put in within the same second.
        let by = |entry: &ScheduleEntry| {
            entry.renewed_at == seconds(record.renewed_at)
                && entry.end == record.end
                && entry.proof == record.proof
        };
        self.queue.in_flight_of(account).is_some() || self.queue.get(account).is_some_and(by)
    }

    /// Takes an account out, e.g. because its user removed the app. An answer that comes later is ignored.
    pub fn remove(&mut self, account: u32, now: Moment) {
        self.forget(account);
        self.queue
            .change(account, seconds(now.wall), |entry| *entry = ScheduleEntry::EMPTY.instead_of(entry));
    }

    fn forget(&mut self, account: u32) {
        self.refusals.forget(account);
        self.client_pause.forget(account);
        self.shared.remove(&account);
    }

    /// Somebody waits for a token of this account.
    pub fn hasten(&mut self, account: u32, now: Moment) {
        let known =
            self.queue.get(account).is_some_and(|entry| entry.place == Place::Waiting && entry.end.is_none());
        if known {
            self.queue.change(account, seconds(now.wall), |entry| {
                entry.place = Place::Ready;
                entry.asked = true;
            });
        }
    }

    /// The same, on the word of somebody who may ask as often as they like.
    ///
    /// # Errors
    /// How long until the account's next try, when the one before failed: asking does not bring it forward.
    pub fn ask(&mut self, account: u32, now: Moment) -> Result<(), Duration> {
        let wall = seconds(now.wall);
        let Some(entry) = self.queue.get(account).copied() else { return Ok(()) };
        let held = entry.failures > 0 || entry.end.is_some() || self.refusals.has(account);
        if entry.place == Place::Waiting && held {
            return Err(Duration::from_secs(u64::from(entry.due.saturating_sub(wall).max(1))));
        }
        self.hasten(account, now);
        Ok(())
    }

    /// Nothing has told the time at Ring since the start, so how old any token is rests on a clock that may have been set while
    /// nobody looked: the account that comes due next is refreshed, because any answer tells the time.
    pub fn ask_the_time(&mut self, now: Moment) {
        self.read_clocks(now);
        self.queue.come_due(seconds(now.wall));
        let waits = now.ticks < LISTEN || !self.queue.is_idle() || self.queue.in_flight() > 0;
        if waits || !self.breaker.is_closed() || self.client_pause.left(now.ticks).is_some() {
            return;
        }
        let next = self
            .queue
            .waiting()
            .find(|&account| self.queue.get(account).is_some_and(ScheduleEntry::is_clean));
        if let Some(account) = next {
            self.queue.change(account, seconds(now.wall), |entry| entry.place = Place::Ready);
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next {
        self.read_clocks(now);
        let wall = seconds(now.wall);
        self.queue.come_due(wall);
        if self.queue.is_idle() {
            return nap(self.queue.next_due(wall).unwrap_or(LONGEST_NAP));
        }
        if let Some(halted) = self.client_pause.left(now.ticks) {
            return nap(halted);
        }
        let unproven = self.client_pause.is_unproven();
        let places = if unproven { 1 } else { self.policy.parallel.max(1) };
        // A slow answer holds up nobody; but what is awaited has a bound too.
        if self.queue.punctual() >= places || self.queue.in_flight() >= 2 * places {
            return nap(LONGEST_NAP);
        }
        if let Err(wait) = self.breaker.permit(now.ticks, self.awaited()) {
            return nap(wait);
        }
        let pick = self.whom_to_send(unproven, now);
        let Some(account) = self.queue.first(pick, places) else {
            let next_due = self.queue.next_due(wall).unwrap_or(LONGEST_NAP);
            return nap(next_due.min(self.held_for(now).unwrap_or(LONGEST_NAP)));
        };
        if let Err(wait) = self.bucket.take(now.ticks) {
            return nap(wait);
        }
        self.queue.start(account, wall);
        Next::Refresh(account)
    }

    /// Takes a request that is no refresh out of the same budget. It waits for what refreshes wait for; where a probe may
    /// go, it may be that.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn take_call(&mut self, now: Moment) -> Result<(), Duration> {
        if let Some(wait) = self.client_pause.left(now.ticks).or_else(|| self.bucket.paused(now.ticks)) {
            return Err(wait);
        }
        self.breaker.permit_call(now.ticks, self.awaited())?;
        self.bucket.take(now.ticks)
    }

    /// How the refresh of `account` came out. Nothing when it was removed, or planned anew, meanwhile.
    pub fn answered(&mut self, account: u32, answer: Outcome, now: Moment, random: u64) -> Option<Decision> {
        self.read_clocks(now);
        let entry = self.queue.in_flight_of(account);
        let was_open = self.breaker.is_open();
        let often = entry.is_some_and(|entry| entry.fails_often());
        let counted = entry.is_some_and(|entry| entry.late);
        self.hear(Some(account), Fault { often, counted }, answer, now, random);
        let entry = entry?;
        if let Some(place) = entry.after {
            self.queue.change(account, seconds(now.wall), |entry| {
                *entry = ScheduleEntry { place, after: None, ..*entry }
            });
            return None;
        }
        Some(match answer {
            Heard::Answer(Gain::Renewed { expires_in }) => self.renewed(account, expires_in, now, random),
            Heard::Refused(Objection::Grant) => self.refused(account, entry, now, random),
            Heard::NotSent(Hindrance::Ours | Hindrance::NoConnection) | Heard::Unknown(_) => {
                let in_doubt = matches!(answer, Heard::Unknown(_));
                let failures = entry.failures.saturating_add(1);
                let own = if self.is_first_own(account, was_open) { 1 } else { failures };
                let mut wait = self.policy.backoff.wait(u32::from(own), random);
                if in_doubt && failures > self.policy.repeats {
                    wait = wait.max(RARELY);
                }
                self.again(account, wait, now, |entry| {
                    entry.failures = failures;
                    entry.unsettled |= in_doubt && entry.end.is_none();
                })
            }
            Heard::Refused(_) => {
                if self.client_pause.is_unproven() {
                    self.shared.insert(account);
                }
                let failures = entry.failures.saturating_add(1);
                let wait = CLIENT_BACKOFF.wait(u32::from(failures), random);
                self.again(account, wait, now, |entry| entry.failures = failures)
            }
            // No probe either: that would be to send it again.
            Heard::Answer(Gain::Kept { wait }) => self.again(account, wait, now, |entry| {
                entry.failures = entry.failures.saturating_add(1);
                entry.unsettled = false;
                entry.kept = true;
            }),
            Heard::NotSent(Hindrance::Throttled { .. }) => self.again(account, Duration::ZERO, now, |_| {}),
        })
    }

    /// People were told so of the account's tokens.
    pub fn told(&mut self, account: u32, notice: Notice, now: Moment) {
        if self.queue.get(account).is_some() {
            self.queue.change(account, seconds(now.wall), |entry| entry.told = notice.to_u8());
        }
    }

    /// A token that OAuth means to have ended may be made good by another that is tried next: it is as if it had not.
    pub fn reconsider(&mut self, account: u32, now: Moment) {
        if self.queue.get(account).is_some_and(|entry| entry.place != Place::InFlight) {
            self.queue.change(account, seconds(now.wall), |entry| {
                *entry = ScheduleEntry { end: None, place: Place::Ready, asked: true, ..*entry };
            });
        }
    }

    /// How a request came out that was no planned account's, e.g. the exchange of a code.
    pub fn heard(&mut self, answer: Outcome, now: Moment, random: u64) {
        self.hear(None, Fault::default(), answer, now, random);
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

    /// What an answer says about OAuth and about us, whoever's it was.
    fn hear(&mut self, who: Who, fault: Fault, answer: Outcome, now: Moment, random: u64) {
        let says_nothing = matches!(
            answer,
            Heard::NotSent(Hindrance::Ours | Hindrance::NoConnection) | Heard::Unknown(Doubt::Silent)
        );
        self.silent &= says_nothing;
        self.held_since = self.held_since.filter(|_| says_nothing);
        match answer {
            Heard::Answer(Gain::Renewed { .. }) | Heard::Refused(Objection::Grant) => {
                self.breaker.succeeded(self.policy.parallel);
                self.client_pause.accepted(who);
                self.throttle = Throttle::default();
                self.risked_at = now.ticks;
            }
            Heard::NotSent(Hindrance::Ours) | Heard::Answer(Gain::Kept { .. }) => {}
            Heard::NotSent(Hindrance::NoConnection) | Heard::Unknown(_) => {
                if !fault.counted && self.breaker.failed(now.ticks, random, fault.often) {
                    self.risked_at = now.ticks;
                }
                if let Some(wait) = answer.retry_after() {
                    self.pause(Some(wait), now, random);
                }
            }
            Heard::NotSent(Hindrance::Throttled { retry_after }) => self.pause(retry_after, now, random),
            Heard::Refused(_) => self.client_pause.refused(who, now.ticks),
        }
    }

    fn pause(&mut self, asked: Option<Duration>, now: Moment, random: u64) {
        let paused = self.bucket.paused(now.ticks).is_some();
        self.bucket.pause(now.ticks, self.throttle.wait(asked, paused, random));
    }

    fn renewed(&mut self, account: u32, expires_in: Duration, now: Moment, random: u64) -> Decision {
        let wall = seconds(now.wall);
        self.refusals.honoured(account, now);
        self.shared.remove(&account);
        let (pace, expires_at) = (self.policy.pace, wall.saturating_add(to_seconds(expires_in)));
        self.queue.change(account, wall, |entry| {
            *entry = ScheduleEntry {
                renewed_at: wall,
                latest: latest(pace, wall, expires_at),
                due: due(pace, wall, expires_at, wall, random),
                dead_at: to_seconds(now.ticks + expires_in),
                place: Place::Waiting,
                told: entry.told,
                ..ScheduleEntry::EMPTY
            };
        });
        Decision::Renewed
    }

    fn refused(&mut self, account: u32, entry: ScheduleEntry, now: Moment, random: u64) -> Decision {
        let wall = seconds(now.wall);
        let doubtful = self.is_doubtful(now);
        if entry.end.is_some() {
            self.queue.change(account, wall, |entry| wait_for_its_time(account, entry, wall, true, doubtful));
            return Decision::StillEnded;
        }
        let lapsed = wall >= entry.lapses_at().saturating_add(to_seconds(self.ahead));
        let finding = self.refusals.refused(account, lapsed, self.queue.living(), now);
        if let Finding::AskAnother(_) = finding {
            let other = self.queue.waiting().find(|&other| !self.refusals.has(other));
            if let Some(other) = other {
                self.hasten(other, now);
            }
        }
        match finding {
            Finding::AskAgain(wait) | Finding::AskAnother(wait) => {
                let wait = wait + share(ASK_AGAIN_SPREAD, random);
                self.again(account, wait, now, |entry| {
                    entry.unsettled = false;
                    entry.proof = Proof::Refused;
                })
            }
            Finding::Final => {
                let end = if wall >= entry.lapses_at() { End::Lapsed } else { End::Revoked };
                self.queue.change(account, wall, |entry| {
                    entry.end = Some(end);
                    entry.proof = Proof::Refused;
                    entry.unsettled = false;
                    wait_for_its_time(account, entry, wall, true, doubtful);
                });
                Decision::Ended(end)
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
        !self.refusals.honours_others(now)
    }

    fn again(
        &mut self,
        account: u32,
        wait: Duration,
        now: Moment,
        change: impl FnOnce(&mut ScheduleEntry),
    ) -> Decision {
        let wall = seconds(now.wall);
        self.queue.change(account, wall, |entry| {
            change(entry);
            entry.place = Place::Waiting;
            // Rounded up: due a moment too early would be no wait at all.
            entry.due = wall.saturating_add(to_seconds(wait + Duration::from_millis(999)));
        });
        Decision::Retry { within: wait }
    }
}

fn nap(wait: Duration) -> Next {
    // Never none: due times are whole seconds of a clock that is read in milliseconds.
    Next::Wait(wait.clamp(Duration::from_millis(1), LONGEST_NAP))
}

#[cfg(test)]
#[expect(clippy::unchecked_time_subtraction, reason = "of constants")]
mod tests;
