//! A token service with its store and guard in a temporary folder, before a simulated Ring of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::domain::access_token::{AccessRequest, AccessToken, Denied, Reason};
use ringhookd::domain::code::{Grant, NoRoom};
use ringhookd::domain::refresh::{Moment, Policy as Schedule};
use ringhookd::domain::routing::{Filter, TypePattern};
use ringhookd::domain::secret::Secret;
use ringhookd::domain::time::Millis;
use ringhookd::domain::tokens::{Pair, Span};
use ringhookd::randomness;
use ringhookd::ring_api::{RingApi, Settings};
use ringhookd::sim::{Options, Pair as Given, Plan, Policy, Ring};
use ringhookd::store::{Import, NewTokens, QueueSpec, Store};
use ringhookd::telemetry::Metrics;
use ringhookd::tokens::{Clock, Guard, Parts, TokenService};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{account, open, options, spec, store, user};

/// Far more than anything takes; only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers are awaited far longer than any comes late here.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) struct TokenHarness {
    dir: TempDir,
    pub(crate) ring: Ring,
    pub(crate) store: Store,
    tokens: Arc<TokenService>,
    pub(crate) metrics: Metrics,
    /// Milliseconds that its clocks are ahead.
    shift: Arc<AtomicU64>,
    /// Milliseconds that its wall clock was set back.
    back: Arc<AtomicU64>,
    running: tokio::sync::Mutex<Option<(oneshot::Sender<Duration>, JoinHandle<()>)>>,
    /// When an answer of OAuth is late.
    late_after: Duration,
}

/// A queue that gets each change of a link's state.
fn alerts() -> QueueSpec {
    let types = vec![TypePattern::parse("link.*").unwrap()];
    QueueSpec { filter: Filter { types, ..Filter::default() }, ..spec("alerts") }
}

/// Waits for something that another task is about to do.
pub(crate) async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not so: {what}"));
}

impl TokenHarness {
    pub(crate) async fn new(policy: Policy) -> Self {
        Self::with(Options { policy, ..Options::default() }, CALL_TIMEOUT).await
    }

    /// Before an OAuth that kills a replaced token at once, and a whole link whose replaced token comes again. Its answers are late
    /// soon.
    pub(crate) async fn strict() -> Self {
        let options = Options { policy: Policy::DeadAtOnce, reuse_revokes: true, ..Options::default() };
        Self::with(options, Duration::from_millis(100)).await
    }

    async fn with(options: Options, late_after: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::start(Options { seed: randomness::random(), ..options }).unwrap();
        let store = store(&dir.path().join("store"), vec![alerts()]);
        let mut harness = Self::over(dir, ring, store).await;
        harness.late_after = late_after;
        harness.tokens = harness.new_tokens().await;
        harness.let_go().await;
        harness
    }

    /// A token service over that store, which does not run yet.
    pub(crate) async fn over(dir: TempDir, ring: Ring, store: Store) -> Self {
        let (shift, back, metrics) = (Arc::default(), Arc::default(), Metrics::default());
        let late_after = CALL_TIMEOUT;
        let tokens =
            token_service(&store, &ring, &dir.path().join("guard"), (&shift, &back), &metrics, late_after)
                .await;
        let running = tokio::sync::Mutex::new(None);
        Self { dir, ring, store, tokens, metrics, shift, back, running, late_after }
    }

    async fn new_tokens(&self) -> Arc<TokenService> {
        let guard = self.dir.path().join("guard");
        token_service(
            &self.store,
            &self.ring,
            &guard,
            (&self.shift, &self.back),
            &self.metrics,
            self.late_after,
        )
        .await
    }

    /// Lets so much time pass, for Ring too, while nothing is under way.
    pub(crate) async fn advance(&self, by: Duration) {
        soon("nothing is under way", || self.tokens.status().overview.in_flight == 0).await;
        self.ring.advance(by);
        self.shift.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
        self.tokens.look_at_the_clock();
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_back(&self, by: Duration) {
        self.back.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// What its wall clock shows.
    pub(crate) fn wall(&self) -> Millis {
        let [shift, back] =
            [&self.shift, &self.back].map(|ms| Duration::from_millis(ms.load(Ordering::Relaxed)));
        clock::now().plus(shift).minus(back)
    }

    /// How many refreshes came out so.
    pub(crate) fn refreshes(&self, outcome: &str) -> u64 {
        self.counted(&format!("ringhookd_refreshes_total{{outcome=\"{outcome}\"}} "))
    }

    fn counted(&self, line: &str) -> u64 {
        let text = self.metrics.render();
        text.split_once(line).unwrap().1.lines().next().unwrap().parse().unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn tokens(&self) -> &Arc<TokenService> {
        &self.tokens
    }

    /// Stops refreshing, and waits for what is under way.
    pub(crate) async fn stop(&self) {
        self.stop_within(PATIENCE).await;
    }

    /// The same, where that may take so long.
    pub(crate) async fn stop_within(&self, limit: Duration) {
        if let Some((stop, running)) = self.running.lock().await.take() {
            let _ = stop.send(limit);
            running.await.unwrap();
        }
    }

    /// The same, before anything was refreshed.
    pub(crate) async fn hold_back(&self) {
        self.stop().await;
    }

    pub(crate) async fn let_go(&self) {
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(
            Arc::clone(&self.tokens).run(async { clock::ticks() + stopped.await.unwrap_or_default() }),
        );
        *self.running.lock().await = Some((stop, running));
    }

    /// Ends the token service and closes its store.
    pub(crate) async fn close(&mut self) {
        self.stop().await;
        self.store.close();
    }

    /// Opens the store anew, with a token service of its own.
    pub(crate) async fn open(&mut self) {
        let store = open(&self.dir.path().join("store"), options(vec![alerts()])).unwrap();
        self.reopen(store).await;
    }

    /// Goes on with that store.
    pub(crate) async fn reopen(&mut self, store: Store) {
        self.store = store;
        self.tokens = self.new_tokens().await;
        self.let_go().await;
    }

    pub(crate) fn fault(&self, fault: &str, times: u64) {
        self.ring.inject(Plan { fault: fault.parse().unwrap(), times: Some(times), account: None });
    }

    /// Ring brings a code.
    pub(crate) async fn take_code(&self, code: &str) -> Result<(), NoRoom> {
        self.tokens.take_code(Grant { code: Secret::new(code.to_owned()), verifier: None }).await
    }

    /// How many codes came to an end, by its name.
    pub(crate) fn codes(&self, outcome: &str) -> u64 {
        self.counted(&format!("ringhookd_codes_total{{outcome=\"{outcome}\"}} "))
    }

    /// Puts an account in with its refresh token alone, so that it is refreshed at once.
    pub(crate) async fn import(&self, id: &str) -> Given {
        self.import_as(id, Span::of_import(None, clock::now())).await
    }

    pub(crate) async fn import_as(&self, id: &str, span: Span) -> Given {
        let given = self.ring.add_account(id);
        self.put(id, Pair::of(Some(&given.access), &given.refresh), span).await;
        given
    }

    /// Puts tokens in that somebody has, whatever they are worth.
    pub(crate) async fn import_pair(&self, id: &str, access: Option<&str>, refresh: &str) {
        self.put(id, Pair::of(access, refresh), Span::of_import(None, clock::now())).await;
    }

    async fn put(&self, id: &str, pair: Pair, span: Span) {
        let tokens = Some(NewTokens { pair, span });
        let import = Import { account: account(id), user: Some(user("ann")), tokens, replace: false };
        self.store.links().import(import).await.unwrap().unwrap();
    }

    pub(crate) async fn import_number(&self, id: &str) -> u32 {
        self.import(id).await;
        self.store.links().access(account(id)).await.unwrap().unwrap().number
    }

    pub(crate) async fn lend(&self, id: &str) -> Result<AccessToken, Denied> {
        self.lend_for(id, Duration::from_mins(1)).await
    }

    pub(crate) async fn lend_for(&self, id: &str, min_life: Duration) -> Result<AccessToken, Denied> {
        self.tokens
            .access_tokens()
            .get(&AccessRequest { account: account(id), min_life, refused: None })
            .await
    }

    pub(crate) async fn lend_newer(&self, id: &str, refused: u64) -> Result<AccessToken, Denied> {
        let ask =
            AccessRequest { account: account(id), min_life: Duration::from_mins(1), refused: Some(refused) };
        self.tokens.access_tokens().get(&ask).await
    }

    /// Why there is no newer token than the present one.
    pub(crate) async fn refused_newer(&self, id: &str) -> Reason {
        let present = self.store.links().access(account(id)).await.unwrap().unwrap().generation;
        self.lend_newer(id, present).await.unwrap_err().reason
    }

    /// Has an account refreshed once more.
    pub(crate) async fn refresh_again(&self, id: &str) {
        let before = self.ring.counts(id).granted;
        self.advance(PATIENCE).await;
        let present = self.store.links().access(account(id)).await.unwrap().unwrap().generation;
        self.lend_newer(id, present).await.unwrap();
        assert_eq!(self.ring.counts(id).granted, before + 1);
    }

    /// Waits until Ring has told the account of everything that arrived.
    pub(crate) async fn all_have_arrived(&self) {
        let deadline = clock::ticks() + PATIENCE;
        while !self.store.links().arriving().await.unwrap().is_empty() {
            assert!(clock::ticks() < deadline, "something is still arriving");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The account ends with tokens that Ring honours, however often asked.
    pub(crate) async fn survives(&self, id: &str) {
        let deadline = clock::ticks() + PATIENCE;
        loop {
            match self.lend(id).await {
                Ok(lent) if self.ring.honours_access(lent.token.expose()) => break,
                outcome => assert!(clock::ticks() < deadline, "{id}: {outcome:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let live = self.ring.live(id).unwrap();
        assert!(self.ring.honours(&live), "{id}");
    }
}

async fn token_service(
    store: &Store,
    ring: &Ring,
    guard: &Path,
    (shift, back): (&Arc<AtomicU64>, &Arc<AtomicU64>),
    metrics: &Metrics,
    late_after: Duration,
) -> Arc<TokenService> {
    let (shift, back, started) = (Arc::clone(shift), Arc::clone(back), clock::ticks());
    let client = ring.client();
    let api = RingApi::new(Settings {
        oauth_url: ring.oauth_url(),
        api_url: ring.url(),
        client_id: client.id.clone(),
        client_secret: Secret::new(client.secret.clone()),
        ca_pem: None,
        connect_timeout: Duration::from_secs(1),
        call_timeout: CALL_TIMEOUT,
        answer_timeout: ANSWER_TIMEOUT,
        max_answer: 64 << 10,
        ring_clock: store.ring_clock(),
    });
    let parts = Parts {
        store: store.clone(),
        api: Some(api.unwrap()).into(),
        policy: Schedule::default(),
        late_after,
        answer_timeout: ANSWER_TIMEOUT,
        codes_per_second: 10,
        guard: Guard::new(guard, &store.identity().store),
        metrics: metrics.clone(),
        clock: Clock::new(move || {
            let by = Duration::from_millis(shift.load(Ordering::Relaxed));
            let back = Duration::from_millis(back.load(Ordering::Relaxed));
            Moment { wall: clock::now().plus(by).minus(back), ticks: clock::ticks() - started + by }
        }),
    };
    TokenService::new(parts).await.unwrap()
}
