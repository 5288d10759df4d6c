//! Kind `http`: one `POST` per event to a receiver of the operator's; docs/HTTP.md is the contract with receivers.
//!
//! Events of an account go one after the other, accounts beside each other (`lanes.rs`).

mod answer;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use self::answer::Answers;
use self::request::Requests;
use super::dial;
use super::lanes::{self, Answer, Post};
use super::probed::Probed;
use super::secured::tls_of;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::address::Receiver;
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::http_client::{self, Client, Failure, Limits};
use crate::store::Leased;
use crate::tls::TlsError;

/// For resolving the name, connecting and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// The usual ones without TLS and with it.
const PORTS: (u16, u16) = (80, 443);
/// Below the 5 s after which many servers close an idle connection, so that few requests meet one that is being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Four of these in a row without an answer, and the connection is given up: well within 30 s.
const ALIVE: Duration = Duration::from_secs(6);
const STUCK: Duration = Duration::from_secs(24);
/// Bytes of an answer that are read: its head, its body.
const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 4 << 10;
/// So long the rest of a good answer is awaited, to use its connection again.
const DRAIN: Duration = Duration::from_secs(1);

/// Why there can be no such sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("bearer_file: the token can't stand in a header")]
    Bearer,
}

/// The sink of one queue.
#[derive(Debug)]
pub struct Http(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For log lines.
    queue: QueueName,
    client: Client,
    /// Where it is spoken, for a look without a request.
    tls: Option<Arc<ClientConfig>>,
    url: Receiver,
    requests: Requests,
    answers: Answers,
    timeout: Duration,
    permits: Semaphore,
    /// The last answer was that the receiver wants no more.
    gone: AtomicBool,
}

impl Http {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`], in words for the operator.
    pub fn new(
        queue: &QueueName,
        target: config::Target,
        format: Format,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, SettingsError> {
        let tls = tls_of(&target, &secrets)?;
        let config::Target { url, timeout, parallel, .. } = target;
        let config::ReceiverSecrets { keys, bearer, .. } = secrets;
        let limits = Limits {
            connect: CONNECT.min(timeout),
            idle: IDLE,
            max_idle: parallel,
            alive: ALIVE,
            stuck: Some(STUCK),
            repeat_unsent: true,
            max_head: Some(MAX_HEAD),
        };
        let answers = Answers::new(&url, &keys, bearer.as_ref());
        let (looked_at, spoken) = (url.clone(), url.is_encrypted().then(|| Arc::new(tls.clone())));
        let requests = Requests::new(url, format, keys, bearer).ok_or(SettingsError::Bearer)?;
        Ok(Self(Arc::new(Inner {
            queue: queue.clone(),
            client: http_client::client(tls, &limits),
            tls: spoken,
            url: looked_at,
            requests,
            answers,
            timeout,
            permits: Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS)),
            gone: AtomicBool::new(false),
        })))
    }
}

impl Http {
    /// Connects, with TLS where the address says so. No request is made, because to many a receiver each is an event.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        let Inner { url, tls, answers, .. } = &*self.0;
        let port = url.uri().port_u16().unwrap_or(if url.is_encrypted() { PORTS.1 } else { PORTS.0 });
        let connected = dial::connect(url.host(), port, tls.as_ref(), clock::ticks() + CONNECT).await;
        connected.map_err(|why| answers.of_receiver(&why))?;
        Ok(Some("no request was made, so its path, token and signature were not tried".to_owned()))
    }
}

impl Sink for Http {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        lanes::deliver(&self.0, events).await
    }
}

impl Post for Inner {
    async fn post(&self, leased: &Leased) -> Answer {
        let deadline = clock::ticks() + self.timeout;
        let request = self.requests.of(leased, clock::now());
        let sent = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => Err(Failure::no_answer_in_time()),
        };
        let (head, mut body) = match sent {
            Ok(answer) => answer.into_parts(),
            Err(failure) => return self.answers.unanswered(&failure),
        };
        if head.status.is_success() {
            // The status is the confirmation; the rest only frees the connection.
            read(&mut body, deadline.min(clock::ticks() + DRAIN)).await;
            self.takes_again();
            return Answer::Taken;
        }
        let body = read(&mut body, deadline).await;
        let answer = self.answers.answered(head.status, &head.headers, &body, clock::now());
        if head.status == StatusCode::GONE {
            self.wants_no_more(&answer);
        }
        answer
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }
}

impl Inner {
    fn takes_again(&self) {
        if self.gone.swap(false, Ordering::Relaxed) {
            info!(queue = %self.queue, "the receiver takes events again");
        }
    }

    /// Tells the log once.
    fn wants_no_more(&self, answer: &Answer) {
        if let Answer::Hindered(obstacle) = answer
            && !self.gone.swap(true, Ordering::Relaxed)
        {
            error!(queue = %self.queue, why = obstacle.why, "the queue is stopped");
        }
    }
}

/// The part of `body` that comes until `deadline`, or before it breaks; at most [`MAX_BODY`] bytes.
async fn read(body: &mut Incoming, deadline: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < MAX_BODY
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let piece: Bytes = frame.into_data().unwrap_or_default();
        let room = MAX_BODY - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    all
}

#[cfg(test)]
mod tests;
