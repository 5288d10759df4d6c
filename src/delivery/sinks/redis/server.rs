//! The server and the connection to it: made when it is needed, shared by all deliveries of the queue, never mended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as BriefMutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{RedisResult, cmd};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::answer::Answers;
use super::durability::{Confirmations, Settings};
use super::wire::Wire;
use crate::clock;
use crate::config;
use crate::delivery::sinks::dial;
use crate::domain::ids::QueueName;
use crate::domain::secret::Secret;

const PORT: u16 = 6379;

/// A connection after the login. Its last user ends it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) settings: Settings,
    pub(super) confirmations: Confirmations,
}

/// Where the queue's server is, and the connection to it.
#[derive(Debug)]
pub(super) struct Server {
    /// For log lines.
    queue: QueueName,
    target: config::Target,
    database: u32,
    tls: Option<Arc<ClientConfig>>,
    password: Option<Secret<String>>,
    /// Held by the delivery that connects; the others wait for what comes of it. Why the last attempt failed.
    connecting: Mutex<String>,
    /// Attempts that failed.
    failures: AtomicU64,
    connection: BriefMutex<Option<Arc<Connection>>>,
    /// The log was told once how the server may lose events.
    doubted: AtomicBool,
}

impl Server {
    pub(super) fn new(
        queue: QueueName,
        options: &config::Redis,
        tls: ClientConfig,
        password: Option<Secret<String>>,
    ) -> Self {
        let target = options.target.clone();
        Self {
            queue,
            tls: target.url.is_encrypted().then(|| Arc::new(tls)),
            target,
            database: options.database,
            password,
            connecting: Mutex::default(),
            failures: AtomicU64::new(0),
            connection: BriefMutex::default(),
            doubted: AtomicBool::new(false),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.target.timeout
    }

    /// The connection, made first where there is none. Fails in words.
    pub(super) async fn connection(
        &self,
        answers: &Answers,
        deadline: Instant,
    ) -> Result<Arc<Connection>, String> {
        let failures = self.failures.load(Ordering::Relaxed);
        if let Some(connection) = self.living() {
            return Ok(connection);
        }
        let too_late = || answers.of_server("connecting took too long");
        let mut why = timeout_at(deadline, self.connecting.lock()).await.map_err(|_| too_late())?;
        if let Some(connection) = self.living() {
            return Ok(connection);
        }
        // Of many that waited one tried in vain: the others need not.
        if self.failures.load(Ordering::Relaxed) != failures {
            return Err(why.clone());
        }
        let opened = timeout_at(deadline, self.open(answers)).await.unwrap_or_else(|_| Err(too_late()));
        match opened {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *self.slot() = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(failure) => {
                why.clone_from(&failure);
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    /// Uses this connection no more. What waits for its replies may still get them.
    pub(super) fn forget(&self, connection: &Arc<Connection>) {
        self.slot().take_if(|known| Arc::ptr_eq(known, connection));
    }

    fn living(&self) -> Option<Arc<Connection>> {
        self.slot().as_ref().filter(|connection| !connection.wire.is_over()).cloned()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, answers: &Answers) -> Result<Connection, String> {
        let url = &self.target.url;
        let until = clock::ticks() + dial::CONNECT;
        let port = url.uri().port_u16().unwrap_or(PORT);
        let stream = dial::connect(url.host(), port, self.tls.as_ref(), until).await;
        let stream = stream.map_err(|why| answers.of_server(&why))?;
        let wire = Wire::over(stream).await.map_err(|error| answers.why(&error))?;
        let connection = self.greet(wire).await.map_err(|error| answers.why(&error))?;
        if let Some(doubts) = connection.settings.doubts()
            && !self.doubted.swap(true, Ordering::Relaxed)
        {
            warn!(queue = %self.queue, receiver = %url, "{doubts}; docs/REDIS.md says more");
        }
        Ok(connection)
    }

    async fn greet(&self, wire: Wire) -> RedisResult<Connection> {
        let password = self.password.as_ref().map(|password| password.expose().as_str());
        if self.target.username.is_some() || password.is_some() {
            let mut login = cmd("AUTH");
            // Of a user without a password any is taken.
            login.arg(self.target.username.as_ref()).arg(password.unwrap_or_default());
            wire.ask::<()>(&login).await?;
        }
        if self.database != 0 {
            wire.ask::<()>(cmd("SELECT").arg(self.database)).await?;
        }
        let settings = Settings::of(&wire).await?;
        Ok(Connection { wire, settings, confirmations: Confirmations::default() })
    }
}
