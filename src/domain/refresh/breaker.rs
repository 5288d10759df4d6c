//! The breaker over OAuth as a whole: when everything fails it lets single probes through, and then ramps up.
//!
//! ```text
//! closed ──five faults in a row──▶ open ──pause over──▶ probing ──fault──▶ open (longer pause)
//!    ▲                                                     └──success──▶ ramping, 1 in flight
//!    └──as many in flight as are allowed── ramping ◀──doubles with each success──┘   (a fault: open)
//! ```
//!
//! Faults of accounts that keep failing neither open it nor end the ramp: they are those accounts' own. As a probe they count,
//! or nothing would pause between probes of an outage in which everybody has failed often.

use std::time::Duration;

use crate::domain::backoff::Backoff;

/// Faults in a row that are not one account's bad luck.
const TRIPS_AT: u32 = 5;
/// A request that is no refresh may be the probe; the next waits so long, or until that one came out.
const CALL: Duration = Duration::from_secs(10);
/// Until somebody who waits for one in flight asks again.
const SOON: Duration = Duration::from_secs(1);
/// Before a probe. An hour without an outage must be enough for everybody, so it stays far below that.
const PAUSE: Backoff = Backoff { least: Duration::from_secs(2), most: Duration::from_mins(1) };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    Ramping { allowed: usize },
}

/// Counts faults that are not of one account. Time is the monotonic clock's.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    faults: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed, faults: 0 }
    }
}

impl Breaker {
    /// Whether another request may go out while so many are in flight.
    ///
    /// # Errors
    /// How long to wait; an answer that comes meanwhile may change it.
    pub fn permit(&self, now: Duration, in_flight: usize) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } if now < until => Err(until.saturating_sub(now)),
            State::Open { .. } if in_flight == 0 => Ok(()),
            State::Ramping { allowed } if in_flight < allowed => Ok(()),
            State::Open { .. } | State::Ramping { .. } => Err(PAUSE.most),
        }
    }

    /// The same for a request that is not counted as in flight: where it may be the probe, it is.
    ///
    /// # Errors
    /// How long to wait.
    pub fn permit_call(&mut self, now: Duration, in_flight: usize) -> Result<(), Duration> {
        let in_pause = matches!(self.state, State::Open { until } if now < until);
        self.permit(now, in_flight).map_err(|wait| if in_pause { wait } else { wait.min(SOON) })?;
        if let State::Open { until } = &mut self.state {
            *until = now + CALL;
        }
        Ok(())
    }

    /// OAuth answered as it should, whatever it said about the token.
    pub fn succeeded(&mut self, parallel: usize) {
        self.faults = 0;
        self.state = match self.state {
            State::Closed => State::Closed,
            State::Open { .. } => State::Ramping { allowed: 1 },
            State::Ramping { allowed } if allowed * 2 >= parallel => State::Closed,
            State::Ramping { allowed } => State::Ramping { allowed: allowed * 2 },
        };
    }

    /// OAuth could not be reached, or failed; `often` for an account that keeps failing. Returns whether that opened the
    /// breaker.
    pub fn failed(&mut self, now: Duration, random: u64, often: bool) -> bool {
        if often && !self.is_open() {
            return false;
        }
        self.faults = self.faults.saturating_add(1);
        if self.state == State::Closed && self.faults < TRIPS_AT {
            return false;
        }
        let opens = !self.is_open();
        // What was in flight when it opened fails too, and is no probe.
        if matches!(self.state, State::Open { until } if now < until) {
            return false;
        }
        let probes = self.faults.saturating_sub(TRIPS_AT - 1);
        self.state = State::Open { until: now + PAUSE.wait(probes, random) };
        opens
    }

    /// A request has no answer yet, though it should have one by now. In the ramp that says nothing: OAuth was heard a moment
    /// ago, and the request goes on. Returns whether it counts, so that its end does not count again.
    pub fn late(&mut self, now: Duration, random: u64, often: bool) -> bool {
        if matches!(self.state, State::Ramping { .. }) {
            return false;
        }
        self.failed(now, random, often);
        true
    }

    /// Whether OAuth as a whole is taken to be down.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether requests may go out freely.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        let opened: Vec<_> = (0..5).map(|_| breaker.failed(SECOND, 0, false)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn faults_between_successes_do_not_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            assert!(!(0..4).any(|_| breaker.failed(SECOND, 0, false)));
            breaker.succeeded(16);
        }
        assert_eq!(breaker.permit(SECOND, 15), Ok(()));
    }

    #[test]
    fn an_open_one_lets_one_probe_through_at_a_time() {
        let mut breaker = open();
        assert_eq!(breaker.permit(SECOND, 0), Err(2 * SECOND));
        assert_eq!(breaker.permit(3 * SECOND, 0), Ok(()));
        assert!(breaker.permit(3 * SECOND, 1).is_err());
        assert!(!breaker.failed(4 * SECOND, 0, false), "it was open");
        assert_eq!(breaker.permit(4 * SECOND, 0), Err(2 * SECOND));
    }

    #[test]
    fn what_was_in_flight_does_not_lengthen_the_pause() {
        let mut breaker = open();
        for _ in 0..50 {
            breaker.failed(2 * SECOND, u64::MAX, false);
        }
        assert_eq!(breaker.permit(2 * SECOND, 0), Err(SECOND));
    }

    #[test]
    fn an_account_that_keeps_failing_opens_nothing_but_is_a_probe_like_any() {
        let mut breaker = Breaker::default();
        assert!(!(0..50).any(|_| breaker.failed(SECOND, 0, true)) && breaker.is_closed());
        let mut breaker = open();
        breaker.failed(3 * SECOND, 0, true);
        assert_eq!(breaker.permit(3 * SECOND, 0), Err(2 * SECOND));
        breaker.succeeded(16);
        assert!(!breaker.failed(9 * SECOND, 0, true) && !breaker.is_open(), "the ramp goes on");
    }

    #[test]
    fn one_call_at_a_time_may_be_the_probe() {
        let mut breaker = open();
        assert_eq!(breaker.permit_call(SECOND, 0), Err(2 * SECOND));
        assert_eq!(breaker.permit_call(3 * SECOND, 1), Err(SOON), "a refresh is the probe");
        assert_eq!(breaker.permit_call(3 * SECOND, 0), Ok(()));
        assert_eq!(breaker.permit_call(4 * SECOND, 0), Err(9 * SECOND));
        assert!(breaker.permit(4 * SECOND, 0).is_err());
        breaker.succeeded(16);
        assert_eq!(breaker.permit_call(4 * SECOND, 0), Ok(()));
    }

    #[test]
    fn pauses_stay_below_a_minute() {
        let mut breaker = open();
        let mut now = SECOND;
        for _ in 0..100 {
            now += PAUSE.most;
            breaker.failed(now, u64::MAX, false);
            assert!(breaker.permit(now, 0).unwrap_err() <= PAUSE.most);
        }
    }

    #[test]
    fn answers_that_are_late_open_it_and_are_only_waited_for_in_the_ramp() {
        let mut breaker = Breaker::default();
        assert!((0..5).all(|_| breaker.late(SECOND, 0, false)) && breaker.is_open());
        breaker.succeeded(16);
        assert!(!breaker.late(2 * SECOND, 0, false) && !breaker.is_open());
        assert!(breaker.failed(3 * SECOND, 0, false) && breaker.is_open(), "one that never came counts");
    }

    #[test]
    fn it_ramps_up_and_falls_back() {
        let mut breaker = open();
        let mut allowed = Vec::new();
        for _ in 0..5 {
            breaker.succeeded(16);
            allowed.push((0..99).take_while(|&n| breaker.permit(9 * SECOND, n).is_ok()).count());
        }
        assert_eq!(allowed, [1, 2, 4, 8, 99]);
        let mut ramping = open();
        ramping.succeeded(16);
        assert!(ramping.failed(9 * SECOND, 0, false) && ramping.is_open());
    }
}
