//! The status page: one document with its style and script, which asks the calls of the socket that it came through.

use std::sync::LazyLock;

use data_encoding::BASE64;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use sha2::{Digest, Sha256};

use crate::http::{Answer, answer};

const PAGE: &str = include_str!("page.html");

/// The same where calls need a token. The policy is the same, too: what differs is neither script nor style.
static LOCKED: LazyLock<String> = LazyLock::new(|| PAGE.replacen("<html ", "<html data-wants-token ", 1));

/// Nothing but the script and the style of the document runs, nothing is asked of others, and no text becomes markup.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(between("<script>", "</script>")),
        hash(between("<style>", "</style>")),
    );
    // Its bytes are all visible; without a policy the browser would load nothing less, so there is no page then.
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

fn between(start: &str, end: &str) -> &'static str {
    let from = PAGE.split_once(start).map_or("", |(_, rest)| rest);
    from.split_once(end).map_or("", |(content, _)| content)
}

fn hash(content: &str) -> String {
    format!("sha256-{}", BASE64.encode(&Sha256::digest(content)))
}

/// Whether a person's browser asks, at the place where programs are told where to look.
pub(super) fn is_wanted(head: &Parts) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|types| types.contains("text/html"));
    head.method == Method::GET && head.uri.path() == "/" && head.headers.get_all(ACCEPT).iter().any(accepts)
}

/// The page, which asks for a token first where calls need one.
pub(super) fn answer(wants_token: bool) -> Answer {
    let page = if wants_token { LOCKED.as_str() } else { PAGE };
    let mut answer = answer::text(StatusCode::OK, page);
    let fixed = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (VARY, "accept"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = answer.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    answer
}
