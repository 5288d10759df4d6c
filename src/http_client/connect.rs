//! Connections: HTTP/1.1 with or without TLS, kept for a while, and made within one limit from the name to the handshake.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{error, io};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower_service::Service;

pub type Client = legacy::Client<Bounded<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// How long connecting may take, and how connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For resolving the name, connecting and TLS together.
    pub connect: Duration,
    /// An idle connection is closed after this.
    pub idle: Duration,
    pub max_idle: usize,
    /// Between two signs of life: a peer that is gone is noticed after four of them.
    pub alive: Duration,
    /// Sends a request again of which nothing was written, because the pool's connection had been closed.
    pub repeat_unsent: bool,
    /// A connection whose peer takes nothing of what was sent for so long is given up.
    pub stuck: Option<Duration>,
    /// Bytes of an answer's head; at least 8 KiB.
    pub max_head: Option<usize>,
}

/// Signs of life in a row that may stay without an answer.
const LOST_SIGNS: u32 = 3;

pub fn client(tls: ClientConfig, limits: &Limits) -> Client {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(limits.alive));
    tcp.set_keepalive_interval(Some(limits.alive));
    tcp.set_keepalive_retries(Some(LOST_SIGNS));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(limits.stuck);
    // Divided among the addresses of a name, so that one that is dead leaves time for the next.
    tcp.set_connect_timeout(Some(limits.connect));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let connector = Bounded { inner: connector.wrap_connector(tcp), limit: limits.connect };
    pooled(connector, limits)
}

pub fn pooled<C: Connect + Clone>(connector: C, limits: &Limits) -> legacy::Client<C, Full<Bytes>> {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.retry_canceled_requests(limits.repeat_unsent);
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits.idle)
        .pool_max_idle_per_host(limits.max_idle);
    if let Some(max) = limits.max_head {
        builder.http1_max_buf_size(max);
    }
    builder.build(connector)
}

/// A connector with a limit on all that comes before the first byte of a request: names, addresses, TLS.
#[derive(Debug, Clone)]
pub struct Bounded<C> {
    inner: C,
    limit: Duration,
}

type BoxError = Box<dyn error::Error + Send + Sync>;

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = timeout(self.limit, self.inner.call(to));
        Box::pin(async {
            connecting.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}
