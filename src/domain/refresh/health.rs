//! What an account's tokens are called, and how they ended.

use serde::{Deserialize, Serialize};

/// How a refresh token ended, by OAuth's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Refused after 30 days without use.
    Lapsed,
    /// Refused while it should have been good: the user removed the app, or somebody else used the token.
    Revoked,
}

/// What OAuth last said of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It gave it, or took it.
    Honoured,
    /// Nothing: it was put in by hand, and has not been used.
    Untried,
    /// `invalid_grant`, and it is asked again before that is believed.
    Refused,
}

/// How an account's tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Put in by hand, and not used yet: whether it is good nobody knows.
    Untried,
    Fresh,
    /// Due for an hour, and not renewed.
    Late,
    /// OAuth does not honour it; it is asked again before the link is given up.
    Refused,
    /// So close to its end that it is warned about (ten days, by default), and not renewed.
    Lapsing,
    /// See [`End`].
    Lapsed,
    Revoked,
}

impl Health {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Untried, Self::Fresh, Self::Late, Self::Refused, Self::Lapsing, Self::Lapsed, Self::Revoked];

    /// Its place among those that need a person, the first first: what can still be saved, what is lost, what is well.
    pub fn urgency(self) -> u8 {
        match self {
            Self::Lapsing => 0,
            Self::Refused => 1,
            Self::Late => 2,
            Self::Lapsed => 3,
            Self::Revoked => 4,
            Self::Untried => 5,
            Self::Fresh => 6,
        }
    }

    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Fresh => "fresh",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Lapsing => "lapsing",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
        }
    }

    /// How it is called where OAuth's last word is known beside what its age says.
    #[must_use]
    pub fn with(self, proof: Proof) -> Self {
        match (self, proof) {
            (Self::Lapsed | Self::Revoked, _) => self,
            (_, Proof::Refused) => Self::Refused,
            (Self::Fresh, Proof::Untried) => Self::Untried,
            _ => self,
        }
    }
}
