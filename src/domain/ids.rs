//! The names things go by: opaque, bounded strings that are never parsed.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest identifier that is taken, in bytes. Ring's device ids are about 110, request ids up to 128.
pub const MAX_ID_BYTES: usize = 512;

/// Why a text can't be an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdError {
    #[error("is empty")]
    Empty,
    #[error("is longer than {MAX_ID_BYTES} bytes")]
    TooLong,
    #[error("contains a control character")]
    Control,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        Err(IdError::Empty)
    } else if text.len() > MAX_ID_BYTES {
        Err(IdError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(IdError::Control)
    } else {
        Ok(())
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes `text` as it is.
            ///
            /// # Errors
            /// [`IdError`] when it is empty, too long, or holds a control character.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A Ring account (`ava1.ring.account.…`), the stable key of a user's link.
    AccountId
}
id! {
    /// The partner's own name for a user.
    UserId
}
id! {
    /// A Ring device.
    DeviceId
}

/// The name of a configured queue: letters, digits, `-`, `_` and `.`, at most 64, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Box<str>);

impl QueueName {
    /// Takes `text` when it can be a queue's name; a name is also a metric label and a path segment.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = (1..=64).contains(&text.len()) && !text.starts_with('.') && text.chars().all(allowed);
        fits.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for QueueName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or("this can't be a queue's name")
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_opaque_but_bounded() {
        assert_eq!(AccountId::new("ava1.ring.account.X Ü").unwrap().as_str(), "ava1.ring.account.X Ü");
        assert_eq!(AccountId::new(""), Err(IdError::Empty));
        assert_eq!(DeviceId::new(&"d".repeat(MAX_ID_BYTES + 1)), Err(IdError::TooLong));
        assert_eq!(UserId::new("a\nb"), Err(IdError::Control));
    }

    #[test]
    fn queue_names_are_safe_as_labels_and_paths() {
        assert!(QueueName::new("orders-1.motion_x").is_some());
        for bad in ["", ".hidden", "a/b", "a b", "ü", &"q".repeat(65)] {
            assert!(QueueName::new(bad).is_none(), "{bad}");
        }
    }
}
