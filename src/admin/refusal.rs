//! Why a call was not done, as a status and words that a person can act on.

use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use crate::clock;
use crate::domain::claim::Unanswered;
use crate::domain::limiter::Limiter;
use crate::domain::rights::Call;
use crate::http::{Answer, answer};
use crate::logging::text;
use crate::store::{AccountRefusal, StoreError};

/// `Retry-After` of a 503, in seconds.
const SOON_S: u32 = 2;

/// Refusals through one socket that are noted in a minute.
const REFUSALS: u32 = 30;

/// Bounds how many refusals are noted, by the socket.
#[derive(Debug)]
pub(super) struct RefusedLately(Mutex<Limiter<String>>);

impl Default for RefusedLately {
    fn default() -> Self {
        Self(Mutex::new(Limiter::new(REFUSALS)))
    }
}

impl RefusedLately {
    /// Whether one is noted now, and how many were not since the last.
    pub(super) fn pass(&self, socket: &str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(socket.to_owned(), clock::now())
    }
}

/// A call's answer.
pub(super) type Reply = Result<Answer, Refusal>;

/// A call that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) words: String,
}

impl Refusal {
    fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }

    /// 400: the request itself is wrong.
    pub(super) fn bad(words: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, words)
    }

    /// 401.
    pub(super) fn unknown_caller(words: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, words)
    }

    /// 404.
    pub(super) fn missing(words: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, words)
    }

    /// 409: not as things stand.
    pub(super) fn conflict(words: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, words)
    }

    /// 403: the session's rights do not cover it.
    pub(super) fn forbidden(words: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, words)
    }

    /// 403, because the socket's `calls` do not list it.
    pub(super) fn no_right(call: Call) -> Self {
        Self::forbidden(format!(
            "this socket does not allow {}; [[socket]] calls says what it does",
            call.as_str()
        ))
    }

    /// 403: a restricted session can't bind an account by its id.
    pub(super) fn unproven() -> Self {
        Self::forbidden(
            "this socket sees only some accounts or users: it gives an account its first user only with a refresh token, of which \
             Ring says whose it is",
        )
    }

    /// 503, because the store's disk hangs.
    pub(super) fn hangs() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store's disk does not answer; a change that was asked for may still be made",
        )
    }

    /// 500.
    pub(super) fn internal(words: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, words)
    }

    pub(super) fn no_such_call(method: &str, path: &str) -> Self {
        Self::missing(format!("there is no call {method} {}", text(path)))
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut answer = answer::json(self.status, json!({"error": self.words}).to_string());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(SOON_S));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::Unavailable(_)
            | StoreError::Busy
            | StoreError::Full
            | StoreError::LowDisk
            | StoreError::NoRoomForSnapshot { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, unanswered.to_string())
    }
}

impl From<AccountRefusal> for Refusal {
    fn from(refusal: AccountRefusal) -> Self {
        match refusal {
            AccountRefusal::Unknown => Self::missing(refusal.to_string()),
            AccountRefusal::OtherUser(_) | AccountRefusal::AnotherAccount => {
                Self::conflict(refusal.to_string())
            }
        }
    }
}
