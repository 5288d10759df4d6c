//! The partner's server as the simulated Ring calls it: one request a connection, five seconds for an answer, and again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long Ring waits for an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// When Ring tries again, counted from the attempt before.
pub(super) const RETRIES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
];

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The last answer; nothing when there was none in time.
    pub status: Option<u16>,
    pub attempts: usize,
}

/// In words, for who watches.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("no answer".to_owned(), |status| status.to_string());
        write!(f, "{status} (attempt {})", self.attempts)
    }
}

/// Attempts until one is answered for good, as Ring does: 2xx and 4xx are final, the rest is tried again after these waits,
/// divided by `haste`.
pub(super) async fn deliver<F>(waits: &[Duration], haste: u32, attempt: impl Fn() -> F) -> Delivery
where
    F: Future<Output = io::Result<u16>>,
{
    let mut waits = waits.iter();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let status = attempt().await.ok();
        let last = status.is_some_and(|status| matches!(status, 200..=299 | 400..=499));
        let wait = waits.next().filter(|_| !last);
        let Some(wait) = wait else { return Delivery { status, attempts } };
        tokio::time::sleep(*wait / haste.max(1)).await;
    }
}

/// An address or a path, and more of its query.
pub(super) fn with_query(address: &str, query: &str) -> String {
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}{query}")
}

/// Where to, and at which path.
#[derive(Debug, Clone)]
pub struct Peer {
    pub to: SocketAddr,
    pub path: String,
}

impl Peer {
    /// Sends one request; the answer's status.
    pub(super) async fn send(&self, request: Builder, body: Full<Bytes>) -> io::Result<u16> {
        timeout(TIMEOUT, self.exchange(request, body)).await?
    }

    async fn exchange(&self, request: Builder, body: Full<Bytes>) -> io::Result<u16> {
        let stream = TcpStream::connect(self.to).await?;
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Aborted when dropped, so that nothing goes on after Ring's patience has ended.
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(connection);
        let request = request.header("host", self.to.to_string()).body(body).map_err(io::Error::other)?;
        let answer = send.send_request(request).await.map_err(io::Error::other);
        answer.map(|answer| answer.status().as_u16())
    }
}
