//! Requests, whose secrets lie in memory that is overwritten when hyper lets go of it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::secret::Secret;

const AGENT: &str = concat!("ringhookd/", env!("CARGO_PKG_VERSION"));
/// What the form's encoding leaves as it is, but for `*`, which may be encoded too.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// A form.
pub(super) fn post(to: &Uri, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = request(Method::POST, to, form(fields));
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    request
}

/// `None` if the token can't stand in a header.
pub(super) fn get(from: &Uri, token: &Secret<String>) -> Option<Request<Full<Bytes>>> {
    with_bearer(request(Method::GET, from, Bytes::new()), token)
}

/// A JSON document; `None` if the token can't stand in a header.
pub(super) fn json(
    method: Method,
    to: &Uri,
    token: &Secret<String>,
    document: &Value,
) -> Option<Request<Full<Bytes>>> {
    let mut request = request(method, to, document.to_string().into());
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    with_bearer(request, token)
}

fn with_bearer(mut request: Request<Full<Bytes>>, token: &Secret<String>) -> Option<Request<Full<Bytes>>> {
    let value = Zeroizing::new([b"Bearer ", token.expose().as_bytes()].concat());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Some(request)
}

fn request(method: Method, to: &Uri, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = to.clone();
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request
}

fn form(fields: &[(&str, &str)]) -> Bytes {
    // Enough if every byte is encoded: a vector that grows leaves copies behind.
    let room = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut form = Zeroizing::new(Vec::with_capacity(room));
    for (name, value) in fields {
        if !form.is_empty() {
            form.push(b'&');
        }
        form.extend_from_slice(name.as_bytes());
        form.push(b'=');
        for piece in percent_encode(value.as_bytes(), ENCODED) {
            form.extend_from_slice(piece.as_bytes());
        }
    }
    Bytes::from_owner(form)
}
