//! What an answer means, and the words that operators read of it: the receiver's own, without its address's path and our secrets.

use std::time::Duration;

use data_encoding::BASE64;
use hyper::header::{HeaderMap, LOCATION};
use hyper::{StatusCode, Uri};

use crate::delivery::sinks::lanes::{Answer, Obstacle};
use crate::delivery::sinks::words::Words;
use crate::domain::address::Receiver;
use crate::domain::secret::Secret;
use crate::domain::standard_webhooks::SigningKey;
use crate::domain::time::Millis;
use crate::http_client::{Failure, retry_after};
use crate::logging;

/// After 410 one event is tried again so often.
const GONE: Duration = Duration::from_hours(1);
/// Puts answers into words.
#[derive(Debug)]
pub(super) struct Answers(Words);

impl Answers {
    pub(super) fn new(url: &Receiver, keys: &[SigningKey], bearer: Option<&Secret<String>>) -> Self {
        let path = url.uri().path_and_query().map(|path| path.as_str().to_owned());
        let token = bearer.map(|token| token.expose().clone());
        let encoded = token.as_ref().map(|token| BASE64.encode(token.as_bytes()));
        let secrets = keys.iter().map(|key| key.text().expose().clone());
        let bare = keys.iter().filter_map(|key| Some(key.text().expose().strip_prefix("whsec_")?.to_owned()));
        Self(Words::new(url, secrets.chain(bare).chain(path).chain(token).chain(encoded)))
    }

    pub(super) fn of_receiver(&self, why: &str) -> String {
        self.0.of_receiver(why)
    }

    /// There was none.
    pub(super) fn unanswered(&self, failure: &Failure) -> Answer {
        let (Failure::NotSent(why) | Failure::Unknown(why)) = failure;
        Answer::Hindered(Obstacle::brief(self.0.of_receiver(why)))
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
            }),
            408 | 425 | 429 | 502..=504 => {
                let retry_after = retry_after(headers, now);
                Answer::Hindered(Obstacle { retry_after, why })
            }
            // The same body is too large at each attempt.
            413 => Answer::Refused { why },
            400..500 => Answer::Failed { why },
            500..600 => Answer::Broken { why },
            _ => Answer::Hindered(Obstacle::brief(why)),
        }
    }

    fn why(&self, status: StatusCode, body: &[u8]) -> String {
        let said = self.0.said(&String::from_utf8_lossy(body));
        let colon = if said.is_empty() { "" } else { ": " };
        let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{} answered {}{reason}{colon}{said}", self.0.receiver(), status.as_u16())
    }
}

/// Where a redirect leads, as far as it may be told: a path may be a secret.
fn redirect(headers: &HeaderMap) -> String {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| to.parse::<Uri>().ok());
    let host = to.as_ref().and_then(Uri::host).map(|host| format!(" to {}", logging::text(host)));
    format!(". No redirect{} is followed: write the right address as url", host.unwrap_or_default())
}
