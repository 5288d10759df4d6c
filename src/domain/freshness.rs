//! Whether webhooks still come: learns how long a wait for one is usual, and says when one is longer.
//!
//! Two numbers are kept of each account, and of all together: when the last webhook came, and the longest wait, which fades by half
//! in a week. Three times that is a silence. So a night, and a weekend that comes every week, are waited out, and what happened
//! once is forgotten. A table by the hour of the week would be sharper, and wrong with every change of habits.

use std::time::Duration;

use bytes::Buf;

use super::time::Millis;

/// So many times the longest wait is a silence.
const FACTOR: u64 = 3;
/// In so long the longest wait counts half.
const HALF_LIFE: Duration = Duration::from_hours(24 * 7);
/// What the longest wait is taken to be before anything is learned. It fades as any other.
const FIRST: Duration = Duration::from_hours(24);
/// No wait is called a silence sooner after the start, or after a clock was set: what was sent meanwhile may still come.
const LISTENED: Duration = Duration::from_hours(1);
/// The highest bit of the longest wait says that the silence was told.
const TOLD: u32 = 1 << 31;

/// After how long without a webhook an operator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    #[default]
    Learned,
    Within(Duration),
    Never,
}

/// What is expected, and what may be learned of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    expected: Expected,
    floor: Duration,
    ceiling: Duration,
    /// A longer silence is nobody's concern any more.
    ends: Option<Duration>,
}

impl Bounds {
    /// For the webhooks of all accounts. Ring sends what it could not deliver again for over an hour, so half an hour is soon enough.
    pub fn intake(expected: Expected) -> Self {
        Self { expected, floor: Duration::from_mins(30), ceiling: Duration::from_hours(24 * 7), ends: None }
    }

    /// For those of one account. Nobody may be at home for a day, and whoever is away for a month is not called silent for ever.
    pub fn account(expected: Expected) -> Self {
        let (floor, ceiling) = (Duration::from_hours(24), Duration::from_hours(24 * 14));
        Self { expected, floor, ceiling, ends: Some(Duration::from_hours(24 * 30)) }
    }
}

/// When webhooks come, in 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rhythm {
    /// In seconds; 0 before the first.
    last: u32,
    /// In milliseconds, under [`TOLD`].
    longest: u32,
}

impl Rhythm {
    /// When the last webhook came.
    pub fn last(self) -> Option<Millis> {
        (self.last > 0).then(|| Millis(u64::from(self.last) * 1000))
    }

    /// The longest wait of the last weeks.
    pub fn longest(self) -> Duration {
        Duration::from_millis((self.longest & !TOLD).into())
    }

    /// Whether the present silence was told.
    pub fn is_told(self) -> bool {
        self.longest & TOLD != 0
    }

    pub fn set_told(&mut self, told: bool) {
        self.longest = if told { self.longest | TOLD } else { self.longest & !TOLD };
    }

    /// A webhook comes at `now`. Nothing is learned of a time in which nobody listened, or of a clock that is not believed: `since` says
    /// since when both is well. Of a silence no more than its limit is learned, so that an outage does not make the next one usual.
    pub fn heard(&mut self, now: Millis, since: Option<Millis>, bounds: &Bounds) {
        let seconds = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
        if self.last == seconds {
            return;
        }
        match (self.last(), since) {
            (None, _) => self.longest = wait(FIRST),
            (Some(last), Some(since)) => {
                let waited = now.since(last.max(since));
                let most = self.learned(bounds);
                self.longest = wait(faded(self.longest(), waited).max(waited.min(most)));
            }
            (Some(_), None) => self.set_told(false),
        }
        self.last = seconds;
    }

    /// What was known to have come before is not older than `at`.
    pub fn came(&mut self, at: Millis) {
        if self.last().is_some_and(|last| last < at) {
            self.last = u32::try_from(at.0 / 1000).unwrap_or(u32::MAX);
        }
    }

    /// The longest wait that is no silence, if there is any such thing.
    pub fn limit(self, bounds: &Bounds) -> Option<Duration> {
        match bounds.expected {
            Expected::Never => None,
            Expected::Within(limit) => Some(limit),
            Expected::Learned => Some(self.learned(bounds)),
        }
    }

    fn learned(self, bounds: &Bounds) -> Duration {
        let limit = Duration::from_millis(u64::from(self.longest & !TOLD) * FACTOR);
        limit.clamp(bounds.floor, bounds.ceiling)
    }

    /// How long nothing has come, where that is a silence. `since` is as for [`Self::heard`].
    pub fn silence(self, now: Millis, since: Option<Millis>, bounds: &Bounds) -> Option<Duration> {
        let (last, since, limit) = (self.last()?, since?, self.limit(bounds)?);
        let (silent, listened) = (now.since(last), now.since(since));
        let is_silence = silent > limit && listened >= limit.min(LISTENED);
        (is_silence && !self.is_given_up(now, bounds)).then_some(silent)
    }

    /// Whether nobody waits for a webhook any more.
    pub fn is_given_up(self, now: Millis, bounds: &Bounds) -> bool {
        let (Some(last), Some(limit)) = (self.last(), self.limit(bounds)) else { return true };
        bounds.ends.is_some_and(|ends| now.since(last) > ends.max(limit.saturating_mul(2)))
    }

    pub fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.last) << 32 | u64::from(self.longest)).to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let mut from = &bytes[..];
        Self { last: from.get_u32(), longest: from.get_u32() }
    }
}

fn faded(longest: Duration, by: Duration) -> Duration {
    longest.mul_f64((-by.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2())
}

fn wait(longest: Duration) -> u32 {
    u32::try_from(longest.as_millis()).map_or(TOLD - 1, |ms| ms.min(TOLD - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_790_000_000_000;
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const LEARNED: Expected = Expected::Learned;

    const SINCE: Option<Millis> = Some(Millis(START));

    fn silence(rhythm: Rhythm, at: u64, bounds: &Bounds) -> Option<u64> {
        let silence = rhythm.silence(Millis(START + at), SINCE, bounds)?;
        Some(silence.as_secs() / 3600)
    }

    /// Webhooks every 20 minutes from 7 to 22 o'clock, for so many days.
    fn house(days: u64, bounds: &Bounds) -> Rhythm {
        let mut rhythm = Rhythm::default();
        for day in 0..days {
            for third in 7 * 3..22 * 3 {
                let at = Millis(START + day * DAY + third * 20 * MINUTE);
                assert_eq!(rhythm.silence(at, SINCE, bounds), None, "day {day}");
                rhythm.heard(at, SINCE, bounds);
            }
        }
        rhythm
    }

    #[test]
    fn a_night_is_no_silence_and_two_days_are() {
        let bounds = Bounds::intake(LEARNED);
        let rhythm = house(28, &bounds);
        let last = 27 * DAY + 21 * HOUR + 40 * MINUTE;
        assert_eq!(
            rhythm.longest().as_secs() / 3600,
            8,
            "a night of over nine hours, which has faded for a day"
        );
        assert_eq!(silence(rhythm, last + 26 * HOUR, &bounds), None);
        assert_eq!(silence(rhythm, last + 29 * HOUR, &bounds), Some(29));
    }

    #[test]
    fn a_busy_intake_is_silent_after_half_an_hour() {
        let bounds = Bounds::intake(LEARNED);
        let mut rhythm = Rhythm::default();
        for second in 0..90 * 86_400 / 30 {
            rhythm.heard(Millis(START + second * 30_000), SINCE, &bounds);
        }
        let last = 90 * DAY - 30_000;
        let at = |minutes: u64| rhythm.silence(Millis(START + last + minutes * MINUTE), SINCE, &bounds);
        assert_eq!((at(29), at(31)), (None, Some(Duration::from_mins(31))), "{rhythm:?}");
    }

    #[test]
    fn nothing_is_silent_before_the_first_webhook_and_for_three_days_after_it() {
        let bounds = Bounds::intake(LEARNED);
        assert_eq!(silence(Rhythm::default(), 99 * DAY, &bounds), None);
        let mut rhythm = Rhythm::default();
        rhythm.heard(Millis(START), SINCE, &bounds);
        assert_eq!(silence(rhythm, 3 * DAY, &bounds), None);
        assert_eq!(silence(rhythm, 3 * DAY + HOUR, &bounds), Some(73));
    }

    #[test]
    fn a_holiday_is_told_once_and_does_not_make_a_week_usual() {
        let bounds = Bounds::account(LEARNED);
        let mut rhythm = house(28, &bounds);
        let limit = rhythm.limit(&bounds).unwrap();
        assert_eq!(limit.as_secs() / 3600, 26);
        rhythm.set_told(true);
        rhythm.heard(Millis(START + 42 * DAY), SINCE, &bounds);
        assert!(!rhythm.is_told());
        assert_eq!(rhythm.longest(), limit, "no more than what was told");
        assert_eq!(rhythm.limit(&bounds).unwrap(), limit * 3);
    }

    #[test]
    fn an_account_that_is_silent_for_a_month_is_no_concern_and_the_intake_is() {
        let (account, intake) = (Bounds::account(LEARNED), Bounds::intake(LEARNED));
        let rhythm = house(28, &account);
        assert_eq!(silence(rhythm, 27 * DAY + 21 * HOUR + 29 * DAY, &account), Some(28 * 24 + 23));
        assert_eq!(silence(rhythm, 27 * DAY + 21 * HOUR + 31 * DAY, &account), None);
        assert!(silence(rhythm, 99 * DAY, &intake).is_some());
    }

    #[test]
    fn a_time_without_the_daemon_is_neither_silence_nor_learned() {
        let bounds = Bounds::intake(LEARNED);
        let rhythm = house(28, &bounds);
        let back = Millis(START + 33 * DAY);
        let (at, since) = (|minutes: u64| back.plus(Duration::from_mins(minutes)), Some(back));
        assert_eq!(rhythm.silence(at(59), since, &bounds), None, "it has only just begun to listen");
        assert!(
            rhythm.silence(at(60), since, &bounds).is_some(),
            "a daemon that starts daily tells of it, too"
        );
        let mut heard = rhythm;
        heard.heard(at(10), since, &bounds);
        assert_eq!(heard.longest().as_secs() / 3600, 8, "ten minutes were waited, not five days");
    }

    #[test]
    fn a_clock_that_is_not_believed_teaches_nothing() {
        let bounds = Bounds::intake(LEARNED);
        let mut rhythm = house(28, &bounds);
        let longest = rhythm.longest();
        assert_eq!(rhythm.silence(Millis(START + 400 * DAY), None, &bounds), None);
        rhythm.set_told(true);
        rhythm.heard(Millis(START + 400 * DAY), None, &bounds);
        assert!(!rhythm.is_told(), "it did come");
        assert_eq!((rhythm.last(), rhythm.longest()), (Some(Millis(START + 400 * DAY)), longest));
        // The clock is set back.
        rhythm.heard(Millis(START + 29 * DAY), SINCE, &bounds);
        assert_eq!((rhythm.last(), rhythm.longest()), (Some(Millis(START + 29 * DAY)), longest));
    }

    #[test]
    fn what_is_configured_holds_whatever_was_learned() {
        let mut rhythm = Rhythm::default();
        let within = Bounds::intake(Expected::Within(Duration::from_mins(1)));
        rhythm.heard(Millis(START), SINCE, &within);
        let at = |seconds: u64, bounds: &Bounds| {
            rhythm.silence(Millis(START + seconds * 1000), SINCE, bounds).map(|silence| silence.as_secs())
        };
        assert_eq!((at(60, &within), at(61, &within)), (None, Some(61)));
        assert_eq!(at(99 * 86_400, &Bounds::intake(Expected::Never)), None);
    }

    #[test]
    fn it_comes_back_from_its_bytes() {
        let rhythm = Rhythm { last: 0x0102_0304, longest: TOLD | 5 };
        assert_eq!(Rhythm::from_bytes(rhythm.to_bytes()), rhythm);
        assert_eq!(wait(Duration::MAX), TOLD - 1);
    }
}
