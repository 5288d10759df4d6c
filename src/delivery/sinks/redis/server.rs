//! The server and the connection to it: made when it is needed, shared by all deliveries of the queue, never mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::{RedisResult, cmd};
use rustls::ClientConfig;
use tokio::time::Instant;
use tracing::warn;

use super::answer::Answers;
use super::durability::{Confirmations, Settings};
use super::wire::Wire;
use crate::clock;
use crate::config;
use crate::delivery::sinks::dial;
use crate::delivery::sinks::shared::{self, Shared};
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

impl shared::Connection for Connection {
    fn is_over(&self) -> bool {
        self.wire.is_over()
    }
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
    shared: Shared<Connection>,
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
            shared: Shared::default(),
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
        self.shared.get_by(deadline, self.open(answers)).await
    }

    /// Begins nothing more over this connection.
    pub(super) fn forget(&self, connection: &Arc<Connection>) {
        self.shared.forget(connection);
    }

    /// The user that the server knows us as.
    pub(super) fn username(&self) -> &str {
        self.target.username.as_deref().unwrap_or("default")
    }

    /// A connection that nobody shares. Fails in words.
    pub(super) async fn open(&self, answers: &Answers) -> Result<Connection, String> {
        let url = &self.target.url;
        let until = clock::ticks() + dial::CONNECT;
        let port = url.uri().port_u16().unwrap_or(PORT);
        let stream = dial::connect(url.host(), port, self.tls.as_ref(), until).await?;
        let wire = Wire::over(stream).await.map_err(|error| answers.said(&error))?;
        let connection = self.greet(wire).await.map_err(|error| answers.said(&error))?;
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
