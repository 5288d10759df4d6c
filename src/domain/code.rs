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

use super::secret::Secret;

/// How long a code is good.
pub const LIFE: Duration = Duration::from_mins(1);
/// So often it is sent where nobody knows whether it arrived: once more may save the link, and spends no more than the first.
pub const TRIES: u8 = 2;

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
