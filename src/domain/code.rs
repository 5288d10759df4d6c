//! An authorization code of Ring's: good once, for a minute, for the first tokens of an account nobody has named yet.
//!
//! ```text
//! kept ──sent──▶ exchanged: its tokens arrive
//!   │       ├──▶ refused: OAuth does not honour it
//!   │       └──▶ lost: sent, perhaps twice, and never answered
//!   └──▶ expired: its minute was over before it could be sent
//! ```
//!
//! Source: Ring's partner documentation on account linking.

use std::time::Duration;

use super::backoff::Backoff;
use super::heard::{Doubt, Heard, Objection};
use super::refresh::Moment;
use super::secret::Secret;
use super::time::Millis;

/// How long a code is good.
pub const LIFE: Duration = Duration::from_mins(1);
/// So often it is sent where nobody knows whether it arrived: once more may save the link, and spends no more than the first.
const TRIES: u8 = 2;
/// Between two tries.
const AGAIN: Backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_secs(8) };

/// Answers whose `Date` is in whole seconds tell the time that well; a clock that differs by more was set, or the machine slept.
const BETTER_KNOWN: Duration = Duration::from_secs(1);

/// What is exchanged for tokens.
#[derive(Debug)]
pub struct Grant {
    pub code: Secret<String>,
    /// Only Ring's older flow has one.
    pub verifier: Option<Secret<String>>,
}

/// What became of a code. Its number rests on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CodeEnd {
    Exchanged = 1,
    Refused = 2,
    Lost = 3,
    Expired = 4,
}

impl CodeEnd {
    pub const ALL: [Self; 4] = [Self::Exchanged, Self::Refused, Self::Lost, Self::Expired];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|end| *end as u8 == byte)
    }

    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchanged => "exchanged",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Expired => "expired",
        }
    }
}

/// Why a code was not taken; nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("more codes come than [linking] codes_per_second: most of them are made up")]
    TooMany,
    #[error("codes can't be exchanged: the configuration has no [ring] client_id")]
    NotConfigured,
    #[error("the store can't be used now: {0}")]
    Store(String),
}

/// What is known of a code that is being exchanged.
#[derive(Debug, Clone, Copy)]
pub struct Tries {
    /// How often it may have been spent.
    sent: u8,
    failures: u32,
    /// OAuth has said that it failed: most likely it has done nothing with it.
    doubtful: bool,
}

impl Tries {
    /// Of one that may have been sent so often before.
    pub fn new(sent: u8) -> Self {
        Self { sent, failures: 0, doubtful: false }
    }

    pub fn sent(self) -> u8 {
        self.sent
    }

    /// What it is where it may not be sent once more.
    pub fn end(self) -> Option<CodeEnd> {
        (self.sent >= TRIES).then_some(CodeEnd::Lost)
    }

    /// What it is where its minute is over.
    pub fn too_late(self) -> CodeEnd {
        if self.sent == 0 && !self.doubtful { CodeEnd::Expired } else { CodeEnd::Lost }
    }

    /// What follows from an answer that brought no tokens that can be kept: the wait before the next try, or the end. `random` is
    /// uniform over all of `u64`.
    ///
    /// # Errors
    /// The end.
    pub fn heard<T>(&mut self, heard: &Heard<T>, random: u64) -> Result<Duration, CodeEnd> {
        match heard {
            Heard::Answer(_) => return Err(CodeEnd::Lost),
            Heard::Refused(Objection::Grant) if self.sent > 0 || self.doubtful => return Err(CodeEnd::Lost),
            Heard::Refused(Objection::Grant) => return Err(CodeEnd::Refused),
            Heard::Unknown(Doubt::Silent) => self.sent = self.sent.saturating_add(1),
            Heard::Unknown(Doubt::Failed { .. }) => self.doubtful = true,
            Heard::NotSent(_) | Heard::Refused(_) => {}
        }
        self.failures = self.failures.saturating_add(1);
        let asked = match heard {
            Heard::Unknown(_) => heard.retry_after().unwrap_or_default().min(LIFE),
            _ => Duration::ZERO,
        };
        Ok(AGAIN.wait(self.failures, random).max(asked))
    }
}

/// Whether a code that this was heard of counts as one that may have been spent.
pub fn may_be_spent<T>(heard: &Heard<T>) -> bool {
    matches!(heard, Heard::Answer(_) | Heard::Refused(Objection::Grant) | Heard::Unknown(Doubt::Silent))
}

/// Dates codes by when they were sent, so that of two the later one is dated later, though each answer tells Ring's time a little better.
#[derive(Debug, Default)]
pub struct Dating {
    first: Option<Moment>,
}

impl Dating {
    /// When a code was sent, at `sent` of the monotonic clock; its answer has come by `now`.
    pub fn date(&mut self, sent: Duration, now: Moment) -> Millis {
        let by = |Moment { wall, ticks }: Moment| {
            wall.plus(sent.saturating_sub(ticks)).minus(ticks.saturating_sub(sent))
        };
        let (at, by_first) = (by(now), self.first.map(by));
        let goes_on = by_first.filter(|first| at.since(*first).max(first.since(at)) <= BETTER_KNOWN);
        if goes_on.is_none() {
            self.first = Some(now);
        }
        goes_on.unwrap_or(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Heard<()> = Heard::Refused(Objection::Grant);

    #[test]
    fn a_code_is_sent_again_while_that_may_save_the_link() {
        let mut tries = Tries::new(0);
        for harmless in [Heard::NO_CONNECTION, Heard::Refused(Objection::Client), Heard::throttled(None)] {
            assert!(tries.heard::<()>(&harmless, 0).is_ok() && !may_be_spent(&harmless));
        }
        assert_eq!((tries.end(), tries.too_late()), (None, CodeEnd::Expired));
        assert_eq!(tries.heard(&REFUSED, 0), Err(CodeEnd::Refused), "it was made up");
        assert!(tries.heard::<()>(&Heard::SILENT, 0).is_ok() && may_be_spent::<()>(&Heard::SILENT));
        assert_eq!((tries.end(), tries.too_late()), (None, CodeEnd::Lost));
        assert_eq!(tries.heard(&REFUSED, 0), Err(CodeEnd::Lost), "the first may have spent it");
        assert!(tries.heard::<()>(&Heard::SILENT, 0).is_ok());
        assert_eq!(tries.end(), Some(CodeEnd::Lost));
    }

    #[test]
    fn of_two_codes_the_later_one_is_dated_later_while_the_time_becomes_known_better() {
        let at = |wall: u64, ticks: u64| Moment { wall: Millis(wall), ticks: Duration::from_millis(ticks) };
        let mut dating = Dating::default();
        let sent = Duration::from_millis;
        assert_eq!(dating.date(sent(100), at(1_000_500, 500)), Millis(1_000_100));
        // The wall clock is half a second further back now.
        assert_eq!(dating.date(sent(300), at(1_000_100, 600)), Millis(1_000_300));
        assert_eq!(dating.date(sent(50), at(1_000_100, 600)), Millis(1_000_050), "one sent before");
        // The machine slept.
        assert_eq!(dating.date(sent(900), at(9_001_000, 1000)), Millis(9_000_900));
        assert_eq!(dating.date(sent(950), at(9_000_900, 1000)), Millis(9_000_950));
    }

    #[test]
    fn an_oauth_that_fails_is_asked_again_when_it_says_and_is_not_believed_afterwards() {
        let mut tries = Tries::new(0);
        let failed = Heard::<()>::failed(Some(Duration::from_secs(20)));
        assert_eq!(tries.heard(&failed, 0), Ok(Duration::from_secs(20)));
        assert_eq!((tries.end(), tries.too_late()), (None, CodeEnd::Lost));
        assert_eq!(tries.heard(&REFUSED, 0), Err(CodeEnd::Lost));
        let for_long = Heard::<()>::failed(Some(Duration::MAX));
        assert_eq!(tries.heard(&for_long, 0), Ok(LIFE));
    }
}
