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

pub(super) type Client = legacy::Client<Bounded<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// Below the minute after which load balancers commonly close, so that few requests meet a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);
/// A peer that is gone is noticed after about a minute, so that nobody waits for its answer.
const ALIVE: Duration = Duration::from_secs(15);
/// As many as there are refreshes at a time by default.
const MAX_IDLE: usize = 16;

pub(super) fn client(tls: ClientConfig, connect_timeout: Duration) -> Client {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(ALIVE));
    tcp.set_keepalive_interval(Some(ALIVE));
    tcp.set_keepalive_retries(Some(3));
    // Divided among the addresses of a name, so that one that is dead leaves time for the next.
    tcp.set_connect_timeout(Some(connect_timeout));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let connector = Bounded { inner: connector.wrap_connector(tcp), limit: connect_timeout };
    pooled(connector)
}

pub(super) fn pooled<C: Connect + Clone>(connector: C) -> legacy::Client<C, Full<Bytes>> {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    // Whether to send again is not for a pool to decide.
    builder.retry_canceled_requests(false);
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(MAX_IDLE);
    builder.build(connector)
}

/// A connector with a limit on all that comes before the first byte of a request: names, addresses, TLS.
#[derive(Debug, Clone)]
pub(super) struct Bounded<C> {
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
