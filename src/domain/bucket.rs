//! A token bucket: how many requests, or events, a second may go out.

use std::time::Duration;

/// Time is the monotonic clock's from the start of the process, which never goes back.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Between two requests once the burst is used up.
    each: Duration,
    burst: u32,
    /// When the bucket would be full again: one `each` later for every request that was taken.
    full_at: Duration,
    paused_until: Duration,
}

impl Bucket {
    /// `per_second` requests a second, of which `burst` may come at once; neither below one. Empty at first.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let (each, burst) = (Duration::from_secs(1) / per_second.max(1), burst.max(1));
        Self {
            each,
            burst,
            // Whoever is started again and again must not have a burst each time.
            full_at: each * burst,
            paused_until: Duration::ZERO,
        }
    }

    /// The same, full at first: for what comes in, of which a start has to take what is there.
    pub fn full(per_second: u32, burst: u32) -> Self {
        Self { full_at: Duration::ZERO, ..Self::new(per_second, burst) }
    }

    /// Goes at another rate from now on. Requests that were taken stay taken, and a pause goes on.
    pub fn set_rate(&mut self, per_second: u32, burst: u32, now: Duration) {
        let (each, burst) = (Duration::from_secs(1) / per_second.max(1), burst.max(1));
        if (each, burst) == (self.each, self.burst) {
            return;
        }
        let from = self.paused_until.max(now);
        let taken = self.full_at.saturating_sub(from).as_nanos().div_ceil(self.each.as_nanos().max(1));
        let taken = u32::try_from(taken).unwrap_or(u32::MAX).min(burst);
        (self.each, self.burst) = (each, burst);
        self.full_at = from + each * taken;
    }

    /// Takes one request out.
    ///
    /// # Errors
    /// How long to wait when none is left.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(paused) = self.paused(now) {
            return Err(paused);
        }
        let full_at = self.full_at.max(now) + self.each;
        let wait = full_at.saturating_sub(now + self.each * self.burst);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Takes up to `most` requests out; how many those are.
    ///
    /// # Errors
    /// How long to wait when none is left.
    pub fn take_some(&mut self, now: Duration, most: usize) -> Result<usize, Duration> {
        self.take(now)?;
        Ok(1 + (1..most).take_while(|_| self.take(now).is_ok()).count())
    }

    /// Puts requests back that were taken a moment ago, and were not sent.
    pub fn give_back(&mut self, requests: usize) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.full_at = self.full_at.saturating_sub(self.each.saturating_mul(requests));
    }

    /// How long the other side still wants nothing, if it asked for that.
    pub fn paused(&self, now: Duration) -> Option<Duration> {
        Some(self.paused_until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// Nothing goes out for this long: the other side asked for it. It starts without a burst afterwards.
    pub fn pause(&mut self, now: Duration, wait: Duration) {
        self.paused_until = self.paused_until.max(now + wait);
        self.full_at = self.full_at.max(self.paused_until + self.each * (self.burst - 1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_full_one_has_its_burst_from_the_start() {
        let mut bucket = Bucket::full(10, 2);
        assert_eq!([(); 3].map(|()| bucket.take(Duration::ZERO)), [Ok(()), Ok(()), Err(100 * MS)]);
        assert!(Bucket::new(10, 2).take(Duration::ZERO).is_err());
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(10, 3);
        let now = 5000 * MS;
        assert_eq!([(); 4].map(|()| bucket.take(now)), [Ok(()), Ok(()), Ok(()), Err(100 * MS)]);
        assert_eq!(bucket.take(now + 99 * MS), Err(MS));
        assert_eq!(bucket.take(now + 100 * MS), Ok(()));
        assert_eq!(bucket.take(now + 100 * MS), Err(100 * MS));
    }

    #[test]
    fn some_are_taken_together_and_what_was_not_sent_goes_back() {
        let mut bucket = Bucket::full(10, 5);
        let now = 5000 * MS;
        assert_eq!(bucket.take_some(now, 3), Ok(3));
        bucket.give_back(1);
        assert_eq!(bucket.take_some(now, 9), Ok(3));
        assert_eq!(bucket.take_some(now, 9), Err(100 * MS));
        bucket.give_back(0);
        assert_eq!(bucket.take_some(now + 200 * MS, 9), Ok(2));
        bucket.give_back(2);
        assert_eq!(bucket.take_some(now + 60_000 * MS, 9), Ok(5), "no more than the burst");
    }

    #[test]
    fn a_pause_holds_and_ends_without_a_burst() {
        let mut bucket = Bucket::new(10, 3);
        bucket.pause(Duration::ZERO, 2000 * MS);
        assert_eq!(bucket.take(1999 * MS), Err(MS));
        assert_eq!(bucket.take(2000 * MS), Ok(()));
        assert_eq!(bucket.take(2000 * MS), Err(100 * MS));
        bucket.pause(2000 * MS, MS);
        assert_eq!(bucket.take(2001 * MS), Err(99 * MS), "a shorter pause takes nothing back");
    }

    #[test]
    fn another_rate_holds_at_once_and_gives_nothing_back() {
        let mut bucket = Bucket::full(1, 2);
        assert_eq!([bucket.take(Duration::ZERO), bucket.take(Duration::ZERO)], [Ok(()), Ok(())]);
        bucket.set_rate(10, 3, Duration::ZERO);
        assert_eq!(
            [bucket.take(Duration::ZERO), bucket.take(Duration::ZERO)],
            [Ok(()), Err(100 * MS)],
            "of three"
        );
        bucket.set_rate(2, 1, Duration::ZERO);
        assert_eq!([bucket.take(Duration::ZERO), bucket.take(500 * MS)], [Err(500 * MS), Ok(())]);
        bucket.pause(500 * MS, 2000 * MS);
        bucket.set_rate(100, 1, 500 * MS);
        assert_eq!([bucket.take(2499 * MS), bucket.take(2500 * MS)], [Err(MS), Ok(())]);
    }

    proptest! {
        #[test]
        fn no_second_ever_has_more_than_rate_and_burst(
            rate in 1_u32..100,
            burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..50, 1..400),
        ) {
            let mut bucket = Bucket::new(rate, burst);
            let (mut now, mut taken) = (Duration::ZERO, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                if bucket.take(now).is_ok() {
                    taken.push(now);
                }
            }
            let most = (rate + burst) as usize;
            for (at, &first) in taken.iter().enumerate() {
                let within = taken[at..].iter().take_while(|&&t| t < first + 1000 * MS).count();
                prop_assert!(within <= most, "{within} in a second, at most {most}");
            }
        }

        #[test]
        fn a_wait_that_is_waited_is_enough(rate in 1_u32..1000, burst in 1_u32..20, tries in 1_usize..100) {
            let mut bucket = Bucket::new(rate, burst);
            let mut now = Duration::from_secs(1);
            for _ in 0..tries {
                if let Err(wait) = bucket.take(now) {
                    now += wait;
                    prop_assert_eq!(bucket.take(now), Ok(()));
                }
            }
        }
    }
}
