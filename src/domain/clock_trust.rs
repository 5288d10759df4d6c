//! Tells time that passed from a clock that was set: what is old by a clock that has just jumped must not be thrown away.

use std::time::Duration;

use super::time::Millis;

/// Further than this from the monotonic clock, within one step, is a jump.
const JUMP: Duration = Duration::from_hours(1);
/// How long a clock that jumped must then go on evenly before it is believed.
const PROBATION: Duration = Duration::from_mins(10);

/// A clock that starts further than this from the last thing that is known to have happened is on probation too.
const START: Duration = Duration::from_hours(24);

/// Compares the wall clock with the monotonic one, step by step.
#[derive(Debug, Default)]
pub struct ClockTrust {
    last: Option<(Millis, Duration)>,
    /// On the monotonic clock.
    distrusted_until: Option<Duration>,
}

impl ClockTrust {
    /// At the start of a run, when the newest thing in the store came at `newest`, if there is any: a machine may have
    /// booted with any time on its clock.
    pub fn starting(newest: Option<Millis>, wall: Millis) -> Self {
        let far = newest.is_some_and(|newest| wall.since(newest) > START || newest.since(wall) > START);
        Self { last: None, distrusted_until: far.then_some(PROBATION) }
    }

    /// Takes both clocks as they stand and says whether things may be called old by the wall clock now. A machine that
    /// slept looks like a jump too: what expires then expires ten minutes later.
    pub fn may_expire(&mut self, wall: Millis, monotonic: Duration) -> bool {
        if let Some((before, then)) = self.last.replace((wall, monotonic)) {
            let passed = monotonic.saturating_sub(then);
            if wall.since(before) > passed + JUMP || before.since(wall) > JUMP {
                self.distrusted_until = Some(monotonic + PROBATION);
            }
        }
        self.distrusted_until.is_none_or(|until| monotonic >= until)
    }
}

/// Less than this between two looks is the clocks' own unevenness.
const SLACK: Duration = Duration::from_secs(1);

/// How far the wall clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jump {
    Ahead(Duration),
    Back(Duration),
}

impl Jump {
    /// What the clock shows now at the moment that was meant by `at` before the jump.
    pub fn carry(self, at: Millis) -> Millis {
        match self {
            Self::Ahead(by) => at.plus(by),
            Self::Back(by) => at.minus(by),
        }
    }
}

/// Sees the wall clock being set, within the time between two looks.
#[derive(Debug)]
pub struct Watch {
    wall: Millis,
    monotonic: Duration,
}

impl Watch {
    pub fn from(wall: Millis, monotonic: Duration) -> Self {
        Self { wall, monotonic }
    }

    /// Takes both clocks as they stand. A machine that slept looks like a jump too: so did whoever has a lease.
    pub fn look(&mut self, wall: Millis, monotonic: Duration) -> Option<Jump> {
        let meant = self.wall.plus(monotonic.saturating_sub(self.monotonic));
        *self = Self { wall, monotonic };
        let (ahead, back) = (wall.since(meant), meant.since(wall));
        if ahead > SLACK { Some(Jump::Ahead(ahead)) } else { (back > SLACK).then_some(Jump::Back(back)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_goes_on_evenly_is_believed_however_slowly_it_is_asked() {
        let mut trust = ClockTrust::default();
        assert!(trust.may_expire(Millis(DAY_MS), at(0)));
        assert!(trust.may_expire(Millis(DAY_MS + 1_000), at(1)));
        assert!(trust.may_expire(Millis(3 * DAY_MS), at(2 * 86_400)));
    }

    #[test]
    fn a_jump_either_way_is_on_probation() {
        for there in [Millis(400 * DAY_MS), Millis(0)] {
            let mut trust = ClockTrust::default();
            assert!(trust.may_expire(Millis(DAY_MS), at(0)));
            assert!(!trust.may_expire(there, at(1)));
            assert!(!trust.may_expire(Millis(there.0 + 500_000), at(501)));
            assert!(trust.may_expire(Millis(there.0 + 600_000), at(601)), "it has gone on evenly since");
        }
    }

    #[test]
    fn a_start_far_from_what_is_known_is_on_probation() {
        for (newest, wall, believed) in [
            (None, 400, true),
            (Some(Millis(DAY_MS * 400)), 400, true),
            (Some(Millis(DAY_MS)), 400, false),
            (Some(Millis(DAY_MS * 800)), 400, false),
        ] {
            let mut trust = ClockTrust::starting(newest, Millis(wall * DAY_MS));
            assert_eq!(trust.may_expire(Millis(wall * DAY_MS), at(0)), believed, "{newest:?}");
            assert!(
                trust.may_expire(Millis(wall * DAY_MS + 600_000), at(600)),
                "it has gone on evenly since"
            );
        }
    }

    #[test]
    fn jumping_there_and_back_costs_nothing() {
        let mut trust = ClockTrust::default();
        trust.may_expire(Millis(DAY_MS), at(0));
        assert!(!trust.may_expire(Millis(400 * DAY_MS), at(1)));
        assert!(!trust.may_expire(Millis(DAY_MS + 2_000), at(2)));
        assert!(trust.may_expire(Millis(DAY_MS + 700_000), at(700)));
    }

    #[test]
    fn a_clock_that_is_set_is_seen_once_and_by_how_much() {
        let mut watch = Watch::from(Millis(DAY_MS), at(0));
        assert_eq!(watch.look(Millis(DAY_MS + 5_900), at(5)), None, "uneven");
        assert_eq!(watch.look(Millis(DAY_MS + 3_606_900), at(6)), Some(Jump::Ahead(at(3600))));
        assert_eq!(watch.look(Millis(DAY_MS + 3_607_900), at(7)), None);
        assert_eq!(watch.look(Millis(DAY_MS + 8_900), at(8)), Some(Jump::Back(at(3600))));
        assert_eq!(watch.look(Millis(DAY_MS + 3_608_900), at(3608)), None, "however long it takes");
    }
}
