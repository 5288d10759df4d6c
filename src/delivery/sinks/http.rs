//! Kind `http`: one `POST` per event to a receiver of the operator's; docs/HTTP.md is the contract with receivers.
//!
//! Events of an account go one after the other, accounts beside each other (`lanes.rs`).

mod answer;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::{error, info};

use self::answer::Answers;
use self::request::Requests;
use super::dial;
use super::lanes::{self, Answer, Post};
use super::probed::Probed;
use super::secured::tls_of;
use super::web;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::address::Receiver;
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::http_client::{Client, Failure};
use crate::store::Leased;
use crate::tls::TlsError;

/// The usual ones without TLS and with it.
const PORTS: (u16, u16) = (80, 443);
/// Bytes of an answer's body that are read.
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
        let answers = Answers::new(&url, &keys, bearer.as_ref());
        let (looked_at, spoken) = (url.clone(), url.is_encrypted().then(|| Arc::new(tls.clone())));
        let requests = Requests::new(url, format, keys, bearer).ok_or(SettingsError::Bearer)?;
        Ok(Self(Arc::new(Inner {
            queue: queue.clone(),
            client: web::client(tls, timeout, parallel),
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
        let connected = dial::connect(url.host(), port, tls.as_ref(), clock::ticks() + dial::CONNECT).await;
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
            web::read(&mut body, MAX_BODY, deadline.min(clock::ticks() + DRAIN)).await;
            self.takes_again();
            return Answer::Taken;
        }
        let body = web::read(&mut body, MAX_BODY, deadline).await;
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

#[cfg(test)]
mod tests;
