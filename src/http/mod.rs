//! Accept loop, limits, watch: HTTP/1.1 for any handler, and no business of its own.
//!
//! A [`Server`] is the limits and the budgets; [`Server::serve`] runs one listener under them. Handlers read bodies with
//! [`body::read`] and make answers with [`answer`]. What is refused here is refused by 503 with `Retry-After`, except what is
//! not HTTP (400 or a closed connection) and heads over the limits (431, by hyper).

pub mod answer;
pub mod body;
mod connection;
mod framing;
mod limits;
mod listener;
mod watch;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, watch as signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

pub use answer::{Answer, Content};
pub use limits::Limits;
pub use listener::{Listener, Peer};

use crate::clock;
use crate::domain::limiter::Limiter;
use crate::telemetry::{HttpMetrics, HttpRefusal};
use body::InFlightBytes;

/// After a failed accept, usually for want of descriptors, which come back only as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections over the limit that are being told so; further ones are closed without a word.
const MAX_REFUSING: usize = 64;
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Answers requests: any `Fn(Request<Incoming>, Peer) -> impl Future<Output = Answer>`. Its future may be dropped at any
/// await, when the peer is gone or the budget spent, and may panic.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Answer> + Send;
}

impl<H, F> Handler for H
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Answer> + Send {
        self(request, peer)
    }
}

/// Limits, and what is shared by the requests under them.
#[derive(Debug)]
pub struct Server {
    limits: Arc<Limits>,
    requests: Semaphore,
    bytes: InFlightBytes,
    metrics: HttpMetrics,
    builder: Builder,
}

impl Server {
    pub fn new(limits: Limits, metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self {
            requests: Semaphore::new(limits.max_requests.min(Semaphore::MAX_PERMITS)),
            bytes: InFlightBytes::new(limits.max_bytes_in_flight, metrics.body_bytes.clone()),
            builder: connection::builder(&limits),
            limits: Arc::new(limits),
            metrics,
        })
    }

    /// The budget that handlers pass to [`body::read`].
    pub fn bytes(&self) -> &InFlightBytes {
        &self.bytes
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
            tokio::select! {
                biased;
                deadline = &mut stop => return deadline,
                Some(_) = connections.join_next() => {}
                Some(_) = refusing.join_next() => {}
                accepted = next => match accepted {
                    Ok((stream, peer)) if connections.len() < self.limits.max_connections => {
                        let (handler, stopped) = (Arc::clone(&handler), stopped.clone());
                        connections.spawn(connection::run(Arc::clone(self), handler, stream, peer, stopped));
                    }
                    Ok((stream, _)) => {
                        self.metrics.refused(HttpRefusal::Connections);
                        if refusing.len() < MAX_REFUSING {
                            refusing.spawn(refuse(stream, Arc::clone(&self.limits)));
                        }
                    }
                    Err(error) if of_the_peer(&error) => {}
                    Err(error) => {
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

async fn refuse<S: tokio::io::AsyncRead + AsyncWrite + Unpin>(mut stream: S, limits: Arc<Limits>) {
    let told = timeout_at(clock::ticks() + limits.answer_timeout, stream.write_all(REFUSAL)).await;
    if let Ok(Ok(())) = told {
        connection::linger(stream, &limits).await;
    }
}

#[cfg(test)]
mod tests;
