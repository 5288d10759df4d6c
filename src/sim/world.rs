//! Everything the simulated Ring knows, and how it answers a request: no socket, no clock, no waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::api;
use super::call::{Call, Reply};
use super::fault::{Fault, Kind, Place};
use super::faults::{Due, Faults};
use super::integrations::{Integrations, LinkState};
use super::ledger::{Exchange, Ledger, Outcome};
use super::oauth::{ACCESS_LIFE, Granted, OAuth, Refusal, is_refresh_token};
use super::rate::{Allowance, Rate};
use crate::domain::time::Millis;

/// What a partner's app shows at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub secret: String,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) oauth: OAuth,
    pub(super) faults: Faults,
    pub(super) integrations: Integrations,
    pub(super) ledger: Ledger,
    pub(super) rate: Rate,
    pub(super) requests: HashMap<Place, u64>,
    client: Client,
}

/// A request that was let in.
#[derive(Debug)]
pub(super) struct Begun {
    place: Place,
    /// Whose token or code came with it, and of which generation.
    pub(super) account: Option<Arc<str>>,
    generation: Option<u32>,
    pub(super) due: Due,
    allowance: Option<Allowance>,
}

impl World {
    pub(super) fn new(oauth: OAuth, integrations: Integrations, rate: Rate, client: Client) -> Self {
        Self {
            oauth,
            faults: Faults::default(),
            integrations,
            ledger: Ledger::default(),
            rate,
            requests: HashMap::new(),
            client,
        }
    }

    /// Counts a request at the endpoint of its path and takes the faults that are due for it. `at` is any clock's that is
    /// never set.
    ///
    /// # Errors
    /// The answer to one that is not let in.
    pub(super) fn begin(&mut self, call: &Call, now: Millis, at: Duration) -> Result<Begun, Reply> {
        let Some(place) = api::place(&call.method, &call.path) else {
            return Err(Reply::problem(404, "Not Found", "there is no such path"));
        };
        *self.requests.entry(place).or_default() += 1;
        let allowance = self.rate.count(at);
        if let Some(Allowance { remaining: None, .. }) = allowance {
            let reply = too_many(place, "1");
            return Err(limits(reply, allowance));
        }
        let (account, generation) = self.whose(place, call, now);
        let due = self.faults.take(place, account.as_deref());
        Ok(Begun { place, account, generation, due, allowance })
    }

    fn whose(&self, place: Place, call: &Call, now: Millis) -> (Option<Arc<str>>, Option<u32>) {
        if place != Place::OAuth {
            let bearer = call.bearer.as_deref();
            return (bearer.and_then(|token| self.oauth.bearer(token, now)), None);
        }
        let form = call.form().unwrap_or_default();
        let token = form.get("refresh_token").or_else(|| form.get("code"));
        match token.and_then(|token| self.oauth.owner(token)) {
            Some((account, generation)) => (Some(account), generation),
            None => (None, None),
        }
    }

    /// Works on a request and spoils the answer as it is due. Nothing is a connection closed without an answer.
    pub(super) fn work(&mut self, call: &Call, begun: &Begun, now: Millis) -> Option<Reply> {
        let instead = begun.due.kind.as_ref().and_then(|kind| instead(kind, begun.place));
        if instead.is_some() || begun.due.kind == Some(Kind::LostRequest) {
            if begun.place == Place::OAuth {
                self.note(begun, Outcome::NotWorkedOn, now);
            }
            return instead;
        }
        let mut reply = match begun.place {
            Place::OAuth => self.token(call, begun, now),
            place => self.api(place, call, now),
        };
        match &begun.due.kind {
            Some(Kind::LostAnswer) => return None,
            Some(Kind::StatusAfterWork(status)) => reply = failure(begun.place, *status),
            Some(Kind::Truncated) => reply.truncate(),
            Some(Kind::DuplicateKeys) => reply.duplicate_key(),
            Some(Kind::StrayComma) => reply.end_in(",}"),
            Some(Kind::Unfinished) => reply.end_in(""),
            Some(Kind::ByteOrderMark) => reply.body.insert(0, '\u{feff}'),
            _ => {}
        }
        Some(limits(reply, begun.allowance))
    }

    fn note(&mut self, begun: &Begun, outcome: Outcome, now: Millis) {
        let name = |kind: &Kind| Fault { place: begun.place, kind: kind.clone() }.to_string();
        self.ledger.note(Exchange {
            account: begun.account.clone(),
            generation: begun.generation,
            at: now,
            outcome,
            fault: begun.due.kind.as_ref().map(name),
        });
    }

    fn token(&mut self, call: &Call, begun: &Begun, now: Millis) -> Reply {
        if call.method != Method::POST {
            return Reply::problem(405, "Method Not Allowed", "POST is due").with("allow", "POST");
        }
        let granted = self.exchange(call, begun.due.kind.as_ref(), now);
        let outcome = match &granted {
            Ok(granted) => Outcome::Granted(granted.generation),
            Err(refused) => Outcome::Refused(refused.error),
        };
        self.note(begun, outcome, now);
        match granted {
            Ok(granted) => token_answer(&granted, begun.due.kind.as_ref()),
            Err(Refused { status, error, description }) => Reply::refusal(status, error, &description),
        }
    }

    fn exchange(&mut self, call: &Call, fault: Option<&Kind>, now: Millis) -> Result<Granted, Refused> {
        let form = call.form().map_err(|words| Refused::bad("invalid_request", words))?;
        let field = |name: &str| form.get(name).map(String::as_str);
        let known = field("client_id") == Some(&self.client.id);
        if !known || field("client_secret") != Some(&self.client.secret) {
            let description = "client_id or client_secret is missing or wrong".into();
            return Err(Refused { status: 401, error: "invalid_client", description });
        }
        let missing = |name: &str| Refused::bad("invalid_request", format!("{name} is missing"));
        match field("grant_type") {
            Some("refresh_token") => {
                let token = field("refresh_token").ok_or_else(|| missing("refresh_token"))?;
                let rotate = !matches!(fault, Some(Kind::SameRefreshToken | Kind::NoRefreshToken));
                Ok(self.oauth.refresh(token, rotate, now)?)
            }
            Some("authorization_code") => {
                let code = field("code").ok_or_else(|| missing("code"))?;
                Ok(self.oauth.exchange_code(code, now)?)
            }
            Some(other) => {
                Err(Refused::bad("unsupported_grant_type", format!("there is no grant_type {other}")))
            }
            None => Err(missing("grant_type")),
        }
    }

    fn api(&mut self, place: Place, call: &Call, now: Millis) -> Reply {
        let token = call.bearer.as_deref();
        let account = match token.and_then(|token| self.oauth.bearer(token, now)) {
            Some(account) => account,
            None if token.is_none_or(is_refresh_token) => {
                return Reply::problem(401, "Unauthorized", "an access token is due as the bearer");
            }
            None => {
                return Reply::problem(403, "Forbidden", "the access token is unknown, expired or revoked");
            }
        };
        let body = || call.json().unwrap_or_default();
        match (place, call.method.as_str()) {
            (Place::UsersMe, "GET") => api::user(&account),
            (Place::Devices, "GET") => api::devices(&account),
            (Place::LinkPost, "POST") => self.integrations.post(&account, &body(), now),
            (Place::LinkPatch, "PATCH") => self.integrations.patch(&account, &body(), now),
            (Place::LinkPost, "DELETE") => {
                Reply::problem(403, "Forbidden", "one-way apps are removed by the user")
            }
            _ => Reply::problem(405, "Method Not Allowed", "not at this path"),
        }
    }

    /// A linked account and its tokens; a known one gets new ones.
    pub(super) fn link(&mut self, account: &str, now: Millis) -> Granted {
        self.integrations.set(account, LinkState::Completed);
        self.oauth.link(account, now)
    }

    /// The user adds the app, or taps *Sign In* once more.
    pub(super) fn new_code(&mut self, account: &str, now: Millis) -> String {
        if self.integrations.state(account).is_none() {
            self.integrations.set(account, LinkState::Added);
        }
        self.oauth.new_code(account, now)
    }

    /// The user adds the app, whatever there was of it before.
    pub(super) fn install(&mut self, account: &str, now: Millis) -> String {
        self.integrations.set(account, LinkState::Added);
        self.oauth.new_code(account, now)
    }

    /// The user removes the app. Whether there was such an account.
    pub(super) fn revoke(&mut self, account: &str) -> bool {
        self.integrations.remove(account);
        self.oauth.revoke(account)
    }
}

/// Why the token endpoint gives nothing.
struct Refused {
    status: u16,
    error: &'static str,
    description: String,
}

impl Refused {
    fn bad(error: &'static str, description: String) -> Self {
        Self { status: 400, error, description }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::bad("invalid_grant", refusal.to_string())
    }
}

fn token_answer(granted: &Granted, fault: Option<&Kind>) -> Reply {
    let mut answer = json!({
        "access_token": granted.pair.access,
        "refresh_token": granted.pair.refresh,
        "scope": "ava.v1:read",
        "expires_in": ACCESS_LIFE.as_secs(),
        "token_type": "Bearer",
    });
    let mut leave_out = |key: &str| {
        if let Some(fields) = answer.as_object_mut() {
            fields.remove(key);
        }
    };
    match fault {
        Some(Kind::NoRefreshToken) => leave_out("refresh_token"),
        Some(Kind::NoExpiresIn) => leave_out("expires_in"),
        Some(Kind::AbsurdExpiresIn(value)) => answer["expires_in"] = value.clone(),
        _ => {}
    }
    Reply::json(200, &answer).with("cache-control", "no-store")
}

/// What a fault answers in place of any work.
fn instead(kind: &Kind, place: Place) -> Option<Reply> {
    Some(match kind {
        Kind::Status(status) => failure(place, *status),
        Kind::Throttled(Some(when)) => too_many(place, when),
        Kind::Throttled(None) => failure(place, 429),
        Kind::Html => Reply::html(200),
        Kind::InvalidGrant => Reply::refusal(400, "invalid_grant", "simulated, the token is as it was"),
        Kind::InvalidClient => Reply::refusal(401, "invalid_client", "simulated, nothing is wrong with it"),
        _ => return None,
    })
}

fn failure(place: Place, status: u16) -> Reply {
    match place {
        Place::OAuth => Reply::refusal(status, "server_error", "simulated"),
        _ => Reply::problem(status, "Simulated", "a fault that was asked for"),
    }
}

fn too_many(place: Place, when: &str) -> Reply {
    failure(place, 429).with("retry-after", when)
}

fn limits(reply: Reply, allowance: Option<Allowance>) -> Reply {
    let Some(Allowance { limit, remaining }) = allowance else { return reply };
    let remaining = remaining.unwrap_or(0);
    reply.with("x-ratelimit-limit", limit.to_string()).with("x-ratelimit-remaining", remaining.to_string())
}
