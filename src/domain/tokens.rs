//! A token pair as OAuth gives it, and what is known of its age.

use std::time::Duration;

use super::secret::Secret;
use super::time::Millis;

/// How long an access token lives where nobody says: Ring's documentation calls 14,400 s typical.
pub const ACCESS_LIFE: Duration = Duration::from_hours(4);
/// A wall clock that is further back than this was set.
const SET_BACK: Duration = Duration::from_secs(10);
/// How old a pair is taken to be where nobody says: so that it is refreshed at once.
const UNKNOWN_AGE: Duration = Duration::from_hours(24);

/// The tokens of one account. Never shown, overwritten when dropped.
#[derive(Debug)]
pub struct Pair {
    /// An account may be put in with its refresh token alone.
    pub access_token: Option<Secret<String>>,
    pub refresh_token: Secret<String>,
    pub scope: Option<String>,
}

impl Pair {
    /// Tokens that are at hand as texts.
    pub fn of(access_token: Option<&str>, refresh_token: &str) -> Self {
        let secret = |text: &str| Secret::new(text.to_owned());
        Self { access_token: access_token.map(secret), refresh_token: secret(refresh_token), scope: None }
    }
}

/// What OAuth gave for a refresh token or a code.
#[derive(Debug)]
pub enum Granted {
    /// A new pair, which has to be on disk before anything else happens.
    Pair(TokenPair),
    /// 2xx, but no pair can be read: the bytes that came, up to the cap. The new pair may be in them and the old one dead, so
    /// they have to be kept, sealed.
    Unreadable(Secret<Vec<u8>>),
}

/// A pair as OAuth gave it.
#[derive(Debug)]
pub struct TokenPair {
    pub access_token: Secret<String>,
    /// `None` where the old one stays good (RFC 6749 §6).
    pub refresh_token: Option<Secret<String>>,
    /// Lifetime of the access token: from a minute to a day, 4 hours unless OAuth says otherwise.
    pub expires_in: Duration,
    pub scope: Option<String>,
    /// The answer was no whole JSON, and the tokens could be read all the same.
    pub damaged: bool,
}

/// When a pair was given, and when its access token runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The refresh token's 30 days run from here.
    pub renewed_at: Millis,
    /// The epoch when there is no access token.
    pub expires_at: Millis,
}

impl Span {
    /// Of a pair that somebody put in: its expiry tells its age, if it is told.
    pub fn of_import(expires_at: Option<Millis>, now: Millis) -> Self {
        match expires_at {
            Some(at) => Self { renewed_at: at.minus(ACCESS_LIFE).min(now), expires_at: at },
            None => Self { renewed_at: now.minus(UNKNOWN_AGE), expires_at: Millis(0) },
        }
    }

    /// How long the access token may still be used by a wall clock alone: never longer than OAuth gave it, and not at all where the
    /// clock stands before it was given, since then nobody knows how old it is.
    pub fn left(self, now: Millis) -> Duration {
        let is_before = self.renewed_at.since(now) > SET_BACK;
        if is_before { Duration::ZERO } else { self.left_at_most(now) }
    }

    /// The same where another clock tells how old it is.
    pub fn left_at_most(self, now: Millis) -> Duration {
        self.expires_at.since(now).min(self.expires_at.since(self.renewed_at))
    }

    /// Of a pair that OAuth gave at `now`.
    pub fn from_now(now: Millis, expires_in: Duration) -> Self {
        Self { renewed_at: now, expires_at: now.plus(expires_in) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_an_import_follows_from_its_expiry() {
        let now = Millis(1_000_000_000);
        let hours = |n| Duration::from_hours(n);
        let fresh = Span::of_import(Some(now.plus(hours(3))), now);
        assert_eq!(fresh.renewed_at, now.minus(hours(1)));
        let old = Span::of_import(Some(now.minus(hours(70))), now);
        assert_eq!(old.renewed_at, now.minus(hours(74)));
        assert_eq!(Span::of_import(Some(now.plus(hours(99))), now).renewed_at, now, "never in the future");
        let unknown = Span::of_import(None, now);
        assert_eq!((unknown.renewed_at, unknown.expires_at), (now.minus(hours(24)), Millis(0)));
    }
}
