//! What the kinds that speak HTTP have in common: how their connections are kept, and how much of an answer is read.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use crate::http_client::{self, Client, Limits};

/// For resolving the name, connecting and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// Below the 5 s after which many servers close an idle connection, so that few requests meet one that is being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Four of these in a row without an answer, and the connection is given up: well within 30 s.
const ALIVE: Duration = Duration::from_secs(6);
const STUCK: Duration = Duration::from_secs(24);
/// Bytes of an answer's head that are read.
const MAX_HEAD: usize = 16 << 10;

/// For requests that may take so long, and of which so many are under way.
pub(super) fn client(tls: ClientConfig, timeout: Duration, parallel: usize) -> Client {
    let limits = Limits {
        connect: CONNECT.min(timeout),
        idle: IDLE,
        max_idle: parallel,
        alive: ALIVE,
        stuck: Some(STUCK),
        repeat_unsent: true,
        max_head: Some(MAX_HEAD),
    };
    http_client::client(tls, &limits)
}

/// The part of `body` that comes until `deadline`, or before it breaks; at most `max` bytes.
pub(super) async fn read(body: &mut Incoming, max: usize, deadline: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < max
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let piece = frame.into_data().unwrap_or_default();
        let room = max - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    all
}
