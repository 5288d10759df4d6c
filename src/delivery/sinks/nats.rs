//! Kind `nats`: one message per event to a stream of `JetStream`; docs/NATS.md is the contract with readers.
//!
//! Events of an account go one after the other, accounts beside each other (`lanes.rs`), all over one connection (`wire.rs`). An
//! event is done when the stream has confirmed it. The client is our own: a publisher needs a few lines of the protocol, and none of
//! a library's reconnections and buffers, in which messages are lost or come late.

mod answer;
mod message;
mod protocol;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{timeout, timeout_at};

use self::answer::Answers;
use self::message::{content, subject};
use self::session::{Login, Place, Publish, Session, begin};
use super::dial::CONNECT;
use super::lanes::{self, Answer, Post};
use super::probed::Probed;
use super::secured::tls_of;
use super::shared::Shared;
use super::wire::Line;
use super::words::Words;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::domain::template::Template;
use crate::store::Leased;
use crate::tls::TlsError;

/// Where `JetStream` tells which streams there are.
const STREAM_NAMES: &str = "$JS.API.STREAM.NAMES";

/// The sink of one queue.
#[derive(Debug)]
pub struct Nats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    subject: Template,
    format: Format,
    answers: Answers,
    timeout: Duration,
    permits: Semaphore,
    parallel: usize,
    shared: Shared<Line<Session>>,
    /// As the server said last.
    max_payload: Arc<AtomicUsize>,
}

impl Nats {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`TlsError`], in words for the operator.
    pub fn new(
        options: config::Nats,
        format: Format,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, TlsError> {
        let config::Nats { target, subject } = options;
        let tls = tls_of(&target, &secrets)?;
        let config::ReceiverSecrets { bearer, password, .. } = secrets;
        let hidden = [&bearer, &password].into_iter().flatten().map(|secret| secret.expose().clone());
        let words = Words::new(&target.url, hidden.collect::<Vec<_>>());
        let login = match (target.username, password, bearer) {
            (Some(user), Some(password), _) => Login::User(user, password),
            (_, _, Some(token)) => Login::Token(token),
            _ => Login::None,
        };
        let parallel = target.parallel.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            place: Place { url: target.url, tls: Arc::new(tls), login },
            answers: Answers::new(words, subject.fixed().map_or_else(|| wildcard(&subject), str::to_owned)),
            subject,
            format,
            timeout: target.timeout,
            permits: Semaphore::new(parallel),
            parallel,
            shared: Shared::default(),
            max_payload: Arc::new(AtomicUsize::new(0)),
        })))
    }
}

/// The whole tokens before the first attribute, and `>`.
fn wildcard(subject: &Template) -> String {
    let first = subject.literals().next().unwrap_or_default();
    let whole = first.rfind('.').map_or("", |dot| &first[..=dot]);
    format!("{whole}>")
}

impl Nats {
    /// Connects, logs in, and asks which stream takes the subjects.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        let Inner { answers, .. } = &*self.0;
        self.0.streams().await.map_err(|why| answers.of_server(&why))
    }
}

impl Sink for Nats {
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
    async fn line(&self) -> Result<Line<Session>, String> {
        let until = clock::ticks() + CONNECT;
        let begun = begin(&self.place, &self.max_payload, self.parallel, until);
        timeout_at(until, begun).await.unwrap_or_else(|_| Err("connecting took too long".to_owned()))
    }

    /// A question to `JetStream` about its streams, which changes nothing.
    async fn streams(&self) -> Probed {
        let line = self.line().await?;
        let (reply, answer) = oneshot::channel();
        let payload = json!({"subject": self.answers.subjects()}).to_string().into();
        let (subject, headers) = (STREAM_NAMES.to_owned(), "NATS/1.0\r\n\r\n".to_owned());
        line.send(Publish { subject, headers, payload, reply }).await?;
        let reply = timeout(CONNECT, answer).await.map_err(|_| "JetStream does not answer".to_owned())?;
        self.answers.of_streams(reply.map_err(|_| line.why_ended())?)
    }

    /// The error says why nothing can be sent or confirmed now.
    async fn publish(&self, leased: &Leased) -> Result<Answer, String> {
        let line = self.shared.get(self.line()).await?;
        let (headers, payload) = content(self.format, leased);
        let (size, most) = (headers.len() + payload.len(), self.max_payload.load(Ordering::Relaxed));
        if size > most {
            return Ok(self.answers.too_large(size, most));
        }
        let (reply, answer) = oneshot::channel();
        let subject = subject(&self.subject, leased);
        line.send(Publish { subject, headers, payload, reply }).await?;
        let reply = answer.await.map_err(|_| line.why_ended())?;
        Ok(self.answers.of(reply))
    }
}
