//! Kind `amqp`: each event is a persistent message to an exchange of `RabbitMQ`, by AMQP 0-9-1; docs/AMQP.md is the contract with readers.
//!
//! Events of an account go one after the other, accounts beside each other (`lanes.rs`), all over one connection (`wire.rs`). An
//! event is done when the broker has confirmed it and has not returned it. The client is our own: a publisher needs a dozen methods
//! of the protocol, and none of a library's recoveries, in which messages are lost or come late.

mod answer;
mod frame;
mod login;
mod message;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use self::answer::{Answers, Way};
use self::login::{Login, Place};
use self::message::Messages;
use self::session::{Publish, Session};
use super::lanes::{self, Answer, Post};
use super::probed::Probed;
use super::secured::tls_of;
use super::shared::Shared;
use super::wire::Line;
use super::words::Words;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::domain::secret::Secret;
use crate::domain::template::Template;
use crate::store::Leased;
use crate::tls::TlsError;

/// The user that a broker has from the start, for clients on its own machine, and its password.
const GUEST: &str = "guest";

/// The sink of one queue.
#[derive(Debug)]
pub struct Amqp(Arc<Inner>);

struct Inner {
    place: Place,
    messages: Messages,
    answers: Answers,
    timeout: Duration,
    permits: Semaphore,
    shared: Shared<Line<Session>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("answers", &self.answers).finish_non_exhaustive()
    }
}

impl Amqp {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`TlsError`], in words for the operator.
    pub fn new(
        queue: &QueueName,
        options: config::Amqp,
        format: Format,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, TlsError> {
        let config::Amqp { target, vhost, exchange, routing_key } = options;
        let tls = tls_of(&target, &secrets)?;
        let config::Target { url, username, timeout, parallel } = target;
        let words = Arc::new(Words::new(&url, secrets.password.iter().map(|secret| secret.expose().clone())));
        let login = match (username, secrets.password) {
            (Some(user), Some(password)) => Login::Password(user, password),
            _ if secrets.identity.is_some() => Login::Certificate,
            _ => Login::Password(GUEST.to_owned(), Secret::new(GUEST.to_owned())),
        };
        let parallel = parallel.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            place: Place {
                words: Arc::clone(&words),
                tls: url.is_encrypted().then(|| Arc::new(tls)),
                login,
                vhost,
                name: format!("ringhookd, queue {queue}"),
                waiting: parallel,
            },
            answers: Answers {
                words,
                one_exchange: exchange.as_ref().is_none_or(Template::is_fixed),
                one_key: routing_key.is_fixed(),
            },
            messages: Messages { exchange, routing_key, format },
            timeout,
            permits: Semaphore::new(parallel),
            shared: Shared::default(),
        })))
    }
}

impl Amqp {
    /// Connects, logs in and opens a channel that confirms.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        let Inner { place, answers, .. } = &*self.0;
        place.begin().await.map_err(|why| answers.words.of_receiver(&why))?;
        Ok(Some(
            "a channel was opened; whether its exchange takes messages is told at the first event".to_owned(),
        ))
    }
}

impl Sink for Amqp {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        lanes::deliver(&self.0, events).await
    }
}

impl Post for Inner {
    async fn post(&self, leased: &Leased) -> Answer {
        let confirmed = lanes::within(self.timeout, self.publish(leased)).await;
        confirmed.unwrap_or_else(|why| self.answers.hindered(&why))
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }
}

impl Inner {
    /// The error says why nothing can be sent or confirmed now.
    async fn publish(&self, leased: &Leased) -> Result<Answer, String> {
        let line = self.shared.get(self.place.begin()).await?;
        let message = self.messages.of(leased);
        let way = Way::of(&message);
        let (reply, answer) = oneshot::channel();
        line.send(Publish { message, reply }).await?;
        let reply = answer.await.map_err(|_| line.why_ended())?;
        Ok(self.answers.of(reply, &way))
    }
}
