//! Whether this machine's clock can be right: against Ring's, and against the time since when there is this program.

use super::Finding;
use crate::domain::time::Millis;

const CHECK: &str = "clock";
/// 2026-01-01: a clock before that was never set.
const EARLIEST: Millis = Millis(1_767_225_600_000);
/// A browser's visit may be so far ahead by default, and `status` warns from there on.
const NOTICED_MS: u64 = 5_000;
/// From here on certificates, visits and codes are refused.
const TOO_FAR_MS: u64 = 300_000;
const SET: &str = "have the clock set from the network: systemctl enable --now systemd-timesyncd, or chrony";

/// `ahead_ms` is how far Ring's clock is ahead of ours, where Ring was heard.
pub fn clock(now: Millis, ahead_ms: Option<i64>) -> Finding {
    if now < EARLIEST {
        return Finding::failed(CHECK, format!("it says {}, so it was never set", now.rfc3339())).so(SET);
    }
    let Some(ahead) = ahead_ms else {
        return Finding::note(
            CHECK,
            format!("it says {}; Ring was not heard, so it can't be compared", now.rfc3339()),
        );
    };
    let direction = if ahead >= 0 { "behind" } else { "ahead of" };
    let tenths = ahead.unsigned_abs() / 100;
    let words = format!("it is about {}.{} s {direction} Ring's", tenths / 10, tenths % 10);
    if ahead.unsigned_abs() <= NOTICED_MS {
        Finding::well(CHECK, words)
    } else if ahead.unsigned_abs() <= TOO_FAR_MS {
        Finding::warning(CHECK, words).so(SET)
    } else {
        Finding::failed(CHECK, words).so(SET)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_is_compared_with_rings_and_with_the_calendar() {
        let now = Millis(1_800_000_000_000);
        for (now, ahead, state, words) in [
            (now, Some(200), State::Well, "about 0.2 s behind"),
            (now, Some(-4_900), State::Well, "about 4.9 s ahead of"),
            (now, Some(6_000), State::Warning, "about 6.0 s behind"),
            (now, Some(-3_600_000), State::Failed, "3600.0 s ahead of"),
            (now, None, State::Note, "can't be compared"),
            (Millis(5), Some(0), State::Failed, "1970-01-01T00:00:00.005Z, so it was never set"),
        ] {
            let found = clock(now, ahead);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
            assert_eq!(found.action.is_some(), state >= State::Warning);
        }
    }
}
