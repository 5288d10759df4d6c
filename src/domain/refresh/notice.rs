//! What people are told of an account's tokens: each thing once, and that it is over.

use std::time::Duration;

use super::health::{End, Health};

/// How long before its end a link is warned about, in descending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warnings(pub [Duration; 3]);

impl Default for Warnings {
    fn default() -> Self {
        Self([10, 5, 2].map(|days| Duration::from_hours(days * 24)))
    }
}

/// What was last told of an account's tokens. Kept by the store as one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Notice {
    Fresh,
    Late,
    /// So many of the warnings are due: 1 to 3.
    Lapsing(u8),
    Lapsed,
    Revoked,
}

impl Notice {
    /// What there is to tell of tokens in such health with so long to live.
    pub(super) fn of(health: Health, left: Duration, warnings: Warnings) -> Self {
        match health {
            // What people are told by events is what the age says; the rest is shown.
            Health::Fresh | Health::Untried | Health::Refused => Self::Fresh,
            Health::Late => Self::Late,
            Health::Lapsing => {
                let due = warnings.0.iter().filter(|&&before| left <= before).count();
                Self::Lapsing(u8::try_from(due.clamp(1, 3)).unwrap_or(1))
            }
            Health::Lapsed => Self::Lapsed,
            Health::Revoked => Self::Revoked,
        }
    }

    /// How the tokens are that it tells of.
    pub fn health(self) -> Health {
        match self {
            Self::Fresh => Health::Fresh,
            Self::Late => Health::Late,
            Self::Lapsing(_) => Health::Lapsing,
            Self::Lapsed => Health::Lapsed,
            Self::Revoked => Health::Revoked,
        }
    }

    /// The state's name, as events and lists show it.
    pub fn as_str(self) -> &'static str {
        self.health().as_str()
    }

    /// How the tokens ended, if they did.
    pub fn end(self) -> Option<End> {
        match self {
            Self::Fresh | Self::Late | Self::Lapsing(_) => None,
            Self::Lapsed => Some(End::Lapsed),
            Self::Revoked => Some(End::Revoked),
        }
    }

    pub fn to_u8(self) -> u8 {
        match self {
            Self::Fresh => 0,
            Self::Late => 1,
            Self::Lapsing(due) => 1 + due,
            Self::Lapsed => 10,
            Self::Revoked => 11,
        }
    }

    pub fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Fresh,
            1 => Self::Late,
            2..=4 => Self::Lapsing(byte - 1),
            10 => Self::Lapsed,
            11 => Self::Revoked,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_notice_or_none() {
        for byte in 0..=u8::MAX {
            if let Some(notice) = Notice::from_u8(byte) {
                assert_eq!(notice.to_u8(), byte);
            }
        }
        assert_eq!((0..=u8::MAX).filter_map(Notice::from_u8).count(), 7);
    }

    #[test]
    fn warnings_come_one_by_one() {
        let days = |days: u64| {
            Notice::of(Health::Lapsing, Duration::from_hours(24 * days), Warnings::default()).to_u8()
        };
        assert_eq!([10, 6, 5, 3, 2, 0].map(days), [2, 2, 3, 3, 4, 4]);
    }
}
