//! The states of a link, with their numbers on disk and the names that people see.

use serde::{Deserialize, Serialize};

/// A link's state. Its number rests on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum LinkState {
    /// Events came for it, or tokens, but no user has it. One who had it before the app was removed stays noted.
    Unclaimed = 1,
    Linked = 2,
    /// Ring said that the user removed the app; the user stays noted for late events.
    Removed = 3,
    /// Forgotten at the operator's word; the number is never used again.
    Forgotten = 4,
    /// Its tokens are here, and its id at Ring is not known yet.
    Arriving = 5,
    /// A user has claimed it, and Ring has not confirmed that yet.
    Claiming = 6,
    /// Ring refused to confirm; it may be claimed again.
    Refused = 7,
}

impl LinkState {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Unclaimed,
        Self::Linked,
        Self::Removed,
        Self::Forgotten,
        Self::Arriving,
        Self::Claiming,
        Self::Refused,
    ];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == byte)
    }

    /// The name that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unclaimed => "unclaimed",
            Self::Linked => "linked",
            Self::Removed => "removed",
            Self::Forgotten => "forgotten",
            Self::Arriving => "arriving",
            Self::Claiming => "claiming",
            Self::Refused => "refused",
        }
    }

    /// Whether a user has the account now.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Linked | Self::Claiming | Self::Refused)
    }
}
