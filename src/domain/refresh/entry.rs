//! One account's place in the schedule: what is remembered of it, and what it is called.

use std::time::Duration;

use super::health::{End, Health, Proof};
use super::notice::Notice;
use super::{LIFE, Millis};
use crate::domain::tokens::Span;

/// Past due for so long without success is worth a word.
pub(super) const LATE_AFTER: Duration = Duration::from_hours(1);

/// An answer that was lost may be made good by asking again within a grace time of minutes; so many tries at once fit into
/// that. Whoever has failed so often keeps failing for a reason of its own.
const FIRST_TRIES: u16 = 5;

/// What the store keeps of an account's tokens for the schedule. Times of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When OAuth last gave a pair, or when it was imported: the 30 days run from here.
    pub renewed_at: Millis,
    /// When the access token runs out.
    pub expires_at: Millis,
    /// Tried once a day until day 30 all the same, and then on while OAuth honours nobody.
    pub end: Option<End>,
    /// A request went out whose answer nobody knows: the sooner it is sent again, the better its chance.
    pub unsettled: bool,
    /// What people were told last.
    pub told: Notice,
    pub proof: Proof,
}

impl Record {
    /// How long the access token may still be used by a wall clock alone.
    pub fn access_left(&self, now: Millis) -> Duration {
        Span { renewed_at: self.renewed_at, expires_at: self.expires_at }.left(now)
    }
}

/// Whether and where an account is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Without tokens, or dead past day 30.
    Nowhere,
    /// Until `due`.
    Waiting,
    Ready,
    InFlight,
}

/// 28 bytes, since there may be a million. Times in whole seconds of the wall clock.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct ScheduleEntry {
    pub renewed_at: u32,
    /// It should have been renewed by then.
    pub latest: u32,
    pub due: u32,
    /// When the access token is dead by the monotonic clock, in its seconds.
    pub dead_at: u32,
    pub failures: u16,
    pub place: Place,
    pub end: Option<End>,
    pub unsettled: bool,
    /// Somebody waits for a token.
    pub asked: bool,
    /// In flight without an answer for so long that it counts as a fault of OAuth, and holds up nobody else.
    pub late: bool,
    /// It waits because OAuth's last answer can't be read and may hold the tokens that live.
    pub kept: bool,
    /// A [`Notice`], in its one byte.
    pub told: u8,
    pub proof: Proof,
    /// In flight with tokens that were replaced or removed since: where it goes once the answer, which says nothing any
    /// more, has come. Until then nobody else may be in flight for it.
    pub after: Option<Place>,
}

impl ScheduleEntry {
    pub(super) const EMPTY: Self = Self {
        renewed_at: 0,
        latest: 0,
        due: 0,
        dead_at: 0,
        failures: 0,
        place: Place::Nowhere,
        end: None,
        unsettled: false,
        asked: false,
        late: false,
        kept: false,
        told: 0,
        proof: Proof::Honoured,
        after: None,
    };

    /// Whether it has tokens.
    pub(super) fn is_known(&self) -> bool {
        let place = self.after.unwrap_or(self.place);
        place != Place::Nowhere || self.end.is_some()
    }

    /// Takes the place of `before`, behind its answer if one is still to come.
    pub(super) fn instead_of(self, before: &Self) -> Self {
        match before.place {
            Place::InFlight => {
                Self { place: Place::InFlight, after: Some(self.place), late: before.late, ..self }
            }
            _ => self,
        }
    }

    /// When the refresh token dies of disuse.
    pub(super) fn lapses_at(&self) -> u32 {
        self.renewed_at.saturating_add(to_seconds(LIFE))
    }

    /// Whether it has failed so often that its faults say nothing about anybody else.
    pub(super) fn fails_often(&self) -> bool {
        self.failures >= FIRST_TRIES
    }

    /// Whether nothing speaks against its next try.
    pub(super) fn is_clean(&self) -> bool {
        self.failures == 0 && !self.unsettled
    }

    /// Whether its token was sent, and nobody knows what came of it: to send it once more risks no other link.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.unsettled && self.is_living()
    }

    /// Whether it has tokens that are not known to be dead.
    pub(super) fn is_living(&self) -> bool {
        self.end.is_none() && self.is_known()
    }

    /// The smaller, the more urgent: what may still be made good first, then the closest to its end. One that is asked
    /// for goes before all that have more than a day left.
    pub(super) fn urgency(&self, now: u32) -> u32 {
        match self {
            Self { unsettled: true, .. } if !self.fails_often() => 0,
            Self { asked: true, .. } => self.lapses_at().min(now.saturating_add(86_400)),
            _ => self.lapses_at(),
        }
    }

    /// What its age says; so long before its end it is lapsing.
    pub(super) fn health(&self, now: u32, lapsing_below: Duration) -> Health {
        match self.end {
            Some(End::Lapsed) => Health::Lapsed,
            Some(End::Revoked) => Health::Revoked,
            None if now.saturating_add(to_seconds(lapsing_below)) >= self.lapses_at() => Health::Lapsing,
            None if now > self.latest.saturating_add(to_seconds(LATE_AFTER)) => Health::Late,
            None => Health::Fresh,
        }
    }
}

pub(super) fn to_seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

pub(super) fn seconds(at: Millis) -> u32 {
    u32::try_from(at.0 / 1000).unwrap_or(u32::MAX)
}
