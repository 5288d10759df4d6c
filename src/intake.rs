//! Webhooks: verify, accept, answer. The answer comes only after the event is durable.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::mem::take;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use tokio::time::{Instant, timeout_at};
use tracing::field::{DisplayValue, display};
use tracing::{Level, enabled};

use crate::clock::{self, RingClock};
use crate::config::Webhook;
use crate::domain::dedup::Identity;
use crate::domain::envelope::{self, Envelope};
use crate::domain::event::Event;
use crate::domain::ids::AccountId;
use crate::domain::limiter::Limiter;
use crate::domain::marks::{Mark, Marks};
use crate::domain::minutes::{Minute, Minutes};
use crate::domain::receipt::Origin;
use crate::domain::signature::{Fingerprint, HEADER, Keys, Mismatch, Proof, Proofs, Refusal, Signature};
use crate::domain::status::LastRefusal;
use crate::domain::time::Millis;
use crate::domain::verdict::Verdict;
use crate::failpoint;
use crate::http::body::{BodyError, Received};
use crate::http::routes::{self, Route};
use crate::http::{Answer, Body, answer};
use crate::live::Live;
use crate::logging::text;
use crate::requests::{self, Requests};
use crate::store::{Accepted, Inbox, Incoming, StoreError};
use crate::telemetry::Metrics;
use crate::test_events::TestEvents;

/// Lines a minute for each reason of a refusal.
const WARNINGS: u32 = 6;

/// What is told of webhooks that were refused.
#[derive(Debug)]
struct Refusals {
    warnings: Limiter<Verdict>,
    last: BTreeMap<Verdict, LastRefusal>,
}

/// Takes Ring's webhooks.
#[derive(Debug)]
pub struct Intake {
    settings: Live<Webhook>,
    keys: Live<Keys>,
    proofs: Mutex<Proofs>,
    inbox: Inbox,
    metrics: Metrics,
    refusals: Mutex<Refusals>,
    minutes: Mutex<Minutes>,
    requests: Arc<Requests>,
    test_events: Arc<TestEvents>,
    ring_clock: RingClock,
}

impl Intake {
    /// `noted` is what was known of the keys when [`Intake::proofs`] was noted last.
    /// `requests` is where those are noted that leave no event, `test_events` are those that are to leave none.
    pub fn new(
        settings: Webhook,
        keys: Keys,
        noted: &[Proof],
        inbox: Inbox,
        metrics: Metrics,
        requests: Arc<Requests>,
        test_events: Arc<TestEvents>,
    ) -> Self {
        let proofs = Mutex::new(Proofs::new(&keys, noted, clock::now()));
        let refusals = Mutex::new(Refusals { warnings: Limiter::new(WARNINGS), last: BTreeMap::new() });
        let (minutes, ring_clock) = (Mutex::default(), inbox.ring_clock());
        let (settings, keys) = (Live::new(settings), Live::new(keys));
        Self { settings, keys, proofs, inbox, metrics, refusals, minutes, requests, test_events, ring_clock }
    }

    /// What is verified from now on is verified by these keys. What is known of a key that stays, stays.
    pub fn set_keys(&self, keys: Keys) {
        let keys = Arc::new(keys);
        {
            let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
            *proofs = Proofs::new(&keys, proofs.all(), clock::now());
        }
        self.keys.set(keys);
    }

    /// What comes from now on is taken by these settings; the path is its route's.
    pub fn set(&self, settings: Webhook) {
        self.settings.set(Arc::new(settings));
    }

    /// What is known of the webhook keys.
    pub fn proofs(&self) -> Vec<Proof> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).all().to_vec()
    }

    /// The last webhook that was refused for each reason.
    pub fn last_refusals(&self) -> BTreeMap<Verdict, LastRefusal> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// How many webhooks came in each minute of the last hour.
    pub fn last_hour(&self) -> Vec<Minute> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner).hour(clock::now())
    }

    /// The webhooks' place in the route table.
    pub fn route(self: &Arc<Self>) -> Route {
        let intake = Arc::clone(self);
        Route::new(&self.settings.get().path, &["POST"], move |request| Arc::clone(&intake).handle(request))
            .noting()
    }

    /// Answers one webhook.
    async fn handle(self: Arc<Self>, request: Request<Body>) -> Answer {
        let started = clock::ticks();
        let sender = Sender::of(&request);
        let verdict = self.webhook(request, sender, started).await.unwrap_or_else(|verdict| verdict);
        self.metrics.webhook(verdict);
        if verdict.is_test() {
            return reply(verdict);
        }
        let is_taken = verdict.status() == 200;
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner).add(clock::now(), is_taken);
        if is_taken {
            self.metrics.answer_seconds.observe((clock::ticks() - started).as_secs_f64());
        }
        reply(verdict)
    }

    async fn webhook(
        &self,
        request: Request<Body>,
        sender: Sender,
        started: Instant,
    ) -> Result<Verdict, Verdict> {
        let connection = request.body().connection();
        let settings = self.settings.get();
        let signature = self.signature(&request, sender)?;
        let deadline = started + settings.body_timeout;
        let body = self.body(request, sender, settings.max_body, deadline).await?;
        if let Some(id) = self.test_events.sees(&body) {
            return self.test_event(id, &body, &signature, sender, started + settings.answer_within).await;
        }
        let key = self.verify(&body, &signature, sender)?;
        connection.prove();
        failpoint!("intake.verified");
        let Sender { from, forwarded_for } = sender;
        let incoming =
            self.understand(body.into_shared(), Origin { from, forwarded_for, key: Some(key) }, &settings);
        self.keep(incoming, started + settings.answer_within).await
    }

    fn signature(&self, request: &Request<Body>, sender: Sender) -> Result<Signature, Verdict> {
        let values = request.headers().get_all(HEADER).iter().map(HeaderValue::as_bytes);
        let signature = Signature::parse(values).map_err(|refusal| {
            let verdict = match refusal {
                Refusal::Missing => Verdict::NoSignature,
                Refusal::Repeated => Verdict::RepeatedSignature,
                Refusal::Malformed => Verdict::MalformedSignature,
            };
            self.refuse(verdict, &refusal, sender, None);
            verdict
        })?;
        if signature.bare {
            self.metrics.bare_signatures.inc();
        }
        Ok(signature)
    }

    async fn body(
        &self,
        request: Request<Body>,
        sender: Sender,
        max_body: usize,
        deadline: Instant,
    ) -> Result<Received, Verdict> {
        let read = request.into_body().read(max_body, deadline);
        read.await.map_err(|error| {
            let verdict = match error {
                BodyError::TooLarge => Verdict::TooLarge,
                BodyError::TooSlow => Verdict::SlowBody,
                BodyError::Busy => Verdict::Busy,
                BodyError::Broken => Verdict::BrokenBody,
            };
            self.refuse(verdict, &error, sender, None);
            verdict
        })
    }

    /// The key that made the signature. Nothing of the body is read before this holds.
    fn verify(&self, body: &Received, signature: &Signature, sender: Sender) -> Result<Fingerprint, Verdict> {
        // Those of this moment, not of the moment at which the request began.
        let keys = self.keys.get();
        let key = keys.verify(body, signature).and_then(|index| keys.fingerprint(index));
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = key {
            if proofs.verified(key, clock::now()) {
                note(self.inbox.clone(), proofs.all());
            }
            return Ok(key.clone());
        }
        let mismatch = proofs.mismatched(clock::now());
        drop(proofs);
        let (verdict, why) = match mismatch {
            Mismatch::Forged => (Verdict::Forged, "no key made the signature"),
            Mismatch::Unproven => (
                Verdict::Unproven,
                "no key made the signature, and the keys are not proven: is each hmac key the one that Ring shows?",
            ),
        };
        self.refuse(verdict, &why, sender, None);
        Err(verdict)
    }

    /// Answers an event that was announced as a test, and keeps nothing of it. That a key verifies it proves nothing of the key, because it
    /// was not Ring that signed it; and since it can't be Ring's, a wrong signature is a forgery whatever is known of the keys.
    async fn test_event(
        &self,
        id: String,
        body: &[u8],
        signature: &Signature,
        sender: Sender,
        deadline: Instant,
    ) -> Result<Verdict, Verdict> {
        let about = About { id, account: None, kind: String::new() };
        if self.keys.get().verify(body, signature).is_none() {
            self.note(Verdict::TestForged, sender, Some(&about), Some("no key made the signature"));
            return Err(Verdict::TestForged);
        }
        let Ok(proofs) = serde_json::to_vec(&self.proofs()) else { return Err(Verdict::StoreDown) };
        // A commit, as an event has one, so that a disk which hangs or fails shows. What is noted stays as it was.
        match timeout_at(deadline, self.inbox.note_proofs(proofs)).await {
            Ok(Ok(())) => {
                self.note(Verdict::TestEvent, sender, Some(&about), None);
                Ok(Verdict::TestEvent)
            }
            Ok(Err(error)) => {
                self.refuse(Verdict::StoreDown, &error, sender, Some(&about));
                Err(Verdict::StoreDown)
            }
            Err(_) => {
                self.refuse(Verdict::NotDurable, &"not durable within the budget", sender, Some(&about));
                Err(Verdict::NotDurable)
            }
        }
    }

    /// Reads the body once, leniently; what is not understood is kept as it is.
    fn understand(&self, body: Bytes, origin: Origin, settings: &Webhook) -> Incoming {
        let now = clock::now();
        match envelope::parse(&body) {
            Ok(mut envelope) => {
                if let Some(sent) = envelope.sent_at {
                    self.ring_clock.sent(sent);
                }
                for oddity in envelope.oddities.iter() {
                    self.metrics.unusable_field(oddity);
                }
                let (key, identity) = Identity::of_event(&envelope, &body);
                let (marks, related) = (marks(&envelope, now, settings), take(&mut envelope.devices));
                let event = Event { marks, ..envelope.into_event(key, body, now) };
                Incoming { event, identity, related, anomaly: None, origin }
            }
            Err(anomaly) => {
                let (key, identity) = Identity::of(None, &body);
                let event = Event::unread(key, body, now);
                let anomaly = Some(anomaly.as_str());
                Incoming { event, identity, related: Vec::new(), anomaly, origin }
            }
        }
    }

    async fn keep(&self, incoming: Incoming, deadline: Instant) -> Result<Verdict, Verdict> {
        let about = About::of(&incoming);
        let Origin { from, forwarded_for, .. } = incoming.origin;
        let sender = Sender { from, forwarded_for };
        let Ok(kept) = timeout_at(deadline, self.inbox.accept(incoming)).await else {
            self.refuse(Verdict::NotDurable, &"not durable within the budget", sender, Some(&about));
            return Err(Verdict::NotDurable);
        };
        failpoint!("intake.kept");
        match kept {
            Ok(accepted) => {
                about.kept(&accepted);
                match accepted {
                    Accepted::Duplicate => self.note(Verdict::Duplicate, sender, Some(&about), None),
                    // Nothing of the account is left, and nothing of it comes back.
                    Accepted::OfForgotten => {
                        self.note(Verdict::Accepted, sender, None, Some(accepted.as_str()));
                    }
                    _ => {}
                }
                Ok(match accepted {
                    Accepted::Duplicate => Verdict::Duplicate,
                    Accepted::Quarantined { .. } => Verdict::Quarantined,
                    Accepted::Queued { .. }
                    | Accepted::Held { .. }
                    | Accepted::Unrouted { .. }
                    | Accepted::OfForgotten => Verdict::Accepted,
                })
            }
            Err(error) => {
                let verdict = match error {
                    StoreError::Busy => Verdict::Busy,
                    StoreError::Full => Verdict::StoreFull,
                    StoreError::LowDisk => Verdict::LowDisk,
                    _ => Verdict::StoreDown,
                };
                self.refuse(verdict, &error, sender, Some(&about));
                Err(verdict)
            }
        }
    }

    /// Notes a webhook that leaves no event. What it is `about` is known only once its signature holds.
    fn note(&self, verdict: Verdict, sender: Sender, about: Option<&About>, why: Option<&str>) {
        self.requests.note(requests::Request {
            outcome: verdict.as_str(),
            status: verdict.status(),
            method: "POST".into(),
            path: self.settings.get().path.clone(),
            from: sender.from,
            forwarded_for: sender.forwarded_for,
            id: about.map(|about| about.id().to_string()),
            account: about.and_then(|about| about.account.clone()),
            why: why.map(str::to_owned),
        });
    }

    /// Says why a webhook was not accepted: in a receipt, and in a line a few times a minute for each reason.
    fn refuse(&self, verdict: Verdict, why: &dyn Display, sender: Sender, about: Option<&About>) {
        let at = clock::now();
        self.note(verdict, sender, about, Some(&why.to_string()));
        let passed = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.last.insert(verdict, LastRefusal { at, why: why.to_string() });
            refusals.warnings.pass(verdict, at)
        };
        if let Some(silent) = passed {
            let (id, account) =
                about.map_or((None, None), |about| (Some(about.id()), about.account.as_ref().map(shown)));
            let verdict = verdict.as_str();
            tracing::warn!(id, account, verdict, %why, silent_before = silent, "webhook not accepted");
        }
    }
}

/// Where a webhook comes from.
#[derive(Debug, Clone, Copy)]
struct Sender {
    from: Option<IpAddr>,
    forwarded_for: Option<IpAddr>,
}

impl Sender {
    fn of(request: &Request<Body>) -> Self {
        let from = request.body().peer().address;
        Self { from, forwarded_for: routes::forwarded(request, from) }
    }
}

/// Ring may replay, and clocks may be wrong: what is far from now is marked, never refused.
fn marks(event: &Envelope, now: Millis, settings: &Webhook) -> Marks {
    let mut marks = Marks::default();
    if event.request_id.is_none() {
        marks.insert(Mark::HashedId);
    }
    if let Some(time) = event.happened_at.or(event.sent_at) {
        if now.since(time) > settings.late_after {
            marks.insert(Mark::Late);
        } else if time.since(now) > settings.early_after {
            marks.insert(Mark::Early);
        }
    }
    marks
}

/// What the lines of one webhook say it is about. A span would be formatted for each request, whether or not there is a line;
/// this is copied, and formatted by the line that is written.
struct About {
    id: String,
    account: Option<AccountId>,
    /// Only when [`About::kept`] will say it.
    kind: String,
}

impl About {
    fn of(incoming: &Incoming) -> Self {
        let Incoming { event, .. } = incoming;
        let kind = if enabled!(Level::DEBUG) { event.kind.clone() } else { String::new() };
        Self { id: event.key.clone(), account: event.account.clone(), kind }
    }

    fn id(&self) -> DisplayValue<impl Display + '_> {
        display(text(&self.id))
    }

    fn kept(&self, accepted: &Accepted) {
        let (id, kind) = (self.id(), text(&self.kind));
        // The store may have found the account by its device.
        let found = match accepted {
            Accepted::Queued { account: Some(account), .. } => Some(account),
            _ => self.account.as_ref(),
        };
        let account = found.map(shown);
        tracing::debug!(id, account, %kind, outcome = accepted.as_str(), seq = accepted.seq(), "kept");
    }
}

fn shown(account: &AccountId) -> DisplayValue<impl Display + '_> {
    display(text(account.as_str()))
}

/// Keeps the proofs in the store, beside the hot path.
pub fn note(inbox: Inbox, proofs: &[Proof]) {
    let Ok(text) = serde_json::to_vec(proofs) else { return };
    tokio::spawn(async move {
        if let Err(error) = inbox.note_proofs(text).await {
            tracing::warn!(%error, "what is known of the webhook keys could not be noted");
        }
    });
}

fn reply(verdict: Verdict) -> Answer {
    let status = StatusCode::from_u16(verdict.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if status == StatusCode::SERVICE_UNAVAILABLE { answer::retry_after(1) } else { answer::empty(status) }
}

/// Reads the proofs that [`note`] kept; nothing when there are none, or not as we write them.
pub async fn noted(inbox: &Inbox) -> Vec<Proof> {
    let read = inbox.proofs().await.ok().flatten();
    read.and_then(|text| String::from_utf8(text).ok())
        .and_then(|text| serde_json::Value::from_str(&text).ok())
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default()
}
