//! What an answer means: its status first, then as little of its body as is needed.

use std::borrow::Cow;
use std::mem;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::salvage;
use super::{ApiError, Exchange, Integration, TokenPair};
use crate::domain::confirm::Heard;
use crate::domain::ids::AccountId;
use crate::domain::secret::Secret;
use crate::domain::time::Millis;

/// "Typically 14400", says Ring.
const USUAL_LIFE: Duration = Duration::from_hours(4);
/// Less would have us refresh without end, more would be believed longer than any access token lives.
const SHORTEST_LIFE: Duration = Duration::from_mins(1);
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// Some writers put it in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of Ring's own words that are passed on.
const MOST_WORDS: usize = 200;

/// An answer, as far as it came and under the cap.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Reply {
    /// As the answer of the token endpoint.
    pub(super) fn exchange(mut self) -> Exchange {
        match self.status.as_u16() {
            200..300 => match read_pair(&self.body) {
                Some(pair) => Exchange::Renewed(pair),
                None => Exchange::Unreadable(Secret::new(mem::take(&mut *self.body))),
            },
            429 => Exchange::Throttled { retry_after: self.retry_after },
            400 | 401 => self.refusal(),
            status @ 500.. => {
                Exchange::Failed { why: format!("HTTP {status}"), retry_after: self.retry_after }
            }
            _ => Exchange::Unknown { why: format!("HTTP {}", self.status.as_u16()) },
        }
    }

    /// Only a code of RFC 6749 says whose fault it is: the page of a proxy says nothing about a token.
    fn refusal(&self) -> Exchange {
        #[derive(serde::Deserialize)]
        struct Refusal<'a> {
            #[serde(borrow)]
            error: Cow<'a, str>,
        }
        let refusal: Option<Refusal<'_>> = object(&self.body);
        let status = self.status.as_u16();
        let why = match refusal.as_ref().map(|refusal| &*refusal.error) {
            Some("invalid_grant") => return Exchange::Refused,
            Some("invalid_client") => {
                let why = "invalid_client: OAuth does not know our client_id or client_secret";
                return Exchange::ClientRefused { why: why.to_owned() };
            }
            Some("unauthorized_client") => {
                let why = "unauthorized_client: this app may not use this kind of grant";
                return Exchange::ClientRefused { why: why.to_owned() };
            }
            // These may be about one token, and must not hold up everybody else's.
            Some("invalid_request") => "invalid_request: OAuth does not understand how we ask".to_owned(),
            Some("invalid_scope") => "invalid_scope: OAuth does not grant what we ask for".to_owned(),
            Some("unsupported_grant_type") => {
                "unsupported_grant_type: OAuth does not know this kind of grant".to_owned()
            }
            _ => format!("HTTP {status} without an error code of OAuth"),
        };
        Exchange::Unknown { why }
    }

    /// As the answer of app-integrations.
    pub(super) fn integration(&self) -> Integration {
        let status = self.status.as_u16();
        let heard = match status {
            200..300 => Heard::Accepted,
            400 => Heard::Invalid,
            401 | 403 => Heard::Unauthorized,
            404 => Heard::Missing,
            429 => Heard::NotSent,
            402..500 => Heard::Rejected,
            _ => Heard::Unknown,
        };
        let why = problem(&self.body)
            .map_or_else(|| format!("HTTP {status}"), |why| format!("HTTP {status}, {why}"));
        Integration { heard, why, throttled: status == 429, retry_after: self.retry_after }
    }

    /// As the answer to `GET /v1/users/me`.
    pub(super) fn account(&self) -> Result<AccountId, ApiError> {
        let unavailable = |why: String| Err(ApiError::Unavailable { why, retry_after: self.retry_after });
        match self.status.as_u16() {
            200..300 => match read_account(&self.body) {
                Some(account) => Ok(account),
                None => unavailable("an answer without a readable account id".to_owned()),
            },
            401 | 403 => Err(ApiError::Unauthorized),
            429 => Err(ApiError::Throttled { retry_after: self.retry_after }),
            status @ 500.. => unavailable(format!("HTTP {status}")),
            status => Err(ApiError::Refused { status }),
        }
    }
}

/// The first error of a JSON:API document, as `title: detail`; nothing where there is none.
fn problem(raw: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Vec<Problem>,
    }
    #[derive(serde::Deserialize)]
    struct Problem {
        title: Option<String>,
        detail: Option<String>,
    }
    let first = object::<Document>(raw)?.errors.into_iter().next()?;
    let words: Vec<_> = [first.title, first.detail].into_iter().flatten().collect();
    let words = words.join(": ");
    let end = words.floor_char_boundary(MOST_WORDS);
    (end > 0).then(|| words[..end].to_owned())
}

/// The pair in an answer of OAuth: one JSON object with an access token that can be used, and a refresh token that is a string or
/// missing. Neither may be there twice. What else is odd is made good. Of an answer that is damaged both tokens are taken where there
/// is one reading only; `None` where there is not.
///
/// A token with an escape in its JSON passes through a buffer of `serde_json` that is not overwritten.
pub fn read_pair(raw: &[u8]) -> Option<TokenPair> {
    let raw = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw);
    whole_pair(raw).or_else(|| {
        let (access_token, refresh_token) = salvage::pair(raw)?;
        let expires_in = salvage::seconds(raw).map_or(USUAL_LIFE, clamped);
        Some(TokenPair {
            access_token,
            refresh_token: Some(refresh_token),
            expires_in,
            scope: None,
            damaged: true,
        })
    })
}

fn whole_pair(raw: &[u8]) -> Option<TokenPair> {
    #[derive(serde::Deserialize)]
    struct Granted<'a> {
        #[serde(deserialize_with = "secret")]
        access_token: Secret<String>,
        #[serde(default, deserialize_with = "maybe_secret")]
        refresh_token: Option<Secret<String>>,
        #[serde(borrow)]
        expires_in: Option<&'a RawValue>,
        #[serde(borrow)]
        scope: Option<&'a RawValue>,
    }
    let granted: Granted<'_> = object(raw)?;
    // RFC 6749, A.12: visible characters and spaces; anything else can't stand in a header.
    let token = granted.access_token.expose();
    let usable = !token.is_empty() && token.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    usable.then(|| TokenPair {
        access_token: granted.access_token,
        refresh_token: granted.refresh_token.filter(|token| !token.expose().is_empty()),
        expires_in: lifetime(granted.expires_in),
        scope: granted.scope.and_then(|scope| serde_json::from_str(scope.get()).ok()),
        damaged: false,
    })
}

/// Seconds as a number or, seen with other servers, as a string of one.
fn lifetime(expires_in: Option<&RawValue>) -> Duration {
    let seconds = expires_in.and_then(|raw| raw.get().trim_matches('"').parse::<f64>().ok());
    seconds.filter(|seconds| !seconds.is_nan()).map_or(USUAL_LIFE, clamped)
}

fn clamped(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(SHORTEST_LIFE.as_secs_f64(), LONGEST_LIFE.as_secs_f64()))
}

fn read_account(raw: &[u8]) -> Option<AccountId> {
    #[derive(serde::Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    #[derive(serde::Deserialize)]
    struct User<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let document: Document<'_> = object(raw)?;
    let user: User<'_> = object(document.data.get().as_bytes())?;
    AccountId::new(&user.id).ok()
}

/// Seconds, also with a fraction, or a date (RFC 9110 §10.2.3), which counts from the answer's own date where it has one: clocks
/// differ. Nothing where it says nothing.
pub(super) fn retry_after(headers: &HeaderMap, now: Millis) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse::<f64>() {
        let sensible = seconds.is_finite() && seconds >= 0.0;
        return sensible.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    Some(Millis::of_http_date(asked)?.since(date(headers).unwrap_or(now)))
}

/// When Ring made the answer, by its clock.
pub(super) fn date(headers: &HeaderMap) -> Option<Millis> {
    Millis::of_http_date(headers.get(DATE)?.to_str().ok()?)
}

/// serde would also take an array for a struct.
fn object<'a, T: Deserialize<'a>>(raw: &'a [u8]) -> Option<T> {
    let is_object = raw.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(raw).ok()).flatten()
}

/// Wrapped at once, so that it is overwritten even if the rest can't be read.
fn secret<'de, D: Deserializer<'de>>(json: D) -> Result<Secret<String>, D::Error> {
    String::deserialize(json).map(Secret::new)
}

fn maybe_secret<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Secret<String>>, D::Error> {
    Option::<String>::deserialize(json).map(|token| token.map(Secret::new))
}
