//! What one listener grants its peers, in time, bytes and numbers.

use std::time::Duration;

/// Bounds of one [`Server`](super::Server), over all its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For what comes before the first head: a TLS handshake.
    pub setup_timeout: Duration,
    /// From the first byte of a head (or from the connection's setup) to its last.
    pub header_timeout: Duration,
    /// Request line and header lines together.
    pub max_header_bytes: usize,
    pub max_headers: usize,
    /// How long a connection may rest between two requests.
    pub keep_alive_idle: Duration,
    /// Beyond it the least useful connection is closed for a new one.
    pub max_connections: usize,
    /// Requests that have come whole and whose handler is running.
    pub max_requests: usize,
    /// Body bytes that all requests hold together. Beyond it the largest unfinished body is refused.
    pub max_bytes_in_flight: usize,
    /// After this a handler that has not answered is dropped and the peer gets a 503.
    pub request_budget: Duration,
    /// For the peer to take an answer; of a stream, for it to take anything at all.
    pub answer_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            setup_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            max_header_bytes: 16 * 1024,
            max_headers: 100,
            keep_alive_idle: Duration::from_secs(75),
            max_connections: 1024,
            max_requests: 512,
            max_bytes_in_flight: 64 * 1024 * 1024,
            request_budget: Duration::from_secs(4),
            answer_timeout: Duration::from_secs(3),
        }
    }
}
