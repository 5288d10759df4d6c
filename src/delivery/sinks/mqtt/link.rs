//! The session that the deliveries of a queue share, made anew by the first that needs one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, End, KEEP_ALIVE};
use super::packet::Connect;
use crate::clock;
use crate::delivery::sinks::dial::{self, CONNECT};
use crate::delivery::sinks::shared::Shared;
use crate::delivery::sinks::words::Words;
use crate::domain::secret::Secret;

/// The ports that are usual without TLS and with it.
const PORTS: (u16, u16) = (1883, 8883);
/// For the broker's answer, once there is a connection.
const WELCOME: Duration = Duration::from_secs(5);

/// Who we are at the broker.
pub(super) struct Login {
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret<String>>,
}

/// The way to the broker, and the session where there is one.
pub(super) struct Link {
    tls: Option<Arc<ClientConfig>>,
    login: Login,
    /// Messages on their way.
    most: usize,
    shared: Shared<Connection>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("client_id", &self.login.client_id).finish_non_exhaustive()
    }
}

impl Link {
    /// `tls` is spoken where the broker's address says so.
    pub(super) fn new(tls: Option<ClientConfig>, login: Login, most: usize) -> Self {
        Self { tls: tls.map(Arc::new), login, most, shared: Shared::default() }
    }

    /// The session, begun where there is none. Why there is none is told in words.
    pub(super) async fn session(&self, words: &Words, deadline: Instant) -> Result<Arc<Connection>, String> {
        self.shared.get_by(deadline, self.open(words, deadline)).await
    }

    async fn open(&self, words: &Words, deadline: Instant) -> Result<Connection, String> {
        let broker = words.receiver();
        let port = broker.uri().port_u16().unwrap_or(if broker.is_encrypted() { PORTS.1 } else { PORTS.0 });
        let until = deadline.min(clock::ticks() + CONNECT);
        let wire = dial::connect(broker.host(), port, self.tls.as_ref(), until).await?;
        let Login { client_id, username, password } = &self.login;
        let connect = Connect {
            client_id,
            keep_alive: KEEP_ALIVE,
            username: username.as_deref(),
            password: password.as_ref().map(|password| password.expose().as_str()),
            will: None,
        };
        let until = deadline.min(clock::ticks() + WELCOME);
        let opened = timeout_at(until, Connection::open(wire, &connect, self.most)).await;
        opened.unwrap_or_else(|_| Err(End::Broke("no answer in time".to_owned()))).map_err(|end| match end {
            End::Told(reason) => format!("the broker refuses the session: {}", reason.words(words)),
            End::Broke(why) => format!("no session: {why}"),
        })
    }
}
