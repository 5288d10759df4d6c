//! What Ring and its user's browser call: the token exchange URL, and the account link URL that leads to the partner's own
//! sign-in.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY};
use hyper::{Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::request::{self, CodeRequest};
use crate::clock;
use crate::config;
use crate::domain::code::{Grant, NoRoom};
use crate::domain::limiter::Limiter;
use crate::domain::visit::Visit;
use crate::http::body::BodyError;
use crate::http::routes::Route;
use crate::http::{Answer, Body, answer};
use crate::telemetry::{CodeRequest as Answered, Metrics};
use crate::test_events::TestEvents;
use crate::tokens::TokenService;

/// A code with everything around it is far below this.
const MAX_BODY: usize = 16 << 10;
/// Codes that wait for the disk at a time: whoever knows the address can call it.
const AT_ONCE: usize = 64;
/// Log lines a minute for each way to answer.
const LINES: u32 = 6;

/// Takes codes, and leads browsers on.
#[derive(Debug)]
pub struct Endpoint {
    settings: config::Linking,
    webhook: config::Webhook,
    tokens: Arc<TokenService>,
    metrics: Metrics,
    test_events: Arc<TestEvents>,
    room: Semaphore,
    lines: Mutex<Limiter<Answered>>,
}

impl Endpoint {
    /// Codes have the time that webhooks have.
    pub fn new(
        settings: config::Linking,
        webhook: config::Webhook,
        tokens: Arc<TokenService>,
        metrics: Metrics,
        test_events: Arc<TestEvents>,
    ) -> Self {
        let (room, lines) = (Semaphore::new(AT_ONCE), Mutex::new(Limiter::new(LINES)));
        Self { settings, webhook, tokens, metrics, test_events, room, lines }
    }

    /// The place of both URLs in the route table. Ring does not say how it calls, so a code is taken by three methods.
    pub fn routes(self: &Arc<Self>) -> Vec<Route> {
        let taker = Arc::clone(self);
        let take = move |request| Arc::clone(&taker).take_code(request);
        let mut routes = vec![Route::new(&self.settings.code_path, &["POST", "PUT", "GET"], take)];
        if let Some(page) = self.settings.sign_in_url.clone() {
            let lead_on = move |request: Request<Body>| std::future::ready(lead_on(&page, &request));
            routes.push(Route::new(&self.settings.link_path, &["GET", "HEAD"], lead_on));
        }
        routes
    }

    /// Answers one call of the token exchange URL.
    async fn take_code(self: Arc<Self>, request: Request<Body>) -> Answer {
        let answered = match self.code(request).await {
            Ok(answered) | Err(answered) => answered,
        };
        self.metrics.code_request(answered);
        match answered {
            Answered::Taken | Answered::Test => answer::json(StatusCode::OK, r#"{"status":"ok"}"#),
            Answered::Unreadable => {
                answer::json(StatusCode::BAD_REQUEST, r#"{"error":"there is no authorization code in it"}"#)
            }
            Answered::TooLarge => answer::empty(StatusCode::PAYLOAD_TOO_LARGE),
            Answered::TooMany | Answered::Unavailable | Answered::NoBody => {
                // Its user may be here already.
                self.tokens.sent_code_back();
                answer::retry_after(1)
            }
        }
    }

    async fn code(&self, request: Request<Body>) -> Result<Answered, Answered> {
        let started = clock::ticks();
        let (head, body) = request.into_parts();
        let deadline = started + self.webhook.body_timeout;
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
        // It is made up, so it is neither stored nor sent to OAuth.
        if self.test_events.has_code(code.expose()) && self.tokens.takes_codes() {
            return Ok(Answered::Test);
        }
        let taking = self.tokens.take_code(Grant { code, verifier });
        let taken = timeout_at(started + self.webhook.answer_within, taking).await;
        match taken.unwrap_or_else(|_| Err(NoRoom::Store("it takes too long".to_owned()))) {
            Ok(()) => {
                self.say(Answered::Taken, &"durable", Some(&shape));
                Ok(Answered::Taken)
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

/// To the partner's own page: nowhere else, whatever the request says, and with nothing of it but a visit's two fields.
fn lead_on(page: &str, request: &Request<Body>) -> Answer {
    let visit = Visit::of_query(request.uri().query().unwrap_or_default());
    let to = visit.ok().and_then(|visit| {
        let joint = if page.contains('?') { '&' } else { '?' };
        HeaderValue::from_str(&format!("{page}{joint}{}", visit.to_query())).ok()
    });
    let mut answer = match to {
        Some(to) => {
            let mut answer = answer::empty(StatusCode::SEE_OTHER);
            answer.headers_mut().insert(LOCATION, to);
            answer
        }
        None => {
            answer::text(StatusCode::BAD_REQUEST, "This link is not complete. Begin again in the Ring app.\n")
        }
    };
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}
