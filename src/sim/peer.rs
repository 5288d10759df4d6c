//! The partner's server as the simulated Ring calls it: one request a connection, five seconds for an answer.

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
const TIMEOUT: Duration = Duration::from_secs(5);

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
