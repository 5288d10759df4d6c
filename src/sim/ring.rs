//! The simulated Ring as tests and commands hold it: started on a loopback socket, steered and asked from outside.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::action::{self, Action};
use super::api;
use super::clock::SimClock;
use super::fault::Place;
use super::faults::Plan;
use super::integrations::{Integrations, LinkState, Visit};
use super::ledger::{Counts, Exchange};
use super::oauth::{OAuth, Pair};
use super::options::{Options, Partner};
use super::random::Random;
use super::rate::Rate;
use super::server::serve;
use super::shared::Shared;
use super::world::{Client, World};
use crate::domain::time::Millis;

/// A simulated Ring that runs on a thread of its own. Ends when dropped.
#[derive(Debug)]
pub struct Ring {
    shared: Arc<Shared>,
    address: SocketAddr,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ring {
    /// Listens before it returns.
    ///
    /// # Errors
    /// When the address is not a loopback one or can't be had.
    pub fn start(options: Options) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let words =
                format!("{} is not a loopback address: a simulated Ring is for this machine", options.listen);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let oauth = OAuth::new(options.policy, options.reuse_revokes, Random::new(options.seed));
        let integrations = Integrations::new(options.hmac_key.as_bytes());
        let world = World::new(oauth, integrations, Rate::new(options.rate), options.client.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::new(world, runtime.handle().clone(), &options));
        let (stop, stopped) = oneshot::channel();
        let served = serve(listener, Arc::clone(&shared), stopped);
        let thread = std::thread::Builder::new().name("simulated-ring".into());
        let thread = thread.spawn(move || runtime.block_on(served))?;
        Ok(Self { shared, address, client: options.client, stop: Some(stop), thread: Some(thread) })
    }

    /// Closes every socket; what is in flight gets no answer.
    pub fn stop(self) {
        drop(self);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// In place of `https://api.amazonvision.com`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// In place of `https://oauth.ring.com/oauth/token`.
    pub fn oauth_url(&self) -> String {
        format!("{}{}", self.url(), api::TOKEN_PATH)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The clock by which tokens grow old.
    pub fn clock(&self) -> &SimClock {
        &self.shared.clock
    }

    /// Lets time pass for tokens, codes and nonces. Rate limit and delays keep to real time.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// A linked account and its first tokens; a known account's earlier tokens are dead then.
    pub fn add_account(&self, account: &str) -> Pair {
        self.shared.world().link(account, self.shared.clock.now()).pair
    }

    /// All accounts, in the order in which they came.
    pub fn accounts(&self) -> Vec<Arc<str>> {
        self.shared.world().oauth.accounts().cloned().collect()
    }

    /// The user adds the app: a code, good once and for 60 seconds. The account need not be known before.
    pub fn new_code(&self, account: &str) -> String {
        self.shared.world().new_code(account, self.shared.clock.now())
    }

    /// The user goes on to sign in with the partner; nothing where the app is not added.
    pub fn visit(&self, account: &str) -> Option<Visit> {
        self.shared.visit(account).map(|(visit, _)| visit)
    }

    /// From now on this is the partner that is called.
    pub fn set_partner(&self, partner: Partner) {
        self.shared.set_partner(partner);
    }

    /// The user adds the app: its devices and its code are sent on their way.
    ///
    /// # Errors
    /// Words that say why not.
    pub fn install(&self, account: &str) -> Result<(), String> {
        self.shared.install(account)
    }

    /// The confirmation mails that the account's user has had.
    pub fn mails(&self, account: &str) -> u64 {
        self.shared.world().integrations.mails(account)
    }

    /// How far the account's link is; nothing where the app is not added.
    pub fn link_state(&self, account: &str) -> Option<LinkState> {
        self.shared.world().integrations.state(account)
    }

    /// An access token of Ring's Playground: half an hour, no refresh token.
    pub fn playground(&self, account: &str) -> String {
        self.shared.world().oauth.playground(account, self.shared.clock.now())
    }

    /// The user removes the app: none of the account's tokens is good any more, and the webhook, if there is one, is told.
    /// Whether the account was known.
    pub fn revoke(&self, account: &str) -> bool {
        self.shared.revoke(account, true)
    }

    /// The same, but the event is lost: the webhook never hears of it.
    pub fn revoke_silently(&self, account: &str) -> bool {
        self.shared.revoke(account, false)
    }

    /// Sends an event that happened then on its way: one that comes late is of a link that was.
    ///
    /// # Errors
    /// Words that say why not.
    pub fn send_at(&self, event: &str, account: &str, at: Millis) -> Result<(), String> {
        self.shared.send(&action::event(event)?, Some(account), at)
    }

    /// Does what a scenario's step says.
    ///
    /// # Errors
    /// Words that say why not.
    pub fn perform(&self, action: Action) -> Result<(), String> {
        action.perform(&self.shared)
    }

    /// From now on this goes wrong.
    pub fn inject(&self, plan: Plan) {
        self.shared.world().faults.add(plan);
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// How often a fault happened, by its name without argument, e.g. `oauth-429`.
    pub fn fired(&self, fault: &str) -> u64 {
        self.shared.world().faults.fired().get(fault).copied().unwrap_or(0)
    }

    /// Whether an exchange of this refresh token would succeed now.
    pub fn honours(&self, refresh_token: &str) -> bool {
        self.shared.world().oauth.honours(refresh_token, self.shared.clock.now())
    }

    /// Whether this access token is good now.
    pub fn honours_access(&self, access_token: &str) -> bool {
        self.shared.world().oauth.bearer(access_token, self.shared.clock.now()).is_some()
    }

    /// The account's newest refresh token; nothing when its link is lost.
    pub fn live(&self, account: &str) -> Option<String> {
        self.shared.world().oauth.live(account, self.shared.clock.now())
    }

    /// The account's requests at the token endpoint, in numbers.
    pub fn counts(&self, account: &str) -> Counts {
        self.shared.world().ledger.counts(account)
    }

    /// The most requests that any one account had in flight at the token endpoint at a time.
    pub fn most_in_flight(&self) -> u64 {
        self.shared.world().ledger.most_in_flight()
    }

    /// The requests at the token endpoint, oldest first; the last million of them.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.world().ledger.exchanges().cloned().collect()
    }

    /// Requests at a place, those over the rate included.
    pub fn requests(&self, place: Place) -> u64 {
        self.shared.world().requests.get(&place).copied().unwrap_or(0)
    }

    /// The requests of the worst second over all places, those over the rate included.
    pub fn peak_per_second(&self) -> usize {
        self.shared.world().rate.peak()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The thread is the only receiver: it is gone already where this fails.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
