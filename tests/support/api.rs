//! A store behind admin sockets in a temporary folder, and calls over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringhookd::admin::{Admin, Facts, Parts, Reloader, Reporter, limits};
use ringhookd::config::{Format, Queue, QueueKind, Spool, Unclaimed};
use ringhookd::domain::nonce::Nonces;
use ringhookd::domain::privacy::Fixed;
use ringhookd::domain::refresh::Policy;
use ringhookd::domain::rights::{Grant, Rights};
use ringhookd::domain::routing::{Filter, Selection};
use ringhookd::domain::status::KeyProof;
use ringhookd::domain::time::Millis;
use ringhookd::http::Server;
use ringhookd::linking::{self, Linking};
use ringhookd::live::Live;
use ringhookd::store::{QueueSpec, Store};
use ringhookd::telemetry::{ListenerName, Metrics};
use ringhookd::tokens::{self, Clock, Guard, TokenService};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

use crate::support::{queue, spec, store};

/// For answers of a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Api {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) admin: Arc<Admin>,
    server: Arc<Server>,
}

/// One socket, and calls through it.
pub(crate) struct Door_ {
    pub(crate) path: PathBuf,
}

pub(crate) fn rights(calls: &[&str], accounts: &[&str], users: &[&str]) -> Rights {
    let select = |ids: &[&str]| match ids {
        ["*"] => Selection::All,
        ids => Selection::Only(ids.iter().map(|id| Box::from(*id)).collect()),
    };
    let grants = calls.iter().map(|call| Grant::parse(call).unwrap()).collect();
    Rights::new(grants, select(accounts), select(users))
}

impl Api {
    /// Queues `all` (embedded), `raws` (embedded, raw) and `files` (spool), all of which take everything.
    pub(crate) async fn start() -> Self {
        Self::of(vec![spec("all"), spec("raws"), spec("files")]).await
    }

    /// With a store of these queues.
    pub(crate) async fn of(specs: Vec<QueueSpec>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("store"), specs);
        let metrics = Metrics::default();
        let server = Server::new(limits(), metrics.http(ListenerName::Admin));
        let queues = Arc::new(Live::new(configured(&dir.path().join("files"))));
        let proof = KeyProof { fingerprint: "f1".into(), set_at: Millis(0), verified_at: None };
        let report = move || Facts { webhook_keys: vec![proof.clone()], ..Facts::default() };
        let facts = Reporter::new(report);
        let tokens = token_service(&store, &dir.path().join("guard"), &metrics).await;
        let links = linking(&store, &tokens, &metrics);
        let reload = Reloader::new(async |_| Err("there is no configuration file".into()));
        let requests = Arc::default();
        let fixed = Fixed::default();
        let parts = Parts {
            store: store.clone(),
            metrics,
            queues,
            facts,
            tokens,
            links,
            reload,
            requests,
            test_events: Arc::default(),
            fixed,
        };
        Self { dir, store, admin: Admin::new(parts).unwrap(), server }
    }

    pub(crate) fn door(&self, name: &str, rights: Rights) -> Door_ {
        let path = self.dir.path().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let handler = Arc::clone(&self.admin).handler(name, rights);
        tokio::spawn(Arc::clone(&self.server).serve(listener, handler, std::future::pending()));
        Door_ { path }
    }

    pub(crate) fn open_door(&self) -> Door_ {
        self.door("admin.sock", Rights::all())
    }

    pub(crate) fn leased(&self, name: &str) -> u64 {
        self.store.queues().list().iter().find(|view| view.name == queue(name)).unwrap().leased
    }
}

/// The queues as a configuration has them.
fn configured(spool: &Path) -> Vec<Queue> {
    let embedded = || QueueKind::Embedded { visibility: Duration::from_hours(1) };
    let spool = Spool { folder: spool.to_owned(), max_files: 10, max_bytes: 1 << 20 };
    let queue = |name, kind, format| Queue {
        name: queue(name),
        kind,
        filter: Filter::default(),
        unclaimed: Unclaimed::Hold,
        format,
        max_age: Duration::from_hours(1),
        max_bytes: 1 << 20,
        max_attempts: 3,
        events_per_second: None,
    };
    vec![
        queue("all", embedded(), Format::CloudEvents),
        queue("raws", embedded(), Format::Raw),
        queue("files", QueueKind::Spool(spool), Format::CloudEvents),
    ]
}

/// Tokens without a client of Ring: nothing is refreshed.
async fn token_service(store: &Store, guard: &Path, metrics: &Metrics) -> Arc<TokenService> {
    let parts = tokens::Parts {
        store: store.clone(),
        api: None.into(),
        policy: Policy::default(),
        late_after: SOON,
        answer_timeout: SOON,
        codes_per_second: 1,
        guard: Guard::new(guard, &store.identity().store),
        metrics: metrics.clone(),
        clock: Clock::of_the_machine(store.ring_clock()),
    };
    TokenService::new(parts).await.unwrap()
}

/// Linking without a client of Ring: nothing is claimed.
fn linking(store: &Store, tokens: &Arc<TokenService>, metrics: &Metrics) -> Arc<Linking> {
    Linking::new(linking::Parts {
        store: store.clone(),
        api: None.into(),
        tokens: Arc::clone(tokens),
        nonces: Nonces::new([]),
        clock_skew: Duration::ZERO,
        metrics: metrics.clone(),
    })
}

impl Door_ {
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, &body.to_string()).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.text(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer as it came.
    pub(crate) async fn text(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = send(&self.path, method, path, body).await;
        (answer.status().as_u16(), text(answer.into_body()).await)
    }

    /// The body of a call that succeeds.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.call(method, path, &body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// The ids of what one lease gives.
    pub(crate) async fn lease_ids(&self, queue: &str, body: Value) -> Vec<String> {
        let answer = self.ok("POST", &format!("/v1/queues/{queue}/lease"), body).await;
        ids(&answer["events"], |event| &event["event"]["id"])
    }

    pub(crate) async fn tail(&self, queue: &str, last: u32) -> Lines {
        let answer = send(&self.path, "GET", &format!("/v1/queues/{queue}/tail?last={last}"), "").await;
        assert_eq!(answer.status(), 200);
        Lines { body: answer.into_body(), text: String::new() }
    }
}

pub(crate) fn ids(items: &Value, id: impl Fn(&Value) -> &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(|item| id(item).as_str().unwrap().to_owned()).collect()
}

/// The lines of a tail.
pub(crate) struct Lines {
    body: Incoming,
    text: String,
}

impl Lines {
    pub(crate) async fn id(&mut self) -> String {
        let line: Value = serde_json::from_str(&self.line().await).unwrap();
        line["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                return line;
            }
            let frame =
                tokio::time::timeout(SOON, self.body.frame()).await.expect("a line").unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// Whether the stream has ended with nothing more on it.
    pub(crate) async fn ended(&mut self) -> bool {
        self.text.is_empty() && tokio::time::timeout(SOON, self.body.frame()).await.expect("an end").is_none()
    }
}

async fn send(socket: &Path, method: &str, path: &str, body: &str) -> Response<Incoming> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::builder().method(method).uri(path).header("host", "test").body(body).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn text(mut body: Incoming) -> String {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    // A backup is no text.
    String::from_utf8_lossy(&all).into_owned()
}
