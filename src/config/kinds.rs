//! The kinds of queue as the configuration names them, and the addresses that each takes.

/// A kind of queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Spool,
    Http,
}

/// Every kind by its word.
pub(super) const KINDS: &[(&str, Kind)] =
    &[("embedded", Kind::Embedded), ("spool", Kind::Spool), ("http", Kind::Http)];

impl Kind {
    /// The schemes of the receiver's address; empty where a queue has no receiver.
    pub(super) const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Embedded | Self::Spool => &[],
            Self::Http => &["http", "https"],
        }
    }

    /// An address such as the kind takes.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Embedded | Self::Spool | Self::Http => "http://127.0.0.1:8080/ring",
        }
    }

    /// Whether its receiver asks for a user and a password; one of HTTP takes a bearer token.
    pub(super) const fn has_login(self) -> bool {
        match self {
            Self::Embedded | Self::Spool | Self::Http => false,
        }
    }
}
