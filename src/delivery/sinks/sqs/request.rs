//! The request for a batch of messages, signed.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Uri};
use serde::Serialize;

use super::message::Entry;
use crate::domain::address::Receiver;
use crate::domain::sigv4::{self, Credentials, Scope};
use crate::domain::time::Millis;

const AGENT: &str = concat!("ringhookd/", env!("CARGO_PKG_VERSION"));
const JSON: &str = "application/x-amz-json-1.0";
const TARGET: &str = "x-amz-target";
const SEND: &str = "AmazonSQS.SendMessageBatch";

/// Makes the requests of one queue.
#[derive(Debug)]
pub(super) struct Requests {
    /// Of the service, with `/` as its path.
    to: Uri,
    host: String,
    queue_url: String,
    region: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<'a> {
    queue_url: &'a str,
    entries: &'a [Entry],
}

impl Requests {
    /// `None` where the address is not whole.
    pub(super) fn new(queue: &Receiver, region: String) -> Option<Self> {
        let uri = queue.uri();
        let host = uri.host()?;
        let usual = if queue.is_encrypted() { 443 } else { 80 };
        let host = match uri.port_u16().filter(|port| *port != usual) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let mut to = uri.clone().into_parts();
        to.path_and_query = Some("/".parse().ok()?);
        Some(Self { to: Uri::from_parts(to).ok()?, host, queue_url: uri.to_string(), region })
    }

    /// `None` where the credentials can't stand in headers.
    pub(super) fn of(
        &self,
        entries: &[Entry],
        credentials: &Credentials,
        now: Millis,
    ) -> Option<Request<Full<Bytes>>> {
        // Texts into memory can't fail.
        let body = serde_json::to_vec(&Batch { queue_url: &self.queue_url, entries }).ok()?;
        let signed_headers = [("content-type", JSON), ("host", self.host.as_str()), (TARGET, SEND)];
        let request = sigv4::Request { method: "POST", path: "/", headers: &signed_headers, body: &body };
        let scope = Scope { region: &self.region, service: "sqs" };
        let signed = sigv4::sign(&request, credentials, scope, now);
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.to.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(TARGET, HeaderValue::from_static(SEND));
        headers.insert(HOST, HeaderValue::from_str(&self.host).ok()?);
        headers.insert(sigv4::DATE, HeaderValue::try_from(signed.date).ok()?);
        headers.insert(AUTHORIZATION, secret(&signed.authorization)?);
        if let Some(token) = &credentials.session_token {
            headers.insert(HeaderName::from_static(sigv4::TOKEN), secret(token.expose())?);
        }
        Some(request)
    }
}

/// A value that is never shown.
pub(super) fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
