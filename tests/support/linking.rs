//! A daemon with its store in a temporary folder, before a simulated Ring, and what its partner's web app asks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::daemon::Daemon;
use ringhookd::domain::time::Millis;
use ringhookd::randomness;
use ringhookd::sim::{CodeSender, CodeShape, Options, Partner, Peer, Plan, Ring, Sender, Visit, body};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::configuration::{Configuration, KEY, SOCKET};
use crate::support::drain;
use crate::support::http::{Answer, To, exchange_beside, request};

/// Far more than anything takes; only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A status and a document.
pub(crate) type Heard = (u16, Value);

pub(crate) struct LinkHarness {
    dir: TempDir,
    pub(crate) ring: Ring,
    daemon: Option<Daemon>,
    settings: String,
    events: AtomicU64,
}

impl LinkHarness {
    pub(crate) async fn new() -> Self {
        Self::with("", Options::default()).await
    }

    /// With more of the configuration, where FOLDER is the harness's own.
    pub(crate) async fn with(settings: &str, options: Options) -> Self {
        let options = Options { hmac_key: KEY.into(), seed: randomness::random(), ..options };
        let ring = Ring::start(options).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut harness =
            Self { dir, ring, daemon: None, settings: settings.to_owned(), events: AtomicU64::new(0) };
        harness.start().await;
        harness
    }

    /// The daemon again, over the same store.
    pub(crate) async fn start(&mut self) {
        let queues =
            [("ann", "users = [\"ann\"]"), ("bob", "users = [\"bob\"]"), ("news", "types = [\"link.*\"]")];
        let queue = |(name, filter)| format!("[[queue]]\nname = \"{name}\"\nkind = \"embedded\"\n{filter}\n");
        let configuration = Configuration::new()
            .ring(&self.ring, "connect_timeout = \"1s\"\ncall_timeout = \"2s\"")
            .with(&queues.map(queue).concat())
            .with(SOCKET)
            .with(&self.settings);
        let mut config = configuration.parse(self.dir.path());
        config.file = configuration.write(self.dir.path());
        self.daemon = Some(Daemon::start(config).await.unwrap());
    }

    pub(crate) async fn stop(&mut self) {
        self.daemon.take().unwrap().stop().await;
    }

    /// What the configuration has besides, from the next start on.
    pub(crate) fn set_settings(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn inject(&self, fault: &str, times: Option<u64>) {
        self.ring.inject(Plan { fault: fault.parse().unwrap(), times, account: None });
    }

    /// From now on Ring sends its events, and brings its codes in that shape.
    pub(crate) fn let_ring_call(&self, shape: CodeShape) {
        let to = self.daemon().address();
        self.ring.set_partner(Partner {
            webhook: Some(Sender::new(to, "/webhooks/ring", KEY.as_bytes())),
            codes: Some(CodeSender::new(Peer { to, path: "/ring/token".into() }, shape)),
            link_url: None,
        });
    }

    /// The user adds the app in Ring: its code comes, and is exchanged.
    pub(crate) async fn add_app(&self, account: &str) {
        let code = self.ring.new_code(account);
        assert_eq!(self.bring(&code).await.0, 200);
        self.arrived(account).await;
    }

    /// A code is brought, as a form.
    pub(crate) async fn bring(&self, code: &str) -> Heard {
        self.call_public("POST", "/ring/token", "application/x-www-form-urlencoded", &format!("code={code}"))
            .await
    }

    /// The same, for many at once.
    pub(crate) fn bring_as_task(&self, code: &str) -> impl Future<Output = Heard> + Send + use<> {
        let address = self.daemon().address();
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let request = request("POST", "/ring/token", kind, format!("code={code}"));
        heard(exchange_beside(address, request))
    }

    /// A claim, for many at once.
    pub(crate) fn claim_as_task(
        &self,
        visit: &Visit,
        user: &str,
    ) -> impl Future<Output = Heard> + Send + use<> {
        let claim = json!({"nonce": visit.nonce, "time": visit.time, "user": user});
        let (socket, request) =
            (self.socket("admin.sock"), request("POST", "/v1/claims", "", claim.to_string()));
        heard(exchange_beside(To::Socket(socket), request))
    }

    pub(crate) async fn call_public(&self, method: &str, path: &str, kind: &str, body: &str) -> Heard {
        let address = self.daemon().address();
        let request = request(method, path, &format!("Content-Type: {kind}\r\n"), body);
        heard(exchange_beside(address, request)).await
    }

    /// Waits until the account is there, in this state.
    pub(crate) async fn is(&self, account: &str, state: &str) {
        self.soon(&format!("{account} is {state}"), async || self.state(account).await == state).await;
    }

    pub(crate) async fn soon(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let deadline = clock::ticks() + PATIENCE;
        while !is_so().await {
            assert!(clock::ticks() < deadline, "not so: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the account has tokens.
    pub(crate) async fn arrived(&self, account: &str) {
        self.soon("the tokens have come", async || self.show(account).await["has_tokens"] == true).await;
    }

    pub(crate) async fn state(&self, account: &str) -> String {
        let (_, shown) = self.admin("GET", &format!("/v1/accounts/{account}"), &Value::Null).await;
        shown["state"].as_str().unwrap_or("unknown").to_owned()
    }

    pub(crate) async fn show(&self, account: &str) -> Value {
        self.admin("GET", &format!("/v1/accounts/{account}"), &Value::Null).await.1
    }

    pub(crate) fn visit(&self, account: &str) -> Visit {
        self.ring.visit(account).unwrap()
    }

    /// What a claim of `user` with this visit is answered.
    pub(crate) async fn claim(&self, visit: &Visit, user: &str) -> Heard {
        self.claim_through("admin.sock", visit, user).await
    }

    pub(crate) async fn claim_through(&self, socket: &str, visit: &Visit, user: &str) -> Heard {
        let claim = json!({
            "nonce": visit.nonce,
            "time": visit.time,
            "user": user,
            "account_identifier": format!("{}***@example.com", &user[..1]),
        });
        self.call(socket, "POST", "/v1/claims", &claim.to_string()).await
    }

    /// The outcome of such a claim, alone.
    pub(crate) async fn outcome(&self, visit: &Visit, user: &str) -> String {
        let (_, told) = self.claim(visit, user).await;
        told["outcome"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, document: &Value) -> Heard {
        let body = if document.is_null() { String::new() } else { document.to_string() };
        self.call("admin.sock", method, path, &body).await
    }

    pub(crate) async fn call(&self, socket: &str, method: &str, path: &str, body: &str) -> Heard {
        let (socket, request) = (self.socket(socket), request(method, path, "", body));
        heard(exchange_beside(To::Socket(socket), request)).await
    }

    /// Ring sends an event of now.
    pub(crate) async fn event(&self, kind: &str, account: &str) -> String {
        self.event_at(kind, account, clock::now()).await
    }

    /// Ring sends an event that happened then; its id.
    pub(crate) async fn event_at(&self, kind: &str, account: &str, at: Millis) -> String {
        let id = format!("event-{}", self.events.fetch_add(1, Ordering::Relaxed));
        let sender = Sender::new(self.daemon().address(), "/webhooks/ring", KEY.as_bytes());
        assert_eq!(sender.post(&body(kind, &id, account, "front-door", at)).await.unwrap(), 200);
        id
    }

    /// The ids of the events that come out of a queue, in order.
    pub(crate) async fn events(&self, queue: &str) -> Vec<String> {
        let events = drain(self.daemon().store(), queue, 1000).await;
        events.into_iter().map(|leased| leased.event.key).collect()
    }

    /// The types of the events that come out of a queue, in order.
    pub(crate) async fn kinds(&self, queue: &str) -> Vec<String> {
        let events = drain(self.daemon().store(), queue, 1000).await;
        events.into_iter().map(|leased| leased.event.kind).collect()
    }
}

/// What so many tasks at once come to.
pub(crate) async fn join_all<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: tokio::task::JoinSet<T> = (0..count).map(task).collect();
    tasks.join_all().await
}

async fn heard(answer: impl Future<Output = Answer>) -> Heard {
    let answer = answer.await;
    (answer.status(), answer.json())
}

/// An answer of the public listener, head and all.
pub(crate) async fn raw(address: SocketAddr, method: &'static str, path: &str) -> String {
    let request = request(method, path, "", "");
    exchange_beside(address, request).await.0
}
