//! Reads what a call brings: path, query and body, each bounded.

use std::time::Duration;

use crate::http::Body;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::refusal::{Refusal, Reply};
use crate::clock;
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::http::answer;
use crate::http::body::{BodyError, Received};

/// Largest body of a call; an import is sent in pieces of less.
pub const MAX_BODY: usize = 1 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The decoded segments of a path.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    path.trim_start_matches('/').split('/').map(decoded).collect()
}

fn decoded(text: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Refusal::bad("the address is not UTF-8 after percent decoding"))
}

/// The decoded `name=value` pairs of a query.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        };
        text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `name`, read by `read`; refused where it can't be read as `what`.
    pub(super) fn get<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some((_, value)) = self.0.iter().find(|(key, _)| key == name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Refusal::bad(format!("{name} in the address wants {what}")))
    }
}

pub(super) fn queue_name(text: &str) -> Result<QueueName, Refusal> {
    QueueName::new(text).ok_or_else(no_such_queue)
}

pub(super) fn no_such_queue() -> Refusal {
    Refusal::missing("there is no such queue: `ringhookd queue list` shows those that there are")
}

pub(super) fn account_id(text: &str) -> Result<AccountId, Refusal> {
    AccountId::new(text).map_err(|error| Refusal::bad(format!("the account id {error}")))
}

pub(super) fn user_id(text: &str) -> Result<UserId, Refusal> {
    UserId::new(text).map_err(|error| Refusal::bad(format!("the user {error}")))
}

/// A JSON document with 200.
pub(super) fn ok(document: &impl Serialize) -> Reply {
    match serde_json::to_string(document) {
        Ok(text) => Ok(answer::json(StatusCode::OK, text)),
        Err(error) => Err(Refusal::internal(error.to_string())),
    }
}

pub(super) async fn body(body: Body) -> Result<Received, Refusal> {
    let deadline = clock::ticks() + BODY_TIMEOUT;
    body.read(MAX_BODY, deadline).await.map_err(|error| {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        Refusal { status, words: error.to_string() }
    })
}

/// A body without secrets; an empty one is `{}`.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = self::body(body).await?;
    let text = if body.is_empty() { &b"{}"[..] } else { &body };
    serde_json::from_slice(text).map_err(|error| Refusal::bad(format!("the body can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_before_they_are_decoded() {
        assert_eq!(segments("/v1/accounts/a%2Fb%20c").unwrap(), ["v1", "accounts", "a/b c"]);
        assert!(segments("/v1/%ff").is_err());
    }

    #[test]
    fn queries_are_decoded_and_typed() {
        let query = Query::parse("last=5&queue=a%2Eb&flag").unwrap();
        assert_eq!(query.get("last", "a number", |v| v.parse::<u32>().ok()), Ok(Some(5)));
        assert_eq!(query.get("queue", "a name", |v| Some(v.to_owned())), Ok(Some("a.b".to_owned())));
        assert_eq!(query.get("none", "a name", |v| Some(v.to_owned())), Ok(None));
        let refused = query.get("flag", "a number", |v| v.parse::<u32>().ok()).unwrap_err();
        assert_eq!(refused.words, "flag in the address wants a number");
    }
}
