//! Kind `sqs`: a message per event to a queue of Amazon SQS, several in a request; docs/SQS.md is the contract with readers.
//!
//! ```text
//! batches ─▶ messages ─▶ requests of at most 1 MiB, signed ─▶ 200: an answer for each message
//!               │            │ credentials have ended: once more with new ones
//!               │            │ refused for a message: each of them alone, to find out which
//!               │            └ anything else: hindered
//!               └ larger than SQS takes: refused
//! ```

mod answer;
mod credentials;
mod message;
mod request;
mod source;

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::answer::{Answers, EMPTY, Said};
use self::credentials::Keeper;
use self::message::{Entry, MAX_BYTES, Messages};
use self::request::Requests;
use self::source::{Issued, Source, SourceError};
use super::batches::{self, PostBatch};
use super::lanes::{Answer, Obstacle};
use super::probed::Probed;
use super::secured::tls_where;
use super::web;
use crate::clock;
use crate::config;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::http_client::{Client, Failure, retry_after};
use crate::store::Leased;
use crate::tls::TlsError;

/// Bytes of an answer's body that are read; SQS names each message in it.
const MAX_BODY: usize = 256 << 10;

/// Why there can be no such sink.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Credentials(#[from] SourceError),
    #[error("url: it has no host")]
    Address,
}

/// The sink of one queue.
#[derive(Debug)]
pub struct Sqs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    keeper: Keeper,
    messages: Messages,
    requests: Requests,
    answers: Answers,
    timeout: Duration,
    permits: Arc<Semaphore>,
}

impl Sqs {
    /// Reads the system's certificates, and connects to nothing yet. `environment` gives variables of the process.
    ///
    /// # Errors
    /// [`SettingsError`], in words for the operator.
    pub fn new(
        options: config::Sqs,
        format: Format,
        secrets: config::ReceiverSecrets,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let config::Sqs { target, region, access_key_id } = options;
        let config::Target { url, timeout, parallel, .. } = target;
        let (ca_pem, identity) = (secrets.ca_pem, secrets.identity);
        let keys = config::ReceiverSecrets { ca_pem: None, identity: None, ..secrets };
        let source = Source::choose(access_key_id, keys, environment)?;
        let trust = config::ReceiverSecrets { ca_pem, identity, ..config::ReceiverSecrets::default() };
        let tls = tls_where(url.is_encrypted() || source.is_encrypted(), &trust)?;
        let client = web::client(tls, timeout, parallel);
        Ok(Self(Arc::new(Inner {
            keeper: Keeper::new(source, client.clone()),
            client,
            messages: Messages { format, fifo: url.uri().path().strip_suffix(".fifo").is_some() },
            answers: Answers::new(&url),
            requests: Requests::new(&url, region).ok_or(SettingsError::Address)?,
            timeout,
            permits: Arc::new(Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS))),
        })))
    }

    /// Sends a request without messages, which SQS refuses by name where all is well.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        match self.0.say(&[], clock::ticks() + self.0.timeout).await {
            Said::Each(_) => Ok(None),
            Said::Messages(why) if why.contains(EMPTY) => Ok(None),
            Said::Messages(why) => Err(why),
            Said::Ended(obstacle) | Said::Hindered(obstacle) => Err(obstacle.why),
        }
    }
}

impl Sink for Sqs {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        batches::deliver(&self.0, events).await
    }
}

impl PostBatch for Inner {
    /// What SQS takes in one request.
    const MOST: usize = 10;

    async fn post(&self, events: &[&Leased]) -> Vec<Option<Answer>> {
        let began = clock::ticks();
        let mut posting = Posting {
            inner: self,
            // A request that begins behind others has at least half of the time for itself.
            last_begin: began + self.timeout / 2,
            deadline: began + self.timeout,
            answers: vec![None; events.len()],
            over: false,
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (at, leased) in events.iter().enumerate() {
            let entry = self.messages.of(at, leased);
            let size = entry.bytes();
            if entry.is_empty() {
                posting.answers[at] = Some(self.answers.empty());
                continue;
            }
            if size > MAX_BYTES {
                posting.answers[at] = Some(self.answers.too_large(size));
                continue;
            }
            if bytes + size > MAX_BYTES {
                posting.send(std::mem::take(&mut batch)).await;
                bytes = 0;
            }
            bytes += size;
            batch.push((at, entry));
        }
        posting.send(batch).await;
        posting.answers
    }

    fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }
}

/// The delivery of one batch of events, in one request or more.
struct Posting<'a> {
    inner: &'a Inner,
    last_begin: Instant,
    deadline: Instant,
    answers: Vec<Option<Answer>>,
    /// Nothing more is sent.
    over: bool,
}

impl Posting<'_> {
    /// Sends messages with the places of their events; where one may be to blame for all, each alone.
    async fn send(&mut self, batch: Vec<(usize, Entry)>) {
        let (places, entries): (Vec<usize>, Vec<Entry>) = batch.into_iter().unzip();
        if entries.is_empty() || self.is_over() {
            return;
        }
        match self.inner.say(&entries, self.deadline).await {
            Said::Messages(_) if entries.len() > 1 => {
                for (at, entry) in places.into_iter().zip(entries) {
                    if self.is_over() {
                        return;
                    }
                    let said = self.inner.say(std::slice::from_ref(&entry), self.deadline).await;
                    self.note(&[at], said);
                }
            }
            said => self.note(&places, said),
        }
    }

    fn is_over(&self) -> bool {
        self.over || clock::ticks() > self.last_begin
    }

    fn note(&mut self, places: &[usize], said: Said) {
        let answers = match said {
            Said::Each(answers) => answers,
            // Of a queue that takes no message at all none is to blame.
            Said::Messages(why) => vec![Answer::Broken { why }; places.len()],
            Said::Ended(obstacle) | Said::Hindered(obstacle) => {
                self.over = true;
                vec![Answer::Hindered(obstacle); places.len()]
            }
        };
        for (at, answer) in places.iter().zip(answers) {
            self.over |= matches!(answer, Answer::Hindered(_));
            self.answers[*at] = Some(answer);
        }
    }
}

impl Inner {
    /// Sends one request, and once more where its credentials have ended and there are others.
    async fn say(&self, entries: &[Entry], deadline: Instant) -> Said {
        let mut said = Said::Ended(Obstacle::brief(String::new()));
        for _ in 0..2 {
            let issued = match self.keeper.get(deadline).await {
                Ok(issued) => issued,
                Err(why) => return self.answers.hindered(&why),
            };
            said = self.ask(entries, &issued, deadline).await;
            let ended = matches!(said, Said::Ended(_));
            if !ended || !self.keeper.forget(&issued).await {
                break;
            }
        }
        said
    }

    async fn ask(&self, entries: &[Entry], issued: &Issued, deadline: Instant) -> Said {
        let credentials = &issued.credentials;
        let Some(request) = self.requests.of(entries, credentials, clock::now()) else {
            return self.answers.hindered("the credentials can't stand in a header");
        };
        let sent = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => Err(Failure::no_answer_in_time()),
        };
        let (head, mut body) = match sent {
            Ok(answer) => answer.into_parts(),
            Err(Failure::NotSent(why) | Failure::Unknown(why)) => return self.answers.hindered(&why),
        };
        let body = web::read(&mut body, MAX_BODY, deadline).await;
        if head.status == StatusCode::OK {
            let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
            return self.answers.of_batch(&body, &ids, credentials);
        }
        let wait = retry_after(&head.headers, clock::now());
        self.answers.refused(head.status, wait, &body, credentials, self.keeper.from())
    }
}
