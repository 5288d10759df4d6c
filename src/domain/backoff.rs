//! How long to wait before the next try: exponential, spread over the whole span, so that many do not come back at once.

use std::time::Duration;

/// Bounds of a wait. `most` is at least `least`; where it is not, every wait is `least`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// No wait is shorter: nothing may spin.
    pub least: Duration,
    pub most: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (1 for the first): drawn by `random`, which is uniform over
    /// all of `u64`, from `least` up to `least · 2^failures` or `most`.
    pub fn wait(self, failures: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let ceiling = self.least.saturating_mul(doubled).min(self.most);
        self.least + share(ceiling.saturating_sub(self.least), random)
    }
}

/// What the other side asks us to wait is believed up to this.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Between two requests to a side that throttles us and does not say for how long. Ring asks for exponential waits from 1 s on.
const THROTTLED: Backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_mins(5) };

/// Counts how often in a row the other side asked us to wait.
#[derive(Debug, Default)]
pub struct Throttle {
    times: u32,
}

impl Throttle {
    /// How long nothing may be sent, where `asked` is what the other side says: that long, or as long as our own step where that is
    /// longer, because a side that always asks for one second would be asked every second. What was under way when a pause began is
    /// told the same, and `paused` then: it does not count.
    pub fn wait(&mut self, asked: Option<Duration>, paused: bool, random: u64) -> Duration {
        if !paused {
            self.times = self.times.saturating_add(1);
        }
        let doubled = 1_u32.checked_shl(self.times.max(1)).unwrap_or(u32::MAX);
        let half = THROTTLED.least.saturating_mul(doubled).min(THROTTLED.most) / 2;
        let own = half + share(half, random);
        own.max(asked.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}

/// A part of `span`, drawn evenly by `random`, which is uniform over all of `u64`.
pub(super) fn share(span: Duration, random: u64) -> Duration {
    // The high half of a product of 64 by 128 bits: spans of up to 584 years fit in 64.
    let nanos = (span.as_nanos().min(u128::from(u64::MAX)) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_span_doubles_until_it_is_the_whole() {
        let backoff = Backoff { least: SECOND, most: 60 * SECOND };
        let longest = |failures| (backoff.wait(failures, u64::MAX) + Duration::from_nanos(1)).as_secs();
        assert_eq!([1, 2, 3, 5, 6, 31, 32, u32::MAX].map(longest), [2, 4, 8, 32, 60, 60, 60, 60]);
        assert_eq!(backoff.wait(9, 0), SECOND);
        let middle = backoff.wait(20, 1 << 63);
        assert_eq!(middle, Duration::from_millis(30_500), "uniform over the span");
    }

    #[test]
    fn whoever_is_throttled_without_a_time_waits_twice_as_long_each_time() {
        let mut throttle = Throttle::default();
        let mut waits = || throttle.wait(None, false, 0).as_secs();
        assert_eq!([(); 10].map(|()| waits()), [1, 2, 4, 8, 16, 32, 64, 128, 150, 150]);
        assert_eq!(throttle.wait(None, true, 1 << 63), Duration::from_secs(225), "jitter is half of it");
        // A time in the past, or none to speak of, is as good as none.
        assert_eq!(throttle.wait(Some(Duration::ZERO), true, 0), Duration::from_secs(150));
        assert_eq!(throttle.wait(Some(400 * SECOND), true, 0), 400 * SECOND);
        assert_eq!(throttle.wait(Some(Duration::MAX), true, 0), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn a_short_time_that_is_asked_for_again_and_again_does_not_keep_the_wait_short() {
        for asked in [SECOND, SECOND * 3 / 2, 7 * SECOND] {
            let mut throttle = Throttle::default();
            let waits: Vec<_> = (0..6).map(|_| throttle.wait(Some(asked), false, 0)).collect();
            let steps: Vec<_> = [1, 2, 4, 8, 16, 32].map(|step| asked.max(step * SECOND)).to_vec();
            assert_eq!(waits, steps);
        }
    }

    #[test]
    fn what_was_under_way_when_a_pause_began_makes_it_no_longer() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.wait(None, false, 0), SECOND);
        assert!((0..99).all(|_| throttle.wait(None, true, 0) == SECOND));
    }

    proptest! {
        #[test]
        fn a_wait_stays_in_its_bounds(
            least in 1_u64..10_000_000,
            more in 0_u64..10_000_000,
            failures: u32,
            random: u64,
        ) {
            let (least, most) = (Duration::from_millis(least), Duration::from_millis(least + more));
            let wait = Backoff { least, most }.wait(failures, random);
            prop_assert!(least <= wait && wait <= most, "{wait:?}");
        }

        #[test]
        fn more_failures_never_shorten_the_same_draw(failures in 0_u32..u32::MAX, random: u64) {
            let backoff = Backoff { least: SECOND, most: 900 * SECOND };
            prop_assert!(backoff.wait(failures, random) <= backoff.wait(failures + 1, random));
        }

        #[test]
        fn bounds_the_wrong_way_round_and_huge_ones_do_no_harm(least: u64, most: u64, n: u32, random: u64) {
            let (least, most) = (Duration::from_secs(least >> 1), Duration::from_secs(most));
            let backoff = Backoff { least, most };
            prop_assert!(backoff.wait(n, random) >= least);
        }
    }
}
