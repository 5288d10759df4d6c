//! The entry for a caller who knows only the socket: where to look, and the `OpenAPI` description of all calls.

use hyper::StatusCode;
use serde_json::json;

use super::Reply;
use super::request::ok;
use super::session::Session;
use crate::http::answer;

/// Where the description is served; `docs/openapi.json` is the same text.
const PATH: &str = "/v1/openapi.json";
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Every socket may ask: it tells nothing of accounts, and of the configuration what the caller may do.
pub(super) fn root(session: &Session) -> Reply {
    ok(&json!({
        "name": "ringhookd",
        "version": env!("CARGO_PKG_VERSION"),
        "openapi": PATH,
        "calls": session.calls(),
        "sees_all": session.sees_all(),
        "documentation": "docs/API.md has every call with examples; `ringhookd --help` lists the commands",
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "it is what calls end with")]
pub(super) fn openapi() -> Reply {
    Ok(answer::json(StatusCode::OK, OPENAPI))
}
