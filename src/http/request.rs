//! The context of a request: its body, the budgets that the body is read under, the peer, and the connection.

use std::sync::Arc;

use hyper::body::Incoming;
use tokio::time::Instant;

use super::Server;
use super::body::{self, BodyError, Received};
use super::listener::Peer;
use super::watch::Watch;
use crate::telemetry::HttpRefusal;

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) server: Arc<Server>,
    pub(super) watch: Arc<Watch>,
    pub(super) peer: Peer,
}

impl Line {
    /// Counts the request among those in work, once. False when those are too many.
    pub(super) fn work(&self) -> bool {
        if !self.server.requests.enter() {
            self.server.metrics.refused(HttpRefusal::Requests);
            return false;
        }
        // Where it begins, until `Working` is dropped.
        if !self.watch.work() {
            self.server.requests.leave();
        }
        true
    }
}

/// The context of a request, for its handler. The body is read once at most, under the server's budget of bytes.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    line: Arc<Line>,
}

impl Body {
    pub(super) fn new(incoming: Incoming, line: Arc<Line>) -> Self {
        Self { incoming, line }
    }

    /// Reads it to its end, which has to come by `deadline` and within `cap` bytes. Only from then on the request counts among
    /// those in work.
    ///
    /// # Errors
    /// [`BodyError`]; a body whose announced length is over the cap is not asked for (no `100 Continue` is sent).
    pub async fn read(self, cap: usize, deadline: Instant) -> Result<Received, BodyError> {
        let Self { incoming, line } = self;
        let connection = (Arc::clone(&line.watch), Arc::clone(&line.server.registry));
        let received = body::read_request(incoming, cap, deadline, &line.server.bytes, connection).await?;
        if line.work() { Ok(received) } else { Err(BodyError::Busy) }
    }

    /// The other end of the connection.
    pub fn peer(&self) -> Peer {
        self.line.peer
    }

    /// The connection that the request came by.
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.line.watch))
    }
}

/// A connection, as handlers see it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Watch>);

impl Connection {
    /// A request on it was genuine, so it is kept longer than others where there is no room for all.
    pub fn prove(&self) {
        self.0.prove();
    }
}
