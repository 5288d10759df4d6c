//! The admin API: HTTP/1.1 with JSON on Unix sockets. Each socket has a session with its own rights.
//!
//! `Admin::call` is the list of calls. A call is one function in the file of its topic. It asks the session first. An error is a
//! `Refusal`, which becomes `{"error": "…"}`.

mod accounts;
mod audit;
mod backup;
mod bearer;
mod browsers;
mod certify;
mod claims;
mod compact;
mod description;
mod disconnect;
mod door;
mod export;
mod import;
mod inspect;
mod keys;
mod lease;
mod letters;
mod metrics;
mod page;
mod privacy;
mod probes;
mod queues;
mod refusal;
mod reload;
mod request;
mod session;
mod status;
mod tail;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::{Request, StatusCode};
use tokio::sync::watch;

use self::bearer::Bearer;
use self::refusal::{Refusal, RefusedLately, Reply};
use self::request::{Query, segments};
use self::session::{LeaseSeal, Session};
use crate::config::Queue;
use crate::domain::actor::Actor;
use crate::domain::ids::QueueName;
use crate::domain::minutes::Minute;
use crate::domain::privacy::Fixed;
use crate::domain::rights::{Call, Rights};
use crate::domain::status::{
    AuthorityReport, CertificateReport, ConfigurationReport, DeliveryState, KeyProof, LastRefusal,
};
use crate::domain::time::Millis;
use crate::domain::verdict::Verdict;
use crate::http::routes::LastUnmatched;
use crate::http::{Body, Handler, Limits};
use crate::linking::Linking;
use crate::live::Live;
use crate::requests::Requests;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::test_events::TestEvents;
use crate::tokens::TokenService;
use crate::vault::VaultError;

pub use self::door::{Door, Token};
pub use self::privacy::fixed;
pub use self::reload::Reloader;
pub use self::request::MAX_BODY;

/// How long a reader may wait for events in one call.
pub const MAX_WAIT: Duration = Duration::from_mins(1);

/// Tells [`Facts`]; asked at each `status` and `keys`.
pub struct Reporter(Box<dyn Fn() -> Facts + Send + Sync>);

impl Reporter {
    pub fn new(report: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        Self(Box::new(report))
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// What the admin API works on.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub metrics: Metrics,
    /// As they are configured now.
    pub queues: Arc<Live<Vec<Queue>>>,
    pub facts: Reporter,
    pub tokens: Arc<TokenService>,
    pub links: Arc<Linking>,
    pub reload: Reloader,
    /// Requests of the public listener that left no event.
    pub requests: Arc<Requests>,
    pub test_events: Arc<TestEvents>,
    /// For the privacy sheet.
    pub fixed: Fixed,
}

/// What only the rest of the daemon knows.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub started_at: Millis,
    pub configuration: ConfigurationReport,
    /// POSTs to paths of the public listener where nothing is.
    pub unmatched_posts: u64,
    pub last_unmatched: Option<LastUnmatched>,
    /// The last webhook that was refused for each reason.
    pub refusals: BTreeMap<Verdict, LastRefusal>,
    /// Webhooks in each minute of the last hour, the oldest first.
    pub per_minute: Vec<Minute>,
    /// Where the public listener speaks TLS.
    pub certificate: Option<CertificateReport>,
    pub authority: Option<AuthorityReport>,
    pub webhook_keys: Vec<KeyProof>,
    /// How delivery of each dispatched queue stands.
    pub deliveries: Vec<Delivery>,
}

/// How the delivery of one queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub queue: QueueName,
    pub state: DeliveryState,
    /// Why it does not deliver, and since when.
    pub why: Option<String>,
    pub since: Option<Millis>,
}

/// The admin API of one daemon, behind all its sockets.
#[derive(Debug)]
pub struct Admin {
    store: Store,
    metrics: Metrics,
    queues: Arc<Live<Vec<Queue>>>,
    facts: Reporter,
    tokens: Arc<TokenService>,
    links: Arc<Linking>,
    reload: Reloader,
    requests: Arc<Requests>,
    test_events: Arc<TestEvents>,
    fixed: Live<Fixed>,
    seal: LeaseSeal,
    refused: RefusedLately,
    sessions: AtomicU64,
    stopping: watch::Sender<bool>,
}

impl Admin {
    /// The API over `parts`.
    ///
    /// # Errors
    /// When the system gives no random numbers for the seal of leases.
    pub fn new(parts: Parts) -> Result<Arc<Self>, VaultError> {
        let Parts { store, metrics, queues, facts, tokens, links, reload, requests, test_events, fixed } =
            parts;
        let seal = LeaseSeal::new()?;
        let stopping = watch::Sender::new(false);
        let sessions = AtomicU64::new(0);
        Ok(Arc::new(Self {
            store,
            metrics,
            queues,
            facts,
            tokens,
            links,
            reload,
            requests,
            test_events,
            fixed: Live::new(fixed),
            seal,
            refused: RefusedLately::default(),
            sessions,
            stopping,
        }))
    }

    /// The handler of one socket. A lease that was taken through one socket can't be settled through another.
    /// `path` names it in the log.
    pub fn handler(self: Arc<Self>, path: &str, rights: Rights) -> impl Handler {
        let door = self.door(path, rights, None);
        self.serving(&door)
    }

    /// The same on an address, for callers who bring the token. Its name is for the audit.
    pub fn handler_with_token(
        self: Arc<Self>,
        address: &str,
        rights: Rights,
        token: Token<'_>,
    ) -> impl Handler {
        let door = self.door(address, rights, Some(token));
        self.serving(&door)
    }

    /// The handler of a door.
    pub fn serving(self: Arc<Self>, door: &Arc<Door>) -> impl Handler + use<> {
        let door = Arc::clone(door);
        move |request: Request<Body>| {
            let (admin, session, bearer) = (Arc::clone(&self), door.session.get(), door.bearer.get());
            let peer = request.body().peer();
            async move {
                let bearer = bearer.as_ref().as_ref();
                let answer = match let_in(&session, bearer, request) {
                    Ok(None) => Ok(page::answer(bearer.is_some())),
                    Ok(Some(request)) => {
                        let by = session.caller(peer, bearer.map(Bearer::name));
                        admin.answer(&session, &by, request).await
                    }
                    Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
                        admin.note_unknown_caller(&session.caller(peer, None)).await;
                        Err(refusal)
                    }
                    Err(refusal) => Err(refusal),
                };
                answer.unwrap_or_else(Refusal::into_answer)
            }
        }
    }

    /// What the privacy sheet tells of from now on.
    pub fn set_fixed(&self, fixed: Fixed) {
        self.fixed.set(Arc::new(fixed));
    }

    /// Ends what waits for events, so that a drain need not.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    fn facts(&self) -> Facts {
        (self.facts.0)()
    }

    /// The answer to a call. One that waits for a disk which hangs is given up: its caller is told, and what it asked for may
    /// still be done.
    async fn answer(self: &Arc<Self>, session: &Arc<Session>, by: &Actor, request: Request<Body>) -> Reply {
        let reply = async {
            let reply = self.call(session, by, request).await;
            if let Err(refusal) = &reply
                && refusal.status == StatusCode::FORBIDDEN
            {
                self.note_refusal(by, &refusal.words).await;
            }
            reply
        };
        tokio::select! {
            biased;
            reply = reply => reply,
            () = self.store.stands_still() => Err(Refusal::hangs()),
        }
    }

    async fn call(self: &Arc<Self>, session: &Arc<Session>, by: &Actor, request: Request<Body>) -> Reply {
        let (head, body) = request.into_parts();
        let path = segments(head.uri.path())?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        match (head.method.as_str(), path.as_slice()) {
            ("GET", [""]) => description::root(session),
            ("GET", ["v1", "openapi.json"]) => description::openapi(),
            ("GET", ["v1", "status"]) => self.status(session),
            ("GET", ["v1", "privacy"]) => self.privacy(session),
            ("GET", ["v1", "metrics"]) => self.render_metrics(session),
            ("GET", ["v1", "accounts"]) => self.list_accounts(session, &query).await,
            ("POST", ["v1", "accounts"]) => self.import_accounts(session, by, &query, body).await,
            ("GET", ["v1", "accounts", id]) => self.show_account(session, id).await,
            ("DELETE", ["v1", "accounts", id]) => self.forget_account(session, by, id).await,
            ("POST", ["v1", "accounts", id, "disconnect"]) => {
                self.disconnect_account(session, by, id, body).await
            }
            ("GET", ["v1", "accounts", id, "export"]) => self.export_account(session, by, id, &query).await,
            ("POST", ["v1", "accounts", id, "user"]) => self.set_user(session, by, id, body).await,
            ("POST", ["v1", "accounts", id, "token"]) => self.lend_token(session, by, id, body).await,
            ("POST", ["v1", "claims"]) => self.claim(session, by, body).await,
            ("POST", ["v1", "backup"]) => self.back_up(session, by).await,
            ("POST", ["v1", "compact"]) => self.compact(session, by).await,
            ("POST", ["v1", "test-events"]) => self.announce_test_event(session, by).await,
            ("POST", ["v1", "reload"]) => self.reload(session, by).await,
            ("POST", ["v1", "restore", "accept"]) => self.accept_restored(session, by).await,
            ("GET", ["v1", "inspect", id]) => self.inspect(session, id).await,
            ("GET", ["v1", "receipts"]) => self.list_receipts(session, &query).await,
            ("GET", ["v1", "audit"]) => self.list_acts(session, &query).await,
            ("GET", ["v1", "queues"]) => self.list_queues(session),
            ("DELETE", ["v1", "queues", name]) => self.remove_queue(session, by, name).await,
            ("POST", ["v1", "queues", name, "pause"]) => self.pause_queue(session, by, name, true).await,
            ("POST", ["v1", "queues", name, "resume"]) => self.pause_queue(session, by, name, false).await,
            ("POST", ["v1", "queues", name, "lease"]) => self.lease(session, name, body).await,
            ("POST", ["v1", "queues", name, "settle"]) => self.settle(session, by, name, body).await,
            ("POST", ["v1", "queues", name, "extend"]) => self.extend(session, name, body).await,
            ("GET", ["v1", "queues", name, "tail"]) => self.tail(session, name, &query).await,
            ("GET", ["v1", "dead-letters"]) => self.list_letters(session, &query).await,
            ("GET", ["v1", "dead-letters", id]) => self.show_letter(session, id).await,
            ("POST", ["v1", "dead-letters", "replay"]) => self.replay_letters(session, by, body).await,
            ("POST", ["v1", "dead-letters", "drop"]) => self.drop_letters(session, by, body).await,
            ("GET", ["v1", "keys"]) => self.list_keys(session).await,
            ("POST", ["v1", "keys", "rotate"]) => self.rotate_keys(session, by, body).await,
            (method, _) => Err(Refusal::no_such_call(method, head.uri.path())),
        }
    }
}

/// Checks that every request has to pass, on whatever socket; none is left of one for the page, which holds nothing secret and asks for the
/// token itself.
fn let_in(
    session: &Session,
    bearer: Option<&Bearer>,
    request: Request<Body>,
) -> Result<Option<Request<Body>>, Refusal> {
    let (head, body) = request.into_parts();
    browsers::check(&head)?;
    if page::is_wanted(&head) && session.allows(Call::Status, None) {
        return Ok(None);
    }
    bearer.map_or(Ok(()), |bearer| bearer.check(&head.headers))?;
    Ok(Some(Request::from_parts(head, body)))
}

/// Limits for the server of the admin sockets: patient with local readers that wait or pause.
pub fn limits() -> Limits {
    Limits {
        max_connections: 256,
        max_requests: 256,
        request_budget: MAX_WAIT + Duration::from_secs(15),
        answer_timeout: Duration::from_mins(10),
        ..Limits::default()
    }
}
