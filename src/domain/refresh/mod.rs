//! When each account's tokens are refreshed, and what an answer of OAuth means for it: decides, never acts.
//!
//! ```text
//!            due                     answer
//! waiting ───────▶ ready ──next──▶ in flight ──renewed──▶ waiting (fresh)
//!    ▲               ▲                 │
//!    │               └──common fault───┤   the breaker or the bucket holds everybody back, not this account
//!    └──────own fault: backoff─────────┤            (while that lasts, whoever has failed least goes first)
//!                                      └──invalid_grant, twice, an hour apart──▶ revoked, or lapsed after day 30
//! ```
//!
//! What an account is called follows from the time of its last renewal:
//!
//! ```text
//! fresh ──due and not renewed for an hour──▶ late ──10 days left──▶ lapsing ──OAuth says so, twice──▶ lapsed
//!   └────────────────────OAuth says so, twice, while it should still be good──────────────────▶ revoked
//! ```
//!
//! Each of them goes back to fresh with the next renewal. A clock alone never ends a link.
//!
//! Facts from Ring's documentation: access tokens live about 4 hours, refresh tokens 30 days of inactivity, a refresh every
//! 24 hours is recommended, and at most 100 requests a second are allowed for all accounts together. What Ring does not
//! say (the shape of an outage, grace for a token that was replaced) is assumed both ways.

mod breaker;
mod census;
mod client_pause;
mod entry;
mod health;
mod notice;
mod planner;
mod queue;
mod refusals;
mod rounds;

use std::time::Duration;

use super::backoff::Backoff;
use super::heard::Heard;
use super::time::Millis;

pub use breaker::Breaker;
pub use entry::Record;
pub use health::{End, Health, Proof};
pub use notice::{Notice, Warnings};
pub use planner::{Decision, Next, Overview, Planner};
pub use rounds::{Rounds, SLICES};

/// A refresh token that nobody uses for this long is dead.
pub const LIFE: Duration = Duration::from_hours(30 * 24);
/// No wait is longer before the wall clock is read again: the monotonic one stands still while a machine sleeps.
pub const LONGEST_NAP: Duration = Duration::from_mins(1);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub wall: Millis,
    /// Since the process began; never goes back.
    pub ticks: Duration,
}

/// When accounts come due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So long after the last renewal, up to a quarter earlier.
    Every(Duration),
    /// Five minutes before the access token runs out.
    AlwaysFresh,
}

/// What the operator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub pace: Pace,
    /// Refreshes in flight at a time.
    pub parallel: usize,
    /// Requests a second, API calls included.
    pub per_second: u32,
    /// Between two tries for one account whose fault is its own; so also before a token is sent again whose answer was lost.
    pub backoff: Backoff,
    /// After so many tries a token whose answer was lost is sent once a day.
    pub repeats: u16,
    /// How long after an answer that can't be read, and may hold the tokens that live, the old token is sent again.
    pub repeat_unreadable: Duration,
    /// The first of them is where lapsing begins.
    pub warnings: Warnings,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            pace: Pace::Every(Duration::from_hours(24)),
            parallel: 16,
            per_second: 50,
            // The first is soon, since an answer that was lost may still be made good within a grace time.
            backoff: Backoff { least: Duration::from_secs(1), most: Duration::from_mins(15) },
            repeats: u16::MAX,
            repeat_unreadable: Duration::from_hours(7 * 24),
            warnings: Warnings::default(),
        }
    }
}

/// What a refresh brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gain {
    /// A new pair is on disk; the access token lives this long.
    Renewed { expires_in: Duration },
    /// An answer that can't be read may hold the tokens that live, and is kept: the token that was sent must not be sent again
    /// before this long, since that may end the link.
    Kept { wait: Duration },
}

/// How a refresh came out.
pub type Outcome = Heard<Gain>;
