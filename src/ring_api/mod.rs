//! The client of Ring's OAuth and API: sends a call once, and says exactly what is known of how it came out.
//!
//! A refresh token is replaced whenever it is used, so a call whose end is unknown differs from one that never left, and no
//! call is ever repeated here: neither by a redirect nor on another connection. When to try again is decided by
//! [`domain::refresh`](crate::domain::refresh).
//!
//! ```text
//! connect ──▶ send ──▶ status ──▶ body
//!    │          │         │         │
//!    │          │         │         └─ 2xx: Answer, with the bytes that came where they can't be read
//!    │          │         └─ 429: NotSent (throttled); 4xx that say so: Refused; 5xx and all else: Unknown
//!    │          └─ Unknown
//!    └─ NotSent
//! ```
//!
//! An exchange of a token or a code is awaited until its connection ends, or for minutes: the answer may hold the only tokens that
//! live. Whoever is asked for something meanwhile has a patience of its own.
//!
//! What holds a secret here is overwritten after use. Out of reach are the buffers of hyper and rustls, where a request's
//! head and an answer lie until their connection ends or uses that room again.
//!
//! Facts: `POST` of a form to the token endpoint, answers and errors as in RFC 6749 (§4.1.3, §5, §6), and `GET /v1/users/me`
//! right after a code's exchange, `POST` and `PATCH /v1/accounts/me/app-integrations`: Ring's partner documentation. That the errors of Ring's OAuth are RFC 6749's is assumed.

mod answer;
mod current;
mod request;
mod said;
mod salvage;
mod settings;
mod unpack;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Uri};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

pub use answer::read_pair;
pub use current::Current;
pub use said::Said;
pub use salvage::may_hold_tokens;
pub use settings::{Settings, SettingsError};

use crate::clock::{self, RingClock};
use crate::domain::heard::{Heard, Objection};
use crate::domain::ids::AccountId;
use crate::domain::secret::Secret;
use crate::domain::tokens::Granted;
use crate::http_client::{self, Client, Failure, Limits};
use answer::Reply;

/// Ring, as one partner app sees it. Clones share their connections.
#[derive(Debug, Clone)]
pub struct RingApi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    token_endpoint: Uri,
    users_me: Uri,
    integrations: Uri,
    client_id: String,
    client_secret: Secret<String>,
    call_timeout: Duration,
    answer_timeout: Duration,
    max_answer: usize,
    ring_clock: RingClock,
}

impl RingApi {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`], in words for the operator.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let checked = settings.check()?;
        Ok(Self(Arc::new(Inner {
            client: http_client::client(checked.tls, &limits(settings.connect_timeout)),
            token_endpoint: checked.token_endpoint,
            users_me: checked.users_me,
            integrations: checked.integrations,
            client_id: settings.client_id,
            client_secret: settings.client_secret,
            call_timeout: settings.call_timeout,
            answer_timeout: settings.answer_timeout,
            max_answer: settings.max_answer,
            ring_clock: settings.ring_clock,
        })))
    }

    /// Gives a refresh token for a new pair.
    pub async fn refresh(&self, refresh_token: &Secret<String>) -> Said<Granted> {
        self.exchange("refresh_token", &[("refresh_token", refresh_token.expose())]).await
    }

    /// Gives an authorization code, which is good once and for 60 seconds, for an account's first pair. Only Ring's older flow
    /// has a verifier.
    pub async fn exchange_code(
        &self,
        code: &Secret<String>,
        verifier: Option<&Secret<String>>,
    ) -> Said<Granted> {
        let mut fields = vec![("code", code.expose().as_str())];
        fields.extend(verifier.map(|verifier| ("code_verifier", verifier.expose().as_str())));
        self.exchange("authorization_code", &fields).await
    }

    /// Whose account the access token is for. The call changes nothing at Ring and may be repeated.
    pub async fn me(&self, access_token: &Secret<String>) -> Said<AccountId> {
        self.with_token(request::get(&self.0.users_me, access_token), Reply::account).await
    }

    /// Tells Ring that a user who came with `nonce` has signed in; `identifier` is the user's masked name, shown to the Ring
    /// user. Ring mails that one, so it is not to be repeated lightly.
    pub async fn begin_link(
        &self,
        access_token: &Secret<String>,
        nonce: &str,
        identifier: Option<&str>,
    ) -> Said<()> {
        let mut document = json!({ "nonce": nonce });
        if let Some(identifier) = identifier {
            document["account_identifier"] = identifier.into();
        }
        self.integrate(Method::POST, access_token, &document).await
    }

    /// Tells Ring that the link is complete.
    pub async fn complete_link(&self, access_token: &Secret<String>) -> Said<()> {
        self.integrate(Method::PATCH, access_token, &json!({ "status": "completed" })).await
    }

    /// Asks Ring to pause the app on the account. It can't be removed by us: a DELETE of a one-way app is refused.
    pub async fn pause_link(&self, access_token: &Secret<String>) -> Said<()> {
        self.integrate(Method::PATCH, access_token, &json!({ "status": "awaiting" })).await
    }

    async fn integrate(&self, method: Method, access_token: &Secret<String>, document: &Value) -> Said<()> {
        let request = request::json(method, &self.0.integrations, access_token, document);
        self.with_token(request, Reply::integration).await
    }

    async fn with_token<T>(
        &self,
        request: Option<Request<Full<Bytes>>>,
        read: impl FnOnce(Reply) -> Said<T>,
    ) -> Said<T> {
        let Some(request) = request else {
            // Nothing that Ring gave.
            return Said::new(
                Heard::Refused(Objection::AccessToken),
                "the access token can't stand in a header",
            );
        };
        self.0.call(request, self.0.call_timeout, read).await
    }

    async fn exchange(&self, grant_type: &str, grant: &[(&str, &str)]) -> Said<Granted> {
        let ours = [
            ("grant_type", grant_type),
            ("client_id", &self.0.client_id),
            ("client_secret", self.0.client_secret.expose()),
        ];
        let request = request::post(&self.0.token_endpoint, &[&ours, grant].concat());
        self.0.call(request, self.0.answer_timeout, Reply::exchange).await
    }
}

/// Below the minute after which load balancers commonly close, so that few requests meet a connection that is being closed; and as
/// many as there are refreshes at a time by default. A peer that is gone is noticed after a minute, so that nobody waits for its
/// answer. Whether to send again is not for a pool to decide.
const fn limits(connect: Duration) -> Limits {
    Limits {
        connect,
        idle: Duration::from_secs(30),
        max_idle: 16,
        alive: Duration::from_secs(15),
        repeat_unsent: false,
        stuck: None,
        max_head: None,
    }
}

impl Inner {
    /// Sends `request` once, and has its answer read if there is one within `limit`.
    async fn call<T>(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        read: impl FnOnce(Reply) -> Said<T>,
    ) -> Said<T> {
        match self.send(request, limit).await {
            Ok(reply) => read(reply),
            Err(Failure::NotSent(why)) => Said::new(Heard::NO_CONNECTION, why),
            Err(Failure::Unknown(why)) => Said::new(Heard::SILENT, why),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Reply, Failure> {
        let deadline = clock::ticks() + limit;
        let asked = self.ring_clock.asked();
        // Connecting has a shorter limit of its own, so this one finds the request on its way.
        let answered = timeout_at(deadline, self.client.request(request)).await;
        let answer =
            answered.map_err(|_| Failure::no_answer_in_time())?.map_err(|error| Failure::of(&error))?;
        let (head, body) = answer.into_parts();
        if let Some(date) = http_client::date(&head.headers) {
            self.ring_clock.answered(date, asked);
        }
        let body = unpack::unpacked(read(body, self.max_answer, deadline).await, self.max_answer);
        let retry_after = http_client::retry_after(&head.headers, clock::now());
        Ok(Reply { status: head.status, retry_after, body })
    }
}

/// What comes of `body` until `deadline`, at most `cap` bytes: a part of an answer may still hold the tokens.
async fn read(mut body: Incoming, cap: usize, deadline: Instant) -> Zeroizing<Vec<u8>> {
    let announced = body.size_hint().upper().and_then(|n| usize::try_from(n).ok());
    // All the room at once, since a vector that grows leaves copies behind.
    let mut all = Zeroizing::new(Vec::with_capacity(announced.map_or(cap, |n| n.min(cap))));
    while all.len() < cap
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let piece = frame.into_data().unwrap_or_default();
        let room = cap - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    all
}

#[cfg(test)]
mod tests;
