//! Accounts whose refresh token OAuth has refused: one is a user who left, very many are OAuth's fault or ours.

use std::collections::HashMap;
use std::time::Duration;

use super::Moment;

/// A refusal becomes final by a second one at least this much later.
pub(super) const APART: Duration = Duration::from_hours(1);
/// Between two tries: an hour in which OAuth works again must be enough for everybody.
const ASK_AGAIN: Duration = Duration::from_mins(20);
/// So many at a time are never believed.
const FEW: usize = 5;

/// First refusals that are not yet confirmed or taken back, and those that were confirmed a short while ago.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// By account, when it was refused first in this run.
    first: HashMap<u32, Moment>,
    confirmed: Vec<Duration>,
    /// When OAuth last honoured anybody's token.
    honoured: Option<Duration>,
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

impl Suspects {
    /// OAuth refused the token of `account`, one of `all`.
    pub(super) fn refused(&mut self, account: u32, all: usize, now: Moment) -> Finding {
        let first = *self.first.entry(account).or_insert(now);
        // Both clocks: the wall clock may have jumped, and the other one stood still while the machine slept.
        let apart = now.wall.since(first.wall).min(now.ticks.saturating_sub(first.ticks));
        self.confirmed.retain(|&at| now.ticks.saturating_sub(at) < APART);
        let at_a_time = self.first.len() + self.confirmed.len();
        let left = APART.saturating_sub(apart);
        if !left.is_zero() {
            return Finding::AskAgain(left.min(ASK_AGAIN));
        }
        if at_a_time > FEW.max(all / 100) {
            return Finding::AskAgain(ASK_AGAIN);
        }
        let lately = self.honoured.is_some_and(|at| now.ticks.saturating_sub(at) < 2 * ASK_AGAIN);
        let has_others = all > self.first.len();
        if has_others && !lately {
            return Finding::AskAnother(ASK_AGAIN);
        }
        self.first.remove(&account);
        self.confirmed.push(now.ticks);
        Finding::Final
    }

    /// OAuth honoured the token of `account`.
    pub(super) fn honoured(&mut self, account: u32, now: Moment) {
        self.first.remove(&account);
        self.honoured = Some(now.ticks);
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
    fn suspects() -> Suspects {
        let mut suspects = Suspects::default();
        suspects.honoured(99, at(55));
        suspects
    }

    #[test]
    fn one_account_is_believed_the_second_time_an_hour_later() {
        let mut suspects = suspects();
        assert_eq!(suspects.refused(7, 10, at(0)), Finding::AskAgain(ASK_AGAIN));
        assert_eq!(suspects.refused(7, 10, at(59)), Finding::AskAgain(Duration::from_mins(1)));
        assert_eq!(suspects.refused(7, 10, at(60)), Finding::Final);
    }

    #[test]
    fn a_success_between_starts_anew() {
        let mut suspects = suspects();
        suspects.refused(7, 10, at(0));
        suspects.honoured(7, at(30));
        assert_eq!(suspects.refused(7, 10, at(60)), Finding::AskAgain(ASK_AGAIN));
    }

    #[test]
    fn an_oauth_that_honours_nobody_is_not_believed() {
        let mut suspects = Suspects::default();
        suspects.refused(7, 10, at(0));
        assert_eq!(suspects.refused(7, 10, at(60)), Finding::AskAnother(ASK_AGAIN));
        suspects.honoured(8, at(61));
        assert_eq!(suspects.refused(7, 10, at(80)), Finding::Final);
        let mut alone = Suspects::default();
        alone.refused(7, 1, at(0));
        assert_eq!(alone.refused(7, 1, at(60)), Finding::Final, "there is nobody else to ask");
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_no_hour() {
        let mut suspects = suspects();
        suspects.refused(7, 10, at(0));
        let jumped = Moment { ticks: at(1).ticks, ..at(600) };
        assert_eq!(suspects.refused(7, 10, jumped), Finding::AskAgain(ASK_AGAIN));
        let set_back = Moment { wall: Millis(5), ..at(600) };
        assert_eq!(suspects.refused(7, 10, set_back), Finding::AskAgain(ASK_AGAIN));
    }

    #[test]
    fn very_many_at_a_time_are_believed_of_nobody() {
        for (all, few) in [(10, 5), (1000, 10)] {
            let mut suspects = suspects();
            for account in 0..=few {
                suspects.refused(account, all, at(0));
            }
            assert_eq!(suspects.refused(0, all, at(70)), Finding::AskAgain(ASK_AGAIN));
            suspects.forget(few);
            assert_eq!(suspects.refused(0, all, at(70)), Finding::Final);
            // The one that was just believed still counts.
            suspects.refused(few, all, at(71));
            assert_eq!(suspects.refused(1, all, at(71)), Finding::AskAgain(ASK_AGAIN));
        }
    }
}
