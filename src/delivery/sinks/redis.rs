//! Kind `redis`: one `XADD` per event to a stream; docs/REDIS.md is the contract with readers.
//!
//! ```text
//! lanes ─▶ entry of an event ─▶ one connection for all, commands pipelined ─▶ reply ─▶ WAIT, WAITAOF where asked for ─▶ answer
//! ```
//!
//! The connection is never mended: after any failure it is thrown away, and what was in flight on it is sent again over another.

mod answer;
mod durability;
mod probe;
mod server;
mod wire;

use std::sync::Arc;

use ::redis::Cmd;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use self::answer::Answers;
use self::durability::Wanted;
use self::server::{Connection, Server};
use super::lanes::{self, Answer, Post};
use super::probed::Probed;
use super::secured::tls_of;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::domain::template::Template;
use crate::store::Leased;
use crate::tls::TlsError;

/// Bytes of a stream's key.
const MAX_KEY: usize = 512;

/// The sink of one queue.
#[derive(Debug)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Server,
    format: Format,
    stream: Template,
    max_len: Option<u64>,
    wanted: Wanted,
    answers: Answers,
    permits: Semaphore,
}

impl Redis {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`TlsError`], in words for the operator.
    pub fn new(
        queue: &QueueName,
        options: config::Redis,
        format: Format,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, TlsError> {
        let tls = tls_of(&options.target, &secrets)?;
        Ok(Self(Arc::new(Inner {
            answers: Answers::new(&options.target, secrets.password.as_ref()),
            server: Server::new(queue.clone(), &options, tls, secrets.password),
            format,
            wanted: Wanted::new(&options),
            permits: Semaphore::new(options.target.parallel.clamp(1, Semaphore::MAX_PERMITS)),
            stream: options.stream,
            max_len: options.max_len,
        })))
    }
}

impl Redis {
    /// Connects, logs in, and asks whether an entry could be added.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        let Inner { server, stream, answers, wanted, .. } = &*self.0;
        let connection = server.open(answers).await.map_err(|why| answers.of_server(&why))?;
        let looked = probe::look(&connection, server.username(), stream, wanted).await;
        looked.map_err(|why| answers.of_server(&why))
    }
}

impl Sink for Redis {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        lanes::deliver(&self.0, events).await
    }
}

impl Post for Inner {
    async fn post(&self, leased: &Leased) -> Answer {
        let deadline = clock::ticks() + self.server.timeout();
        let connection = match self.server.connection(&self.answers, deadline).await {
            Ok(connection) => connection,
            Err(why) => return self.answers.hindered(&why),
        };
        let answer = match timeout_at(deadline, self.add(&connection, leased)).await {
            Ok(answer) => answer,
            Err(_) => self.answers.unanswered(),
        };
        if let Answer::Hindered(_) = answer {
            // Not this connection again: it may be dead, or the name leads to another server by now.
            self.server.forget(&connection);
        }
        answer
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }
}

impl Inner {
    /// Taken once the reply is there, and those of the replicas and disks that are asked for.
    async fn add(&self, connection: &Connection, leased: &Leased) -> Answer {
        let content = self.format.content(&leased.event, leased.seq, leased.attempt);
        if let Some(answer) = self.answers.too_large(content.len(), connection.settings.max_bulk) {
            return answer;
        }
        let stream = self.stream.render(&leased.event, is_plain, MAX_KEY);
        match connection.wire.ask::<()>(&self.entry(&stream, &content, leased)).await {
            Ok(()) => connection.confirmations.of_entry(&connection.wire, &self.wanted, &self.answers).await,
            Err(error) => self.answers.refused(&error, &stream),
        }
    }

    /// `XADD key [MAXLEN ~ n] * event … id … type …`
    fn entry(&self, stream: &str, content: &[u8], leased: &Leased) -> Cmd {
        let mut command = Cmd::new();
        command.arg("XADD").arg(stream);
        if let Some(max_len) = self.max_len {
            command.arg("MAXLEN").arg("~").arg(max_len);
        }
        command.arg("*").arg("event").arg(content);
        for (name, value) in leased.event.cloudevent_attributes(leased.seq, leased.attempt) {
            command.arg(name).arg(value);
        }
        command
    }
}

/// Characters of an id that stand in a key as they are. Colons part names, braces choose a cluster's slot, and `*?[]\` are for patterns.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '@' | '+' | '=')
}
