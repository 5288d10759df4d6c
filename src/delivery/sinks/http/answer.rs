//! What an answer means, and the words that operators read of it: the receiver's own, without its address's path and our secrets.

use std::time::Duration;

use data_encoding::BASE64;
use hyper::header::{HeaderMap, LOCATION};
use hyper::{StatusCode, Uri};

use crate::domain::address::Receiver;
use crate::domain::secret::Secret;
use crate::domain::standard_webhooks::SigningKey;
use crate::domain::time::Millis;
use crate::http_client::{Failure, retry_after};
use crate::logging;

/// Bytes of a receiver's own words that are passed on.
const MOST_WORDS: usize = 200;
/// After 410 one event is tried again so often.
const GONE: Duration = Duration::from_hours(1);
/// Shorter ones are no secret, and common in any text.
const SHORTEST_HIDDEN: usize = 4;

/// How one request came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx: the receiver has it.
    Taken,
    /// 4xx: this event is not taken.
    Refused { why: String },
    /// 500 and the like: the receiver fails at this event, or at all.
    Broken { why: String },
    /// No event would fare better.
    Hindered(Obstacle),
}

/// Why the receiver takes nothing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) retry_after: Option<Duration>,
    pub(super) why: String,
    /// It asked for an end, with 410.
    pub(super) gone: bool,
}

impl Obstacle {
    /// One that does not say how long it lasts.
    pub(super) fn brief(why: String) -> Self {
        Self { retry_after: None, why, gone: false }
    }
}

/// Puts answers into words.
pub(super) struct Words {
    receiver: Receiver,
    /// What must not be shown, though the receiver repeats it, the longest first.
    hidden: Vec<Secret<String>>,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words({})", self.receiver)
    }
}

impl Words {
    pub(super) fn new(url: &Receiver, keys: &[SigningKey], bearer: Option<&Secret<String>>) -> Self {
        let path = url.uri().path_and_query().map(|path| path.as_str().to_owned());
        let token = bearer.map(|token| token.expose().clone());
        let encoded = token.as_ref().map(|token| BASE64.encode(token.as_bytes()));
        let secrets = keys.iter().map(|key| key.text().expose().clone());
        let bare = keys.iter().filter_map(|key| Some(key.text().expose().strip_prefix("whsec_")?.to_owned()));
        let hidden = secrets.chain(bare).chain(path).chain(token).chain(encoded);
        let mut hidden: Vec<_> =
            hidden.filter(|text| text.len() >= SHORTEST_HIDDEN).map(Secret::new).collect();
        hidden.sort_by_key(|text| std::cmp::Reverse(text.expose().len()));
        Self { receiver: url.clone(), hidden }
    }

    /// There was none.
    pub(super) fn unanswered(&self, failure: &Failure) -> Answer {
        let (Failure::NotSent(why) | Failure::Unknown(why)) = failure;
        Answer::Hindered(Obstacle::brief(format!("{}: {why}", self.receiver)))
    }

    /// One that is not 2xx.
    pub(super) fn answered(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Answer {
        let why = self.why(status, body);
        match status.as_u16() {
            300..400 => Answer::Hindered(Obstacle::brief(format!("{why}{}", redirect(headers)))),
            410 => Answer::Hindered(Obstacle {
                retry_after: Some(GONE),
                why: format!(
                    "{why}: it wants no more events. The queue is stopped, and one event is tried every hour: change its url, or take \
                     the queue out of the configuration"
                ),
                gone: true,
            }),
            408 | 425 | 429 | 502..=504 => {
                let retry_after = retry_after(headers, now);
                Answer::Hindered(Obstacle { retry_after, why, gone: false })
            }
            400..500 => Answer::Refused { why },
            500..600 => Answer::Broken { why },
            _ => Answer::Hindered(Obstacle::brief(why)),
        }
    }

    fn why(&self, status: StatusCode, body: &[u8]) -> String {
        let said = self.said(body);
        let colon = if said.is_empty() { "" } else { ": " };
        let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{} answered {}{reason}{colon}{said}", self.receiver, status.as_u16())
    }

    /// The first bytes of a body, as a line may hold them.
    fn said(&self, body: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(body).into_owned();
        for hidden in &self.hidden {
            text = text.replace(hidden.expose().as_str(), "[hidden]");
        }
        let text = text.trim();
        logging::text(&text[..text.floor_char_boundary(MOST_WORDS)]).to_string()
    }
}

/// Where a redirect leads, as far as it may be told: a path may be a secret.
fn redirect(headers: &HeaderMap) -> String {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| to.parse::<Uri>().ok());
    let host = to.as_ref().and_then(Uri::host).map(|host| format!(" to {}", logging::text(host)));
    format!(". No redirect{} is followed: write the right address as url", host.unwrap_or_default())
}
