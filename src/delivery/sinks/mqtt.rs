//! Kind `mqtt`: each event is a message of MQTT 5, published with `QoS` 1; docs/MQTT.md is the contract with readers.
//!
//! Events of an account go one after the other, accounts beside each other (`lanes.rs`), all over one session.

mod connection;
mod link;
mod message;
mod packet;
mod reason;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::warn;

use self::connection::{Connection, End, Unacknowledged};
use self::link::{Link, Login};
use self::message::Messages;
use self::reason::Reason;
use super::lanes::{self, Answer, Obstacle, Post};
use super::secured::tls_of;
use super::words::Words;
use crate::delivery::{Sink, Verdict};
use crate::domain::format::Format;
use crate::domain::ids::QueueName;
use crate::store::Leased;
use crate::tls::TlsError;
use crate::{clock, config, logging};

/// The sink of one queue.
#[derive(Debug)]
pub struct Mqtt(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For log lines.
    queue: QueueName,
    words: Words,
    messages: Messages,
    link: Link,
    timeout: Duration,
    permits: Semaphore,
}

impl Mqtt {
    /// Reads the system's certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`TlsError`], in words for the operator.
    pub fn new(
        queue: &QueueName,
        options: config::Mqtt,
        format: Format,
        secrets: config::ReceiverSecrets,
    ) -> Result<Self, TlsError> {
        let config::Mqtt { target, topic, client_id } = options;
        let tls = tls_of(&target, &secrets)?;
        let config::Target { url, username, timeout, parallel } = target;
        let password = secrets.password;
        let words = Words::new(&url, password.as_ref().map(|password| password.expose().clone()));
        let login = Login { client_id, username, password };
        Ok(Self(Arc::new(Inner {
            queue: queue.clone(),
            words,
            messages: Messages::new(topic, format),
            link: Link::new(url.is_encrypted().then_some(tls), login, parallel),
            timeout,
            permits: Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS)),
        })))
    }
}

impl Sink for Mqtt {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        lanes::deliver(&self.0, events).await
    }
}

impl Post for Inner {
    async fn post(&self, leased: &Leased) -> Answer {
        let deadline = clock::ticks() + self.timeout;
        let topic = self.messages.topic(&leased.event);
        let message = match self.messages.of(&topic, leased) {
            Ok(message) => message,
            Err(error) => return Answer::Refused { why: error.to_string() },
        };
        let session = match self.link.session(&self.words, deadline).await {
            Ok(session) => session,
            Err(why) => return self.hindered(&why),
        };
        match timeout_at(deadline, session.publish(message)).await {
            Ok(Ok(reason)) => self.acknowledged(&reason, &topic, &session),
            Ok(Err(failure)) => self.unacknowledged(failure),
            Err(_) => {
                // Messages on their way come again in another session, and so not after those that follow them.
                let why = format!("no acknowledgement within {} s", self.timeout.as_secs());
                session.give_up(&why);
                self.hindered(&why)
            }
        }
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }
}

impl Inner {
    fn acknowledged(&self, reason: &Reason, topic: &str, session: &Connection) -> Answer {
        let topic = logging::text(topic);
        let why = || self.words.of_receiver(&format!("{}, topic {topic}", reason.words(&self.words)));
        match reason.code {
            reason::SUCCESS => Answer::Taken,
            reason::NO_SUBSCRIBERS => {
                if session.is_newly_unheard() {
                    warn!(queue = %self.queue, %topic, "the broker takes events to which nobody subscribes, and keeps none of them");
                }
                Answer::Taken
            }
            reason::TOO_LARGE => Answer::Refused { why: why() },
            reason::TOPIC_INVALID | reason::FORMAT_INVALID => Answer::Failed { why: why() },
            // Whether it is the event or the broker is told by how others fare.
            reason::UNSPECIFIED | reason::IMPLEMENTATION => Answer::Broken { why: why() },
            _ => Answer::Hindered(Obstacle::brief(why())),
        }
    }

    fn unacknowledged(&self, failure: Unacknowledged) -> Answer {
        match failure {
            Unacknowledged::TooLarge { bytes, most } => {
                let why = format!("packet too large: {bytes} bytes, and the broker takes {most}");
                Answer::Refused { why: self.words.of_receiver(&why) }
            }
            Unacknowledged::Largest(reason) => {
                Answer::Refused { why: self.words.of_receiver(&reason.words(&self.words)) }
            }
            Unacknowledged::Ended(End::Told(reason)) => {
                self.hindered(&format!("the broker ended the session: {}", reason.words(&self.words)))
            }
            Unacknowledged::Ended(End::Broke(why)) => self.hindered(&why),
        }
    }

    fn hindered(&self, why: &str) -> Answer {
        Answer::Hindered(Obstacle::brief(self.words.of_receiver(why)))
    }
}
