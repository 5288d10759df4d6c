//! What is known of a request that was sent to Ring once: whether Ring has done it, has not, or may have.

use std::time::Duration;

/// How a request came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<T> {
    /// Ring has done it, and gave this.
    Answer(T),
    /// Ring has answered that it does not do it.
    Refused(Objection),
    /// Ring has done nothing with it.
    NotSent(Hindrance),
    /// Ring may have done it or not.
    Unknown(Doubt),
}

/// What Ring objects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// `invalid_grant`: the refresh token or the code.
    Grant,
    /// Our own client, e.g. `invalid_client`. That says nothing about a token.
    Client,
    /// 401 or 403: the access token. Ring's pages differ on which of them a revoked one gets.
    AccessToken,
    /// 400: the request at present.
    Request,
    /// 404: Ring knows of no such thing. Its order is not guaranteed: it may come to know it.
    Missing,
    /// Another 4xx.
    Other,
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// A reason of our own, e.g. that the intent could not be noted. That says nothing about Ring.
    Ours,
    /// There was no connection, or a kept one was closed before the request began.
    NoConnection,
    /// 429, with its `Retry-After`.
    Throttled { retry_after: Option<Duration> },
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No answer, part of one, or one that says nothing about the request.
    Silent,
    /// 5xx, with its `Retry-After`. Most likely nothing was done.
    Failed { retry_after: Option<Duration> },
}

impl<T> Heard<T> {
    pub const WITHHELD: Self = Self::NotSent(Hindrance::Ours);
    pub const NO_CONNECTION: Self = Self::NotSent(Hindrance::NoConnection);
    pub const SILENT: Self = Self::Unknown(Doubt::Silent);

    pub fn throttled(retry_after: Option<Duration>) -> Self {
        Self::NotSent(Hindrance::Throttled { retry_after })
    }

    pub fn failed(retry_after: Option<Duration>) -> Self {
        Self::Unknown(Doubt::Failed { retry_after })
    }

    /// How long Ring asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotSent(Hindrance::Throttled { retry_after })
            | Self::Unknown(Doubt::Failed { retry_after }) => *retry_after,
            _ => None,
        }
    }

    /// The same of something else that Ring gave.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Heard<U> {
        match self {
            Self::Answer(given) => Heard::Answer(change(given)),
            Self::Refused(objection) => Heard::Refused(objection),
            Self::NotSent(hindrance) => Heard::NotSent(hindrance),
            Self::Unknown(doubt) => Heard::Unknown(doubt),
        }
    }
}
