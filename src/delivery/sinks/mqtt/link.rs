//! The session that the deliveries of a queue share, made anew by the first that needs one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, End, KEEP_ALIVE, Unacknowledged};
use super::packet::{Connect, Publish, Will};
use super::reason::{NO_SUBSCRIBERS, NOT_AUTHORIZED, SUCCESS};
use super::session::Session;
use crate::clock;
use crate::delivery::sinks::dial::{self, CONNECT};
use crate::delivery::sinks::shared::Shared;
use crate::delivery::sinks::words::Words;
use crate::domain::home_assistant::{OFFLINE, ONLINE};
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
    /// The topic that tells whether there is a session.
    pub(super) availability: Option<String>,
}

/// The way to the broker, and the session where there is one.
pub(super) struct Link {
    tls: Option<Arc<ClientConfig>>,
    login: Login,
    /// Messages on their way.
    most: usize,
    shared: Shared<Session>,
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
    pub(super) async fn session(&self, words: &Words, deadline: Instant) -> Result<Arc<Session>, String> {
        self.shared.get_by(deadline, self.open(words, deadline)).await
    }

    /// Begins a session and ends it, under a name of its own: the broker would end that of a daemon with the same name. It tells nothing of
    /// whether the daemon is there.
    pub(super) async fn try_out(&self, words: &Words) -> Result<(), String> {
        let deadline = clock::ticks() + CONNECT + WELCOME;
        let name = format!("{}-check", self.login.client_id);
        self.open_as(&name, None, words, deadline).await.map(drop)
    }

    async fn open(&self, words: &Words, deadline: Instant) -> Result<Session, String> {
        let Login { client_id, availability, .. } = &self.login;
        self.open_as(client_id, availability.as_deref(), words, deadline).await
    }

    async fn open_as(
        &self,
        client_id: &str,
        availability: Option<&str>,
        words: &Words,
        deadline: Instant,
    ) -> Result<Session, String> {
        let broker = words.receiver();
        let port = broker.uri().port_u16().unwrap_or(if broker.is_encrypted() { PORTS.1 } else { PORTS.0 });
        let until = deadline.min(clock::ticks() + CONNECT);
        let wire = dial::connect(broker.host(), port, self.tls.as_ref(), until).await?;
        let Login { username, password, .. } = &self.login;
        let connect = Connect {
            client_id,
            keep_alive: KEEP_ALIVE,
            username: username.as_deref(),
            password: password.as_ref().map(|password| password.expose().as_str()),
            will: availability.map(|topic| Will { topic, payload: OFFLINE.as_bytes() }),
        };
        let until = deadline.min(clock::ticks() + WELCOME);
        let opened = timeout_at(until, async {
            let connection = Connection::open(wire, &connect, self.most).await?;
            if let Some(topic) = availability {
                be_available(&connection, topic).await?;
            }
            Ok(Session::over(connection))
        });
        let opened = opened.await.unwrap_or_else(|_| Err(End::Broke("no answer in time".to_owned())));
        opened.map_err(|end| match end {
            End::Told(reason) => {
                let rights = availability.filter(|_| reason.code == NOT_AUTHORIZED);
                let rights = rights.map(|topic| format!("; it has to be allowed to publish to {topic}"));
                let (words, rights) = (reason.words(words), rights.unwrap_or_default());
                format!("the broker refuses the session: {words}{rights}")
            }
            End::Broke(why) => format!("no session: {why}"),
        })
    }
}

/// Takes back what an earlier session's will has told.
async fn be_available(connection: &Connection, topic: &str) -> Result<(), End> {
    let message =
        Publish { topic, retain: true, content_type: None, properties: &[], payload: ONLINE.as_bytes() };
    let message = message.encode().map_err(|error| End::Broke(error.to_string()))?;
    match connection.publish(message).await {
        Ok(reason) if matches!(reason.code, SUCCESS | NO_SUBSCRIBERS) => Ok(()),
        Ok(reason) | Err(Unacknowledged::Largest(reason)) => Err(End::Told(reason)),
        Err(Unacknowledged::Ended(end)) => Err(end),
        Err(Unacknowledged::TooLarge { bytes, most }) => {
            Err(End::Broke(format!("availability is too large: {bytes} bytes, and the broker takes {most}")))
        }
    }
}
