//! What an answer means: its status first, then as little of its body as is needed.

use std::borrow::Cow;
use std::mem;
use std::time::Duration;

use hyper::StatusCode;
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::said::Said;
use super::salvage;
use crate::domain::heard::{Heard, Objection};
use crate::domain::ids::AccountId;
use crate::domain::secret::Secret;
use crate::domain::tokens::{Granted, TokenPair};

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
    pub(super) fn exchange(mut self) -> Said<Granted> {
        match self.status.as_u16() {
            200..300 => {
                let given = match read_pair(&self.body) {
                    Some(pair) => Granted::Pair(pair),
                    None => Granted::Unreadable(Secret::new(mem::take(&mut *self.body))),
                };
                Said::new(Heard::Answer(given), "")
            }
            400 | 401 => self.refusal(),
            429 | 500.. => self.said(|_| None),
            // The page of a proxy says nothing about a token.
            status => Said::new(Heard::SILENT, format!("HTTP {status}")),
        }
    }

    /// Only a code of RFC 6749 says whose fault it is.
    fn refusal(&self) -> Said<Granted> {
        #[derive(serde::Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            error: Cow<'a, str>,
        }
        let document: Option<Document<'_>> = object(&self.body);
        let status = self.status.as_u16();
        let (heard, why) = match document.as_ref().map(|document| &*document.error) {
            Some("invalid_grant") => (Heard::Refused(Objection::Grant), "invalid_grant"),
            Some("invalid_client") => (
                Heard::Refused(Objection::Client),
                "invalid_client: OAuth does not know our client_id or client_secret",
            ),
            Some("unauthorized_client") => (
                Heard::Refused(Objection::Client),
                "unauthorized_client: this app may not use this kind of grant",
            ),
            // These may be about one token, and must not hold up everybody else's.
            Some("invalid_request") => {
                (Heard::SILENT, "invalid_request: OAuth does not understand how we ask")
            }
            Some("invalid_scope") => (Heard::SILENT, "invalid_scope: OAuth does not grant what we ask for"),
            Some("unsupported_grant_type") => {
                (Heard::SILENT, "unsupported_grant_type: OAuth does not know this kind of grant")
            }
            _ => return Said::new(Heard::SILENT, format!("HTTP {status} without an error code of OAuth")),
        };
        Said::new(heard, why)
    }

    /// As the answer of app-integrations.
    pub(super) fn integration(self) -> Said<()> {
        let Said { heard, mut why } = self.said(|_| Some(()));
        why.extend(problem(&self.body).map(|words| format!(", {words}")));
        Said { heard, why }
    }

    /// As the answer to `GET /v1/users/me`.
    pub(super) fn account(self) -> Said<AccountId> {
        self.said(read_account)
    }

    /// By its status; `read` finds what a 2xx gives.
    fn said<T>(&self, read: impl FnOnce(&[u8]) -> Option<T>) -> Said<T> {
        let status = self.status.as_u16();
        let heard = match status {
            200..300 => match read(&self.body) {
                Some(given) => Heard::Answer(given),
                None => return Said::new(Heard::SILENT, "the answer can't be read"),
            },
            400 => Heard::Refused(Objection::Request),
            401 | 403 => Heard::Refused(Objection::AccessToken),
            404 => Heard::Refused(Objection::Missing),
            429 => Heard::throttled(self.retry_after),
            402..500 => Heard::Refused(Objection::Other),
            500.. => Heard::failed(self.retry_after),
            _ => Heard::SILENT,
        };
        Said::new(heard, format!("HTTP {status}"))
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
