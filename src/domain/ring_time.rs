//! What time it is at Ring: bounds from the `Date` of Ring's answers and from the times in its webhooks, never from our wall clock
//! alone.
//!
//! The bounds are kept against a monotonic clock, so a wall clock that is wrong, or set, moves nothing. An answer bounds Ring's
//! clock from both sides, because it was made between the request and its arrival; a webhook only from below, because it may be late.
//! A webhook whose time is far ahead of all our clocks moves the bounds only with others that agree, because its time may be wrong.
//! While our wall clock is within the bounds it is believed: it knows milliseconds, and `Date` only seconds.

use std::time::Duration;

use super::time::Millis;

/// `Date` says whole seconds.
const DATE_STEP: i64 = 1000;
/// How far two clocks drift apart: so many parts of a million.
const DRIFT: i64 = 200;
/// A webhook says nothing against answers that are younger than this: its time may be wrong, theirs would have to be so too.
const DATES_RULE: Duration = Duration::from_hours(1);
/// 2020: a time before it is none, or not in milliseconds.
const FIRST: Millis = Millis(1_577_836_800_000);
/// A webhook that is further ahead of all our clocks than this is not believed alone.
pub const FAR: Duration = Duration::from_mins(5);
/// Where our wall clock gained more than this on the monotonic one since the last answer, the machine may have slept, and the answer
/// says nothing any more of how late it may be at Ring.
const SLEPT: Duration = Duration::from_secs(10);
/// So many of them with different times that are as far ahead are believed.
const WITNESSES: u8 = 3;

/// Bounds on Ring's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Ring's milliseconds minus ours are at least this, and at most that.
    least: Option<i64>,
    most: Option<i64>,
    heard_at: Duration,
    dated_at: Duration,
    /// Our wall clock minus the monotonic one, when the last answer came.
    wall_lead: i64,
    rumour: Option<Rumour>,
}

/// Webhooks say that Ring's clock is far ahead of ours, and too few of them for it to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rumour {
    /// Ring's milliseconds minus ours, by the last of them.
    least: i64,
    /// Its time. Ring's retry of it is no other witness.
    sent: Millis,
    witnesses: u8,
}

/// A time at Ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingTime {
    pub earliest: Millis,
    pub likely: Millis,
    pub latest: Millis,
}

impl RingTime {
    /// One that Ring itself has told.
    pub fn exactly(at: Millis) -> Self {
        Self { earliest: at, likely: at, latest: at }
    }

    /// Of which nothing is known but what our clock says.
    pub fn unknown(wall: Millis) -> Self {
        Self { earliest: Millis(0), likely: wall, latest: Millis(u64::MAX) }
    }

    /// Whether it is known from both sides, which takes an answer of Ring.
    pub fn is_bounded(self) -> bool {
        self.earliest > Millis(0) && self.latest < Millis(u64::MAX)
    }

    /// Whether something can have happened then, if it came now. Nothing is too late where Ring's clock is not known from above.
    pub fn allows(self, at: Millis) -> bool {
        at <= self.latest.plus(FAR)
    }

    /// When something happened, as far as that can be: not after now, and not before there was Ring's Appstore. Nothing where it
    /// does not say. A time of Ring's that is `known` is not after now, whatever our clock says, and later than it may be now.
    pub fn plausible(self, at: Option<Millis>, known: Millis) -> Option<Millis> {
        let latest = self.likely.max(Millis(known.0.saturating_add(1)));
        at.map(|at| at.min(latest)).filter(|at| *at >= FIRST)
    }

    /// The time `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let latest = if self.latest.0 == u64::MAX { self.latest } else { self.latest.minus(by) };
        Self { earliest: self.earliest.minus(by), likely: self.likely.minus(by), latest }
    }
}

/// How far Ring's clock is ahead of our wall clock, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    pub likely_ms: i64,
    /// Half the width of what it may be; nothing where only one side is known.
    pub within_ms: Option<u64>,
}

impl Estimate {
    /// An answer that says `date` came at `now`, when our wall clock said `wall`; its request left at `asked`.
    pub fn answered(&mut self, date: Millis, asked: Duration, wall: Millis, now: Duration) {
        let date = to_i64(date.0);
        let (least, most) = (date - ticks(now), date + DATE_STEP - ticks(asked));
        self.drift(now);
        let contradicts =
            self.least.is_some_and(|known| known > most) || self.most.is_some_and(|known| known < least);
        if contradicts {
            (self.least, self.most) = (None, None);
        }
        self.least = Some(self.least.map_or(least, |known| known.max(least)));
        self.most = Some(self.most.map_or(most, |known| known.min(most)));
        self.dated_at = now;
        self.wall_lead = to_i64(wall.0) - ticks(now);
    }

    /// A webhook that Ring sent at `sent` came at `now`, when our wall clock said `wall`.
    pub fn sent(&mut self, sent: Millis, wall: Millis, now: Duration) {
        let least = to_i64(sent.0) - ticks(now);
        let latest = self.awake(wall, now).max(wall);
        if sent.since(latest) > FAR && !self.is_witnessed(least, sent) {
            return;
        }
        // A late one says nothing.
        if latest.since(sent) <= FAR {
            self.rumour = None;
        }
        self.drift(now);
        if let Some(most) = self.most.filter(|known| *known < least) {
            let slept = least - most <= ticks(self.gained(wall, now));
            if now.saturating_sub(self.dated_at) < DATES_RULE && !slept {
                return;
            }
            (self.least, self.most) = (None, None);
        }
        self.least = Some(self.least.map_or(least, |known| known.max(least)));
    }

    /// The time at Ring when our clocks say this.
    pub fn now(&self, wall: Millis, now: Duration) -> RingTime {
        let slack = self.slack(now);
        let at = |offset: i64| Millis(u64::try_from(ticks(now) + offset).unwrap_or(0));
        let earliest = self.least.map(|least| at(least - slack));
        let latest = self.most.map(|most| at(most + slack));
        let likely = match (earliest, latest) {
            (Some(earliest), Some(latest)) if wall < earliest || wall > latest => {
                let nearest = wall.clamp(earliest, latest.max(earliest));
                // A clock that is a moment off is right about the rest: the middle would jump ahead by half a second. One that is far
                // off says nothing.
                let is_near = nearest.since(wall).max(wall.since(nearest)) <= latest.since(earliest);
                if is_near { nearest } else { Millis(earliest.0.midpoint(latest.0)) }
            }
            (Some(earliest), None) => wall.max(earliest),
            _ => wall,
        };
        let slept = self.gained(wall, now) > SLEPT;
        let latest = latest.filter(|_| !slept).unwrap_or(Millis(u64::MAX));
        RingTime { earliest: earliest.unwrap_or_default(), likely, latest }
    }

    /// The likely time at Ring where the machine may have slept since the last answer: what our wall clock gained on the monotonic
    /// one since then is time that passed. For schedules, which would rather be early.
    pub fn awake(&self, wall: Millis, now: Duration) -> Millis {
        if self.most.is_none() {
            return self.now(wall, now).likely;
        }
        self.now(wall, now + self.gained(wall, now)).likely
    }

    /// What our wall clock gained on the monotonic one since the last answer: it was set, or the machine slept.
    fn gained(&self, wall: Millis, now: Duration) -> Duration {
        let gained = to_i64(wall.0) - ticks(now) - self.wall_lead;
        Duration::from_millis(u64::try_from(gained).unwrap_or(0))
    }

    /// How far Ring's clock is ahead of ours; nothing before it was heard of.
    pub fn offset(&self, wall: Millis, now: Duration) -> Option<Offset> {
        self.least?;
        let at = self.now(wall, now);
        let within = at.is_bounded().then(|| at.latest.0.saturating_sub(at.earliest.0).div_ceil(2));
        Some(Offset { likely_ms: to_i64(at.likely.0) - to_i64(wall.0), within_ms: within })
    }

    /// Whether enough webhooks say that Ring's clock is so far ahead.
    fn is_witnessed(&mut self, least: i64, sent: Millis) -> bool {
        let far = i64::try_from(FAR.as_millis()).unwrap_or(i64::MAX);
        let agrees = |rumour: &Rumour| (rumour.least - least).abs() <= far;
        let before = self.rumour.filter(agrees);
        let again = before.is_some_and(|rumour| rumour.sent == sent);
        let witnesses = before.map_or(0, |rumour| rumour.witnesses) + u8::from(!again);
        self.rumour = Some(Rumour { least, sent, witnesses });
        witnesses >= WITNESSES
    }

    /// Older bounds say less.
    fn drift(&mut self, now: Duration) {
        let slack = self.slack(now);
        self.least = self.least.map(|least| least - slack);
        self.most = self.most.map(|most| most + slack);
        self.heard_at = now;
    }

    fn slack(&self, now: Duration) -> i64 {
        ticks(now.saturating_sub(self.heard_at)) * DRIFT / 1_000_000
    }
}

fn ticks(at: Duration) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX / 2)
}

/// A time that no clock shows stays in reach of the arithmetic.
fn to_i64(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: u64 = 1_700_000_000_000;
    const MINUTE: i64 = 60_000;
    const HOUR_MS: i64 = 3_600_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A machine whose wall clock is wrong by `wrong` milliseconds, `at` after its start.
    fn wall(at: u64, wrong: i64) -> Millis {
        Millis((T0 + at).checked_add_signed(wrong).unwrap())
    }

    #[test]
    fn our_clock_is_believed_while_nothing_speaks_against_it() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.now(wall(0, 0), ms(0)), RingTime::unknown(wall(0, 0)));
        assert_eq!(estimate.offset(wall(0, 0), ms(0)), None);
        estimate.answered(Millis(T0 - T0 % 1000), ms(10), wall(0, 0), ms(30));
        let now = estimate.now(wall(50, 0), ms(50));
        assert_eq!(now.likely, wall(50, 0));
        assert!(now.earliest < now.likely && now.likely < now.latest);
        assert_eq!(estimate.offset(wall(50, 0), ms(50)).unwrap().likely_ms, 0);
    }

    #[test]
    fn a_clock_that_is_a_minute_wrong_is_found_out_by_one_answer() {
        for wrong in [-MINUTE, MINUTE] {
            let mut estimate = Estimate::default();
            estimate.answered(Millis(T0), ms(0), wall(20, wrong), ms(20));
            let now = estimate.now(wall(20, wrong), ms(20));
            let off = now.likely.0.abs_diff(T0 + 20);
            assert!(off <= 520, "{wrong}: {off}");
            let offset = estimate.offset(wall(20, wrong), ms(20)).unwrap();
            assert!(
                (offset.likely_ms + wrong).abs() <= 520 && offset.within_ms.unwrap() <= 510,
                "{offset:?}"
            );
        }
    }

    #[test]
    fn a_fresh_webhook_shows_a_clock_that_is_behind_and_a_late_one_nothing() {
        let mut estimate = Estimate::default();
        estimate.sent(Millis(T0 + 100), wall(150, -MINUTE), ms(150));
        assert_eq!(estimate.now(wall(150, -MINUTE), ms(150)).likely, Millis(T0 + 100));
        estimate.sent(Millis(T0 - 3_600_000), wall(200, -MINUTE), ms(200));
        assert_eq!(estimate.now(wall(200, -MINUTE), ms(200)).likely, Millis(T0 + 150));
        assert_eq!(estimate.offset(wall(200, -MINUTE), ms(200)).unwrap().within_ms, None);
    }

    #[test]
    fn a_webhook_with_an_impossible_time_moves_nothing_that_answers_bound() {
        let mut estimate = Estimate::default();
        estimate.answered(Millis(T0), ms(0), wall(0, 0), ms(20));
        let before = estimate.now(wall(30, 0), ms(30));
        for at in [u64::MAX, T0 * 1000, T0 + 3_600_000] {
            estimate.sent(Millis(at), wall(30, 0), ms(30));
        }
        assert_eq!(estimate.now(wall(30, 0), ms(30)), before);
    }

    #[test]
    fn a_webhook_from_a_year_ahead_moves_nothing_also_where_no_answer_bounds_the_time() {
        const YEAR: u64 = 365 * 24 * 3_600_000;
        const AFTER: u64 = 2 * 3_600_000;
        for is_dated in [false, true] {
            let mut estimate = Estimate::default();
            if is_dated {
                estimate.answered(Millis(T0), ms(0), wall(0, 0), ms(20));
            }
            let at = |step: u64| (wall(AFTER + step, 0), ms(AFTER + step));
            // Ring's retries of it are no other witnesses, and genuine ones speak against two of them.
            for (step, sent) in [(0, YEAR), (1, YEAR), (2, YEAR), (3, YEAR + 1), (4, AFTER), (5, YEAR + 2)] {
                let (wall, now) = at(step);
                estimate.sent(Millis(T0 + sent), wall, now);
            }
            let (wall, now) = at(6);
            assert_eq!(estimate.now(wall, now).likely, wall, "{is_dated}");
        }
    }

    #[test]
    fn a_machine_that_starts_hours_behind_believes_the_third_webhook() {
        let mut estimate = Estimate::default();
        for (step, is_believed) in [(0, false), (1000, false), (2000, true)] {
            estimate.sent(Millis(T0 + step), wall(step, -3 * HOUR_MS), ms(step));
            let now = estimate.now(wall(step, -3 * HOUR_MS), ms(step));
            assert_eq!(now.likely == Millis(T0 + step), is_believed, "{step}");
        }
    }

    #[test]
    fn after_a_machine_slept_the_next_answer_is_believed() {
        let mut estimate = Estimate::default();
        estimate.answered(Millis(T0), ms(0), wall(0, 0), ms(20));
        // An hour passed that the monotonic clock did not count.
        estimate.answered(Millis(T0 + 3_601_000), ms(1000), wall(0, 0), ms(1020));
        let now = estimate.now(Millis(T0), ms(1020));
        assert!(now.likely.0.abs_diff(T0 + 3_601_020) <= 520);
    }

    #[test]
    fn after_a_machine_slept_the_next_webhook_is_believed_and_no_answer_from_before_it_says_how_late_it_is() {
        const HOURS: u64 = 8 * 3_600_000;
        for wrong in [-HOUR_MS, 0, HOUR_MS] {
            let mut estimate = Estimate::default();
            estimate.answered(Millis(T0), ms(0), wall(20, wrong), ms(20));
            let (woke, ticks) = (wall(1000 + HOURS, wrong), ms(1000));
            assert!(!estimate.now(woke, ticks).is_bounded());
            assert_eq!(estimate.offset(woke, ticks).unwrap().within_ms, None);
            let sent = Millis(T0 + 900 + HOURS);
            estimate.sent(sent, woke, ticks);
            let now = estimate.now(woke, ticks);
            assert!(
                now.earliest >= sent.minus(ms(100)) && now.likely >= sent.minus(ms(100)),
                "{wrong}: {now:?}"
            );
            // Not one that is later than the sleep allows.
            let mut other = Estimate::default();
            other.answered(Millis(T0), ms(0), wall(20, wrong), ms(20));
            other.sent(Millis(T0 + 2 * HOURS), woke, ticks);
            assert!(other.now(woke, ticks).likely.0.abs_diff(T0 + 1000) <= 520, "{wrong}");
        }
    }

    #[test]
    fn a_clock_that_is_a_moment_off_does_not_jump_to_the_middle_of_what_may_be() {
        let mut estimate = Estimate::default();
        estimate.answered(Millis(T0), ms(0), wall(0, 0), ms(0));
        // Both clocks count whole milliseconds, so the sum of their fractions is one.
        estimate.sent(Millis(T0 + 101), wall(100, 0), ms(100));
        let now = estimate.now(wall(110, 0), ms(110));
        assert_eq!(now.likely, Millis(T0 + 111), "not half a second ahead: {now:?}");
        let late = estimate.now(Millis(now.latest.0 + 1), ms(110));
        assert_eq!(late.likely, now.latest);
    }

    #[test]
    fn a_schedule_counts_the_sleep_that_only_the_wall_clock_saw() {
        const HOURS: u64 = 8 * 3_600_000;
        for wrong in [-HOUR_MS, -MINUTE, 0, MINUTE, HOUR_MS] {
            let mut estimate = Estimate::default();
            assert_eq!(estimate.awake(wall(0, wrong), ms(0)), wall(0, wrong), "nothing was heard of Ring");
            estimate.answered(Millis(T0), ms(0), wall(20, wrong), ms(20));
            let after = estimate.awake(wall(1000, wrong), ms(1000));
            assert!(after.0.abs_diff(T0 + 1000) <= 520, "{wrong}: {after:?}");
            let slept = estimate.awake(wall(1000 + HOURS, wrong), ms(1000));
            assert!(slept.0.abs_diff(T0 + 1000 + HOURS) <= 12_000, "{wrong}: {slept:?}");
            let set_back = estimate.awake(wall(1000, -20 * 24 * HOUR_MS), ms(1000));
            assert!(set_back.0.abs_diff(T0 + 1000) <= 520, "{wrong}: {set_back:?}");
        }
    }

    proptest! {
        /// Whatever the delays are, and however wrong the wall clock, the truth lies within the bounds.
        #[test]
        fn the_truth_lies_within_the_bounds(
            wrong in -200_000_i64..200_000,
            steps in prop::collection::vec((any::<bool>(), 0_u64..100_000, 0_u64..5_000, 0_u64..5_000), 1..40),
        ) {
            let (mut estimate, mut at) = (Estimate::default(), 0);
            for (is_answer, wait, there, back) in steps {
                at += wait;
                let made = T0 + at + there;
                let came = ms(at + there + back);
                if is_answer {
                    estimate.answered(Millis(made - made % 1000), ms(at), wall(0, 0), came);
                } else {
                    estimate.sent(Millis(made), wall(at + there + back, wrong), came);
                }
                at += there + back;
                let now = estimate.now(wall(at, wrong), ms(at));
                let truth = Millis(T0 + at);
                prop_assert!(now.earliest <= truth && truth <= now.latest);
                prop_assert!(now.earliest <= now.likely || now.likely == wall(at, wrong));
            }
        }
    }
}
