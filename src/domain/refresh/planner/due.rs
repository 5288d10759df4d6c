//! When an account is refreshed next, and by when it should have been.

use std::time::Duration;

use crate::domain::backoff::share;
use crate::domain::refresh::Pace;
use crate::domain::refresh::entry::{Place, ScheduleEntry, to_seconds};

/// Before the access token runs out, as Ring recommends; a quarter of its life where that is less.
pub(super) const BEFORE_EXPIRY: Duration = Duration::from_mins(5);
/// Of seconds.
const DAY: u32 = 86_400;

/// When the account should have been renewed at the latest.
pub(super) fn latest(pace: Pace, renewed_at: u32, expires_at: u32) -> u32 {
    match pace {
        Pace::Every(interval) => renewed_at.saturating_add(to_seconds(interval)),
        Pace::AlwaysFresh => expires_at,
    }
}

/// The next refresh after a renewal. Spread over a quarter of the time, each time anew, so that accounts that were
/// imported together drift apart and stay so.
pub(super) fn due(pace: Pace, renewed_at: u32, expires_at: u32, now: u32, random: u64) -> u32 {
    let (from, to) = match pace {
        Pace::Every(_) => (renewed_at, latest(pace, renewed_at, expires_at)),
        Pace::AlwaysFresh => {
            // A token that hardly lives must not be refreshed all the time.
            let life = Duration::from_secs(u64::from(expires_at.saturating_sub(renewed_at)));
            let before = to_seconds(BEFORE_EXPIRY.min(life / 4));
            (now, expires_at.saturating_sub(before))
        }
    };
    let quarter = Duration::from_secs(u64::from(to.saturating_sub(from) / 4));
    to.saturating_sub(to_seconds(share(quarter, random)))
}

/// What has ended is tried once a day until day 30, then no more unless `doubtful`. At which time of the day follows from the account and the
/// day, not from when the daemon was started; another each day, since a machine may be off at the same hours of each.
pub(super) fn wait_for_its_time(
    account: u32,
    entry: &mut ScheduleEntry,
    now: u32,
    tried_today: bool,
    doubtful: bool,
) {
    let today = now / DAY;
    let of_day = |day: u32| day.saturating_mul(DAY).saturating_add(time_of_day(account, day));
    entry.due = match of_day(today) {
        later if later > now && !tried_today => later,
        _ => of_day(today + 1),
    };
    entry.place = if doubtful || entry.due < entry.lapses_at() { Place::Waiting } else { Place::Nowhere };
}

/// Evenly over the day's seconds.
fn time_of_day(account: u32, day: u32) -> u32 {
    let mut z = (u64::from(account) << 32 | u64::from(day)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 31;
    u32::try_from(z % u64::from(DAY)).unwrap_or(0)
}
