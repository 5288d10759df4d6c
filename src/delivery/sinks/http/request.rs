//! The request for an event: its format, its id, its signatures, the receiver's token.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use zeroize::Zeroizing;

use crate::domain::address::Receiver;
use crate::domain::format::Format;
use crate::domain::secret::Secret;
use crate::domain::standard_webhooks::{self as webhooks, SigningKey};
use crate::domain::time::Millis;
use crate::store::Leased;

const AGENT: &str = concat!("ringhookd/", env!("CARGO_PKG_VERSION"));
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// Makes the requests of one queue.
#[derive(Debug)]
pub(super) struct Requests {
    url: Receiver,
    format: Format,
    keys: Vec<SigningKey>,
    bearer: Option<HeaderValue>,
}

impl Requests {
    /// `None` if the token can't stand in a header.
    pub(super) fn new(
        url: Receiver,
        format: Format,
        keys: Vec<SigningKey>,
        bearer: Option<Secret<String>>,
    ) -> Option<Self> {
        let bearer = match bearer {
            Some(token) => Some(authorization(&token)?),
            None => None,
        };
        Some(Self { url, format, keys, bearer })
    }

    pub(super) fn of(&self, leased: &Leased, now: Millis) -> Request<Full<Bytes>> {
        let Leased { seq, attempt, event } = leased;
        let mut headers = Vec::new();
        let body = match self.format {
            Format::CloudEvents => {
                headers.push((CONTENT_TYPE.as_str().to_owned(), STRUCTURED.to_owned()));
                event.cloudevent(*seq, *attempt).into()
            }
            Format::CloudEventsBinary => {
                headers = event.cloudevent_headers(*seq, *attempt);
                event.body.clone()
            }
            Format::Raw => {
                headers.push((CONTENT_TYPE.as_str().to_owned(), "application/json".to_owned()));
                event.body.clone()
            }
        };
        let (id, timestamp) = (webhooks::id(&event.key), (now.0 / 1000).to_string());
        if !self.keys.is_empty() {
            let signatures = webhooks::sign(&self.keys, &id, &timestamp, &body);
            headers.push((webhooks::SIGNATURE.to_owned(), signatures));
        }
        headers.extend([(webhooks::ID.to_owned(), id), (webhooks::TIMESTAMP.to_owned(), timestamp)]);
        self.post(headers, body)
    }

    fn post(&self, headers: Vec<(String, String)>, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        let all = request.headers_mut();
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in headers {
            // Names are ours, and values are encoded: both always can.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                all.insert(name, value);
            }
        }
        if let Some(bearer) = &self.bearer {
            all.insert(AUTHORIZATION, bearer.clone());
        }
        request
    }
}

fn authorization(token: &Secret<String>) -> Option<HeaderValue> {
    let value = Zeroizing::new([b"Bearer ", token.expose().as_bytes()].concat());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    value.set_sensitive(true);
    Some(value)
}
