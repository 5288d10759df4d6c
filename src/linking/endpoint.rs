//! What Ring and its user's browser call: the token exchange URL, and the account link URL that leads to the partner's own
//! sign-in.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::request::{self, CodeRequest};
use crate::clock;
use crate::domain::code::{Grant, NoRoom};
use crate::domain::limiter::Limiter;
use crate::domain::visit::Visit;
use crate::http::body::BodyError;
use crate::http::routes::is_at;
use crate::http::{Answer, Body, answer};
use crate::telemetry::{CodeRequest as Answered, Metrics};
use crate::tokens::TokenService;

/// A code with everything around it is far below this.
const MAX_BODY: usize = 16 << 10;
/// Codes that wait for the disk at a time: whoever knows the address can call it.
const AT_ONCE: usize = 32;
/// Log lines a minute for each way to answer.
const LINES: u32 = 6;

/// What the operator decides about the URLs that Ring calls.
#[derive(Debug, Clone)]
pub struct Settings {
    pub code_path: String,
    pub link_path: String,
    /// The partner's page that signs users in; without it there is nothing at `link_path`.
    pub sign_in_url: Option<String>,
    pub body_timeout: Duration,
    /// Budget of a whole answer.
    pub answer_within: Duration,
}

/// Takes codes, and leads browsers on.
#[derive(Debug)]
pub struct Endpoint {
    settings: Settings,
    tokens: Arc<TokenService>,
    metrics: Metrics,
    room: Semaphore,
    lines: Mutex<Limiter<Answered>>,
}

impl Endpoint {
    pub fn new(settings: Settings, tokens: Arc<TokenService>, metrics: Metrics) -> Self {
        let (room, lines) = (Semaphore::new(AT_ONCE), Mutex::new(Limiter::new(LINES)));
        Self { settings, tokens, metrics, room, lines }
    }

    /// Whether requests to `path` are for here.
    pub fn is_for(&self, path: &str) -> bool {
        is_at(path, &self.settings.code_path)
            || is_at(path, &self.settings.link_path) && self.settings.sign_in_url.is_some()
    }

    /// Answers one request on the public listener.
    pub async fn handle(self: Arc<Self>, request: Request<Body>) -> Answer {
        if !is_at(request.uri().path(), &self.settings.code_path) {
            return self.lead_on(&request);
        }
        // Ring does not say how it calls.
        if !matches!(*request.method(), Method::POST | Method::PUT | Method::GET) {
            return not_allowed("POST, PUT, GET");
        }
        let answered = match self.code(request).await {
            Ok(()) => Answered::Taken,
            Err(answered) => answered,
        };
        self.metrics.code_request(answered);
        match answered {
            Answered::Taken => answer::json(StatusCode::OK, r#"{"status":"ok"}"#),
            Answered::Unreadable => {
                answer::json(StatusCode::BAD_REQUEST, r#"{"error":"there is no authorization code in it"}"#)
            }
            Answered::TooLarge => answer::empty(StatusCode::PAYLOAD_TOO_LARGE),
            Answered::TooMany | Answered::Unavailable | Answered::NoBody => answer::retry_after(1),
        }
    }

    async fn code(&self, request: Request<Body>) -> Result<(), Answered> {
        let started = clock::ticks();
        let (head, body) = request.into_parts();
        let deadline = started + self.settings.body_timeout;
        let body = body.read(MAX_BODY, deadline).await.map_err(|error| {
            let answered = match error {
                BodyError::TooLarge => Answered::TooLarge,
                BodyError::Busy => Answered::Unavailable,
                BodyError::TooSlow | BodyError::Broken => Answered::NoBody,
            };
            self.say(answered, &error, None);
            answered
        })?;
        let Ok(_room) = self.room.try_acquire() else {
            self.say(Answered::TooMany, &"too many calls at once", None);
            return Err(Answered::TooMany);
        };
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let found = request::read(head.uri.query(), content_type, &body);
        let CodeRequest { code, verifier, shape, .. } = found.map_err(|error| {
            self.say(Answered::Unreadable, &error, None);
            Answered::Unreadable
        })?;
        let taking = self.tokens.take_code(Grant { code, verifier });
        let taken = timeout_at(started + self.settings.answer_within, taking).await;
        match taken.unwrap_or_else(|_| Err(NoRoom::Store("it takes too long".to_owned()))) {
            Ok(()) => {
                self.say(Answered::Taken, &"durable", Some(&shape));
                Ok(())
            }
            Err(error) => {
                let answered = match error {
                    NoRoom::TooMany => Answered::TooMany,
                    NoRoom::NotConfigured | NoRoom::Store(_) => Answered::Unavailable,
                };
                self.say(answered, &error, Some(&shape));
                Err(answered)
            }
        }
    }

    /// To the partner's own page: nowhere else, whatever the request says, and with nothing of it but a visit's two fields.
    fn lead_on(&self, request: &Request<Body>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        let visit = Visit::of_query(request.uri().query().unwrap_or_default());
        let to = self.settings.sign_in_url.as_deref().zip(visit.ok()).and_then(|(page, visit)| {
            let joint = if page.contains('?') { '&' } else { '?' };
            HeaderValue::from_str(&format!("{page}{joint}{}", visit.to_query())).ok()
        });
        let mut answer = match to {
            Some(to) => {
                let mut answer = answer::empty(StatusCode::SEE_OTHER);
                answer.headers_mut().insert(LOCATION, to);
                answer
            }
            None => answer::text(
                StatusCode::BAD_REQUEST,
                "This link is not complete. Begin again in the Ring app.\n",
            ),
        };
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        answer
    }

    /// Says how a call was answered, a few times a minute for each way, with its shape and never a value.
    fn say(&self, answered: Answered, why: &dyn Display, shape: Option<&dyn Display>) {
        let passed = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(answered, clock::now());
        let Some(silent_before) = passed else { return };
        let (outcome, shape) = (answered.as_str(), shape.map(ToString::to_string));
        if answered == Answered::Taken {
            tracing::info!(shape, silent_before, "an authorization code has come");
        } else {
            tracing::warn!(outcome, %why, shape, silent_before, "no authorization code was taken");
        }
    }
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut refusal = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}
