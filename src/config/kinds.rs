//! The kinds of queue as the configuration names them, and the addresses that each takes.

/// A kind of queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Spool,
    Http,
    Redis,
}

/// Every kind by its word.
pub(super) const KINDS: &[(&str, Kind)] =
    &[("embedded", Kind::Embedded), ("spool", Kind::Spool), ("http", Kind::Http), ("redis", Kind::Redis)];

impl Kind {
    /// The schemes of the receiver's address; empty where a queue has no receiver.
    pub(super) const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Embedded | Self::Spool => &[],
            Self::Http => &["http", "https"],
            Self::Redis => &["redis", "rediss"],
        }
    }

    /// An address such as the kind takes.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Embedded | Self::Spool | Self::Http => "http://127.0.0.1:8080/ring",
            Self::Redis => "redis://127.0.0.1:6379/0",
        }
    }

    /// Whether its receiver asks for a user and a password; one of HTTP takes a bearer token.
    pub(super) const fn has_login(self) -> bool {
        match self {
            Self::Embedded | Self::Spool | Self::Http => false,
            Self::Redis => true,
        }
    }

    /// The cargo feature that brings its client library along, where this build is without it.
    pub(super) const fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::Redis if !cfg!(feature = "sink-redis") => Some("sink-redis"),
            Self::Embedded | Self::Spool | Self::Http | Self::Redis => None,
        }
    }
}
