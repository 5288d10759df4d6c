//! Accounts whose refresh token OAuth has refused: one is a user who left, very many are OAuth's fault or ours.

use std::collections::HashMap;
use std::time::Duration;

use super::Moment;

/// A refusal becomes final by a second one at least this much later.
pub(super) const APART: Duration = Duration::from_hours(1);
/// Between two tries: an hour in which OAuth works again must be enough for everybody.
const ASK_AGAIN: Duration = Duration::from_mins(20);
/// More than these, and than one in a hundred, are never believed at a time.
const FEW: usize = 5;
/// Whom OAuth goes on refusing for so long while it honours the others does not belong to what happens at present.
const SETTLED: Duration = Duration::from_hours(6);
/// So many it must have honoured meanwhile for each that it refuses: a tenth that is refused may have left, more may not.
const HONOURED_EACH: usize = 9;

/// First refusals that are not yet confirmed or taken back, and those that were confirmed a short while ago.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By account.
    first: HashMap<u32, Refusal>,
    confirmed: Vec<Duration>,
    /// When OAuth last honoured anybody's token.
    honoured: Option<Duration>,
    /// How often it did.
    honours: usize,
}

/// The first of an account in this run.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    at: Moment,
    /// [`Refusals::honours`] then.
    honours: usize,
}

impl Refusal {
    /// By both clocks: the wall clock may have jumped, and the other one stood still while the machine slept.
    fn age(&self, now: Moment) -> Duration {
        now.wall.since(self.at.wall).min(now.ticks.saturating_sub(self.at.ticks))
    }
}

/// What a refusal of a token amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It has to be asked again, about so much later.
    AskAgain(Duration),
    /// The same, and somebody else's token has to be tried meanwhile: OAuth has honoured none lately.
    AskAnother(Duration),
    /// Seen twice, an hour apart, not by very many, and while OAuth honoured another: it means this one.
    Final,
}

impl Refusals {
    /// OAuth refused the token of `account`, one of `living` that are not known to be dead. One that `lapsed` would be
    /// refused by an OAuth that is right.
    pub(super) fn refused(&mut self, account: u32, lapsed: bool, living: usize, now: Moment) -> Finding {
        let fresh = Refusal { at: now, honours: self.honours };
        let left = APART.saturating_sub(self.first.entry(account).or_insert(fresh).age(now));
        if !left.is_zero() {
            return Finding::AskAgain(left.min(ASK_AGAIN));
        }
        if !lapsed {
            if self.very_many_at_a_time(living, now) {
                return Finding::AskAgain(ASK_AGAIN);
            }
            let has_others = living > self.first.len();
            if has_others && !self.honours_others(now) {
                return Finding::AskAnother(ASK_AGAIN);
            }
            self.confirmed.push(now.ticks);
        }
        self.first.remove(&account);
        Finding::Final
    }

    /// Whether OAuth has honoured anybody's token lately.
    pub(super) fn honours_others(&self, now: Moment) -> bool {
        self.honoured.is_some_and(|at| now.ticks.saturating_sub(at) < 2 * ASK_AGAIN)
    }

    fn very_many_at_a_time(&mut self, living: usize, now: Moment) -> bool {
        self.confirmed.retain(|&at| now.ticks.saturating_sub(at) < APART);
        let few = FEW.max(living / 100);
        let (refusals, confirmed) = (self.first.len(), self.confirmed.len());
        if refusals + confirmed <= few {
            return false;
        }
        // Beyond that, however old they are, OAuth is mad.
        if confirmed > few || refusals > (2 * FEW).max(living / 10) || refusals * 2 > living {
            return true;
        }
        let settled = |refusal: &&Refusal| {
            refusal.age(now) >= SETTLED && self.honours - refusal.honours >= HONOURED_EACH * refusals
        };
        let most = few - confirmed;
        self.first.values().filter(|refusal| !settled(refusal)).take(most + 1).count() > most
    }

    /// OAuth honoured the token of `account`.
    pub(super) fn honoured(&mut self, account: u32, now: Moment) {
        self.first.remove(&account);
        self.honoured = Some(now.ticks);
        self.honours = self.honours.saturating_add(1);
    }

    /// The account is gone, or has other tokens.
    pub(super) fn forget(&mut self, account: u32) {
        self.first.remove(&account);
    }

    pub(super) fn has(&self, account: u32) -> bool {
        self.first.contains_key(&account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Millis;

    fn at(minutes: u64) -> Moment {
        let ticks = Duration::from_mins(minutes);
        Moment { wall: Millis(1_000_000_000).plus(ticks), ticks }
    }

    /// OAuth honours account 99 all the while.
    fn refusals() -> Refusals {
        let mut refusals = Refusals::default();
        refusals.honoured(99, at(55));
        refusals
    }

    #[test]
    fn one_account_is_believed_the_second_time_an_hour_later() {
        let mut refusals = refusals();
        assert_eq!(refusals.refused(7, false, 10, at(0)), Finding::AskAgain(ASK_AGAIN));
        assert_eq!(refusals.refused(7, false, 10, at(59)), Finding::AskAgain(Duration::from_mins(1)));
        assert_eq!(refusals.refused(7, false, 10, at(60)), Finding::Final);
    }

    #[test]
    fn a_success_between_starts_anew() {
        let mut refusals = refusals();
        refusals.refused(7, false, 10, at(0));
        refusals.honoured(7, at(30));
        assert_eq!(refusals.refused(7, false, 10, at(60)), Finding::AskAgain(ASK_AGAIN));
    }

    #[test]
    fn an_oauth_that_honours_nobody_is_not_believed() {
        let mut refusals = Refusals::default();
        refusals.refused(7, false, 10, at(0));
        assert_eq!(refusals.refused(7, false, 10, at(60)), Finding::AskAnother(ASK_AGAIN));
        refusals.honoured(8, at(61));
        assert_eq!(refusals.refused(7, false, 10, at(80)), Finding::Final);
        let mut alone = Refusals::default();
        alone.refused(7, false, 1, at(0));
        assert_eq!(alone.refused(7, false, 1, at(60)), Finding::Final, "there is nobody else to ask");
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_no_hour() {
        let mut refusals = refusals();
        refusals.refused(7, false, 10, at(0));
        let jumped = Moment { ticks: at(1).ticks, ..at(600) };
        assert_eq!(refusals.refused(7, false, 10, jumped), Finding::AskAgain(ASK_AGAIN));
        let set_back = Moment { wall: Millis(5), ..at(600) };
        assert_eq!(refusals.refused(7, false, 10, set_back), Finding::AskAgain(ASK_AGAIN));
    }

    #[test]
    fn very_many_at_a_time_are_believed_of_nobody() {
        for (all, few) in [(10, 5), (1000, 10)] {
            let mut refusals = refusals();
            for account in 0..=few {
                refusals.refused(account, false, all, at(0));
            }
            assert_eq!(refusals.refused(0, false, all, at(70)), Finding::AskAgain(ASK_AGAIN));
            refusals.forget(few);
            assert_eq!(refusals.refused(0, false, all, at(70)), Finding::Final);
            // The one that was just believed still counts.
            refusals.refused(few, false, all, at(71));
            assert_eq!(refusals.refused(1, false, all, at(71)), Finding::AskAgain(ASK_AGAIN));
        }
    }
}
