//! Account linking: takes Ring's authorization codes, matches a user's visit to a Ring account, and tells Ring.
//!
//! ```text
//! Ring ──code──▶ endpoint ──▶ tokens: exchanged, their account known: unclaimed
//! partner's web app ──claim──▶ claims: whose nonce is it? ──the user's, on disk──▶ confirm ──POST, PATCH──▶ Ring
//! ```
//!
//! What a claim may do is `domain::claim`'s to decide, what Ring's answers mean `domain::confirm`'s and `domain::disconnect`'s.

mod bring;
mod claims;
mod confirm;
mod endpoint;
mod pause;
mod pause_request;
pub mod request;
mod waiting;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::domain::access_token::Reason;
use crate::domain::nonce::Nonces;
use crate::domain::ring_time::RingTime;
use crate::live::Live;
use crate::ring_api::Current;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tokens::TokenService;

use self::pause_request::PauseRequest;
use self::waiting::Waiting;

pub use endpoint::Endpoint;
pub use pause_request::Pause;

/// Looks for a nonce that run at a time: each goes over every account that may be claimed.
const SEARCHES: usize = 1;
/// Links that Ring is told of at a time.
const PARALLEL: usize = 8;

/// What linking works on.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    /// Without one nothing can be claimed.
    pub api: Current,
    pub tokens: Arc<TokenService>,
    pub nonces: Nonces,
    /// How far ahead of our clock the time of a visit may be.
    pub clock_skew: Duration,
    pub metrics: Metrics,
}

/// Claims of one daemon, from the nonce to Ring's confirmation.
#[derive(Debug)]
pub struct Linking {
    store: Store,
    api: Current,
    tokens: Arc<TokenService>,
    nonces: Live<Nonces>,
    clock_skew: Live<Duration>,
    metrics: Metrics,
    searches: Arc<Semaphore>,
    waiting: Waiting,
    calls: Semaphore,
    /// Apps that Ring is to pause; begun by the loop that tells Ring of claims.
    pause_requests: mpsc::Sender<PauseRequest>,
    pauses_to_begin: tokio::sync::Mutex<mpsc::Receiver<PauseRequest>>,
    /// Why it takes long with some of them.
    troubles: Mutex<HashMap<u32, Reason>>,
}

impl Linking {
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, api, tokens, nonces, clock_skew, metrics } = parts;
        let (sender, receiver) = mpsc::channel(pause_request::WAITING);
        Arc::new(Self {
            store,
            api,
            tokens,
            nonces: Live::new(nonces),
            clock_skew: Live::new(clock_skew),
            metrics,
            searches: Arc::new(Semaphore::new(SEARCHES)),
            waiting: Waiting::default(),
            calls: Semaphore::new(PARALLEL),
            pause_requests: sender,
            pauses_to_begin: tokio::sync::Mutex::new(receiver),
            troubles: Mutex::default(),
        })
    }

    /// Visits are compared by these keys from now on, those that wait too.
    pub fn set_keys(&self, nonces: Nonces) {
        let nonces = Arc::new(nonces);
        self.nonces.set(Arc::clone(&nonces));
        self.waiting.compare_by(&nonces);
    }

    /// How far ahead of our clock the time of a visit may be from now on.
    pub fn set_clock_skew(&self, clock_skew: Duration) {
        self.clock_skew.set(Arc::new(clock_skew));
    }

    /// Brings accounts to the claims that wait for them, and tells Ring of claims, until `stop` resolves. What is under way then goes
    /// on at the next start, from its last step.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = Instant> + Send) {
        tokio::select! {
            () = Arc::clone(&self).tell_ring(stop) => {}
            () = self.bring_to_waiting() => {}
        }
    }

    /// The time by which visits grow old: Ring's, as far as it is known.
    fn ring_now(&self) -> RingTime {
        self.store.ring_clock().now()
    }

    fn troubles(&self) -> MutexGuard<'_, HashMap<u32, Reason>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
