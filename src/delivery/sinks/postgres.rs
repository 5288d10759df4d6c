//! Kind `postgres`: a row per event in a table of the operator's; docs/POSTGRES.md is the contract with readers.
//!
//! ```text
//! lease ─▶ one INSERT of all its rows, which is a transaction ─▶ committed: all done
//!             │ no connection, no rights, no table, no room: busy
//!             └ a row that the table does not take ─▶ lanes: one INSERT for each event, to find out whose it is
//! ```
//!
//! The connection is never mended: after any failure it is thrown away, and what was in flight on it is sent again over another. Rows
//! that the table has already are left as they are, so nothing comes twice.

mod answer;
mod row;
mod server;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use self::answer::{Answers, Refusal};
use self::row::Rows;
use self::server::Server;
use super::lanes::{self, Answer, Obstacle, Post};
use super::probed::Probed;
use super::secured::tls_where;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::ids::QueueName;
use crate::store::Leased;
use crate::tls::TlsError;

/// The sink of one queue.
#[derive(Debug)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Server,
    insert: String,
    answers: Answers,
    permits: Semaphore,
}

impl Postgres {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`TlsError`], in words for the operator.
    pub fn new(
        queue: &QueueName,
        options: config::Postgres,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, TlsError> {
        let tls = tls_where(options.tls, &secrets)?;
        Ok(Self(Arc::new(Inner {
            insert: row::insert_into(&options.table),
            answers: Answers::new(&options.target, secrets.password.as_ref()),
            permits: Semaphore::new(options.target.parallel.clamp(1, Semaphore::MAX_PERMITS)),
            server: Server::new(queue.clone(), options, tls, secrets.password),
        })))
    }
}

impl Postgres {
    /// Connects, logs in, and has the server plan an insert into the table, which it does not run.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        let Inner { server, insert, answers, .. } = &*self.0;
        server.look(insert, answers).await.map_err(|why| answers.of_server(&why))
    }
}

impl Sink for Postgres {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        match self.0.insert(&events).await {
            Ok(()) => vec![Verdict::Done; events.len()],
            Err(Refusal::Server(why)) => vec![Verdict::Busy { retry_after: None, why }; events.len()],
            Err(Refusal::Row(_)) => lanes::deliver(&self.0, events).await,
        }
    }
}

impl Post for Inner {
    async fn post(&self, leased: &Leased) -> Answer {
        match self.insert(std::slice::from_ref(leased)).await {
            Ok(()) => Answer::Taken,
            Err(Refusal::Server(why)) => Answer::Hindered(Obstacle::brief(why)),
            // Of a table that takes no event at all none is to blame.
            Err(Refusal::Row(why)) => Answer::Broken { why },
        }
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }
}

impl Inner {
    /// Inserts a row for each event, or none.
    async fn insert(&self, events: &[Leased]) -> Result<(), Refusal> {
        match self.committed(&Rows::of(events)).await {
            // A document that the server can't hold is no reason to do without the event.
            Err(Refusal::Row(_)) if events.len() == 1 => {
                self.committed(&Rows::without_documents(events)).await
            }
            other => other,
        }
    }

    async fn committed(&self, rows: &Rows<'_>) -> Result<(), Refusal> {
        let deadline = clock::ticks() + self.server.timeout();
        let connection = self.server.connection(&self.answers, deadline).await;
        let connection = connection.map_err(|why| Refusal::Server(self.answers.of_server(&why)))?;
        let params = rows.params();
        let inserted = timeout_at(deadline, connection.client().execute_typed(&self.insert, &params)).await;
        let refusal = match inserted {
            // The last answer comes behind the commit.
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => self.answers.refused(&error),
            Err(_) => Refusal::Server(self.answers.of_server("no answer in time")),
        };
        if let Refusal::Server(_) = refusal {
            // Not this connection again: it may be dead, or the name leads to another server by now.
            self.server.forget(&connection);
        }
        Err(refusal)
    }
}
