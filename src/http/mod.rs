//! Accept loop, limits, watch: HTTP/1.1 for any handler, and no business of its own.
//!
//! A [`Server`] is the limits and the budgets; [`Server::serve`] runs a listener under them. Handlers read bodies with
//! [`Body::read`] and make answers with [`answer`]. What is refused here is refused by 503 with `Retry-After`, except what is
//! not HTTP (400 or a closed connection) and heads over the limits (431, by hyper). A connection that has no room is refused
//! only when no other can be evicted for it, which `registry` decides.

pub mod answer;
pub mod body;
mod connection;
mod framing;
mod gate;
mod limits;
mod listener;
mod registry;
mod request;
pub mod routes;
mod tls;
mod watch;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::server::conn::http1::Builder;
use tokio::sync::{Semaphore, watch as signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

pub use answer::{Answer, Content};
pub use limits::Limits;
pub use listener::{Listener, Peer, Setup};
pub use request::{Body, Connection};
pub use tls::TlsListener;

use self::watch::Watch;
use crate::clock;
use crate::domain::limiter::Limiter;
use crate::live::Live;
use crate::requests::Requests;
use crate::telemetry::{HttpMetrics, HttpRefusal};
use body::InFlightBytes;
use gate::Gate;
use registry::Registry;

/// After a failed accept, usually for want of descriptors, which come back only as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are read on after their answer, at a time; further ones may lose it.
const MAX_LINGERING: usize = 64;
/// Connections that are being refused or have been evicted, at a time; further ones wait to be accepted. They need descriptors
/// beside [`Limits::max_connections`].
pub const MAX_LEAVING: usize = 256;

/// Answers requests: any `Fn(Request<Body>) -> impl Future<Output = Answer>`. Its future may be dropped at any
/// await, when the peer is gone or the budget spent, and may panic.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request<Body>) -> impl Future<Output = Answer> + Send;
}

impl<H, F> Handler for H
where
    H: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    fn handle(&self, request: Request<Body>) -> impl Future<Output = Answer> + Send {
        self(request)
    }
}

/// Limits, which can change, and what is shared by the requests under them.
#[derive(Debug)]
pub struct Server {
    settings: Live<Settings>,
    requests: Gate,
    lingering: Semaphore,
    registry: Arc<Registry>,
    bytes: InFlightBytes,
    metrics: HttpMetrics,
    /// Where requests are noted that no handler has answered.
    unanswered: Option<Arc<Requests>>,
}

/// What a connection has from its beginning to its end.
#[derive(Debug)]
struct Settings {
    limits: Arc<Limits>,
    builder: Builder,
}

impl Settings {
    fn of(limits: Limits) -> Self {
        Self { builder: connection::builder(&limits), limits: Arc::new(limits) }
    }
}

impl Server {
    pub fn new(limits: Limits, metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self::of(limits, metrics, None))
    }

    /// The same, which notes the requests that no handler has answered.
    pub fn noting(limits: Limits, metrics: HttpMetrics, requests: &Arc<Requests>) -> Arc<Self> {
        Arc::new(Self::of(limits, metrics, Some(Arc::clone(requests))))
    }

    fn of(limits: Limits, metrics: HttpMetrics, unanswered: Option<Arc<Requests>>) -> Self {
        Self {
            requests: Gate::new(limits.max_requests),
            lingering: Semaphore::new(MAX_LINGERING),
            registry: Registry::new(limits.max_connections, metrics.clone()),
            bytes: InFlightBytes::new(limits.max_bytes_in_flight, metrics.body_bytes.clone()),
            settings: Live::new(Settings::of(limits)),
            metrics,
            unanswered,
        }
    }

    /// New connections have these limits, and all together: where there are more than may be, those that can be spared are closed.
    pub fn set(&self, limits: Limits) {
        self.requests.set(limits.max_requests);
        self.bytes.set_limit(limits.max_bytes_in_flight);
        let max = limits.max_connections;
        self.settings.set(Arc::new(Settings::of(limits)));
        self.registry.set_max(max);
    }

    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.settings.get().limits)
    }

    /// Serves `listener` until `stop` resolves, and then finishes what is in flight until the time that `stop` gave.
    /// Returns how many connections that time cut off.
    pub async fn serve<L: Listener, H: Handler>(
        self: Arc<Self>,
        listener: L,
        handler: H,
        stop: impl Future<Output = Instant> + Send,
    ) -> usize {
        let (stopping, stopped) = signal::channel(false);
        let mut connections = JoinSet::new();
        let deadline = self.accept(listener, handler, stop, stopped, &mut connections).await;
        let _ = stopping.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout_at(deadline, all).await;
        let cut_off = connections.len();
        connections.shutdown().await;
        cut_off
    }

    /// The accept loop; the listener is closed when it returns.
    async fn accept<L: Listener, H: Handler>(
        self: &Arc<Self>,
        mut listener: L,
        handler: H,
        stop: impl Future<Output = Instant> + Send,
        stopped: signal::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) -> Instant {
        let handler = Arc::new(handler);
        let mut refusing = JoinSet::new();
        let mut resume = clock::ticks();
        let mut warnings = Limiter::new(3);
        let mut stop = pin!(stop);
        loop {
            let next = async {
                sleep_until(resume).await;
                listener.accept().await
            };
            let has_room = refusing.len() < MAX_LEAVING
                && connections.len() < self.registry.max().saturating_add(MAX_LEAVING);
            tokio::select! {
                biased;
                deadline = &mut stop => return deadline,
                Some(_) = connections.join_next() => {}
                Some(_) = refusing.join_next() => {}
                accepted = next, if has_room => match accepted {
                    Ok(accepted) if self.registry.has_room() => {
                        let watch = Arc::new(Watch::new(self.limits()));
                        let place = self.registry.enter(Arc::clone(&watch));
                        let (server, handler) = (Arc::clone(self), Arc::clone(&handler));
                        let stopped = stopped.clone();
                        connections.spawn(connection::run(server, handler, accepted, (watch, place), stopped));
                    }
                    Ok(accepted) => {
                        self.metrics.refused(HttpRefusal::Connections);
                        let server = Arc::clone(self);
                        refusing.spawn(async move { connection::reject(accepted, &server).await });
                    }
                    Err(error) if of_the_peer(&error) => {}
                    Err(error) => {
                        // It may have been for want of a descriptor.
                        self.registry.evict_one();
                        resume = clock::ticks() + ACCEPT_PAUSE;
                        if let Some(silent) = warnings.pass((), clock::now()) {
                            warn!(%error, silent, "accept failed, pausing");
                        }
                    }
                },
            }
        }
    }
}

/// The connection failed before we had it; the next may be fine.
fn of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
