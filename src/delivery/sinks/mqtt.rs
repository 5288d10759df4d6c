//! Kind `mqtt`: each event is a message of MQTT 5, published with `QoS` 1; docs/MQTT.md is the contract with readers.
//!
//! Events of an account go one after the other, accounts beside each other (`lanes.rs`), all over one session. Where Home Assistant is
//! told of the devices, an event's messages for it go around the event's own, and the event is done when all are acknowledged.

mod connection;
mod link;
mod message;
mod packet;
mod reason;
mod session;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout_at};
use tracing::{info, warn};

use self::connection::{End, Unacknowledged};
use self::link::{Link, Login};
use self::message::{Messages, of_home};
use self::packet::Unnumbered;
use self::reason::Reason;
use self::session::Session;
use super::lanes::{self, Answer, Obstacle, Post};
use super::probed::Probed;
use super::secured::tls_of;
use super::words::Words;
use crate::delivery::{Sink, Verdict};
use crate::domain::backoff::Backoff;
use crate::domain::format::Format;
use crate::domain::home_assistant::{self, Discovery};
use crate::domain::ids::QueueName;
use crate::store::Leased;
use crate::tls::TlsError;
use crate::{clock, config, logging, randomness};

/// Between two attempts to be available to Home Assistant.
const AGAIN: Backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_mins(1) };

/// The sink of one queue.
#[derive(Debug)]
pub struct Mqtt(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For log lines.
    queue: QueueName,
    words: Words,
    messages: Messages,
    /// Where Home Assistant is told of the devices.
    home: Option<Discovery>,
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
        let config::Mqtt { target, topic, client_id, discovery_prefix } = options;
        let tls = tls_of(&target, &secrets)?;
        let config::Target { url, username, timeout, parallel } = target;
        let password = secrets.password;
        let words = Words::new(&url, password.as_ref().map(|password| password.expose().clone()));
        let home = discovery_prefix.map(|prefix| Discovery::new(&prefix, &client_id));
        let availability = home.as_ref().map(|home| home.availability().to_owned());
        let login = Login { client_id, username, password, availability };
        Ok(Self(Arc::new(Inner {
            queue: queue.clone(),
            words,
            messages: Messages::new(topic, format),
            home,
            link: Link::new(url.is_encrypted().then_some(tls), login, parallel),
            timeout,
            permits: Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS)),
        })))
    }
}

impl Mqtt {
    /// Begins a session under another name than ours, and ends it.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        let Inner { words, link, .. } = &*self.0;
        link.try_out(words).await.map_err(|why| words.of_receiver(&why))?;
        Ok(Some("a session was begun; whether its topic is allowed is told at the first event".to_owned()))
    }
}

impl Sink for Mqtt {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        lanes::deliver(&self.0, events).await
    }

    async fn attend(&self) -> Infallible {
        self.0.attend().await
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
        match timeout_at(deadline, self.send(&session, &topic, message, leased)).await {
            Ok(Ok(())) => Answer::Taken,
            Ok(Err(answer)) => answer,
            Err(_) => {
                // Messages on their way come again in another session, and so not after those that follow them.
                let why = format!("no acknowledgement within {} s", self.timeout.as_secs());
                session.connection.give_up(&why);
                self.hindered(&why)
            }
        }
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }
}

impl Inner {
    /// Keeps a session, also while no event comes: without one Home Assistant shows every device as unavailable.
    async fn attend(&self) -> Infallible {
        if self.home.is_none() {
            return std::future::pending().await;
        }
        let mut failures = 0_u32;
        loop {
            match self.link.session(&self.words, clock::ticks() + self.timeout).await {
                Ok(session) => {
                    if failures > 0 {
                        info!(queue = %self.queue, "Home Assistant sees the devices as available again");
                    }
                    failures = 0;
                    session.connection.over().await;
                }
                Err(why) => {
                    if failures == 0 {
                        let why = self.words.of_receiver(&why);
                        warn!(queue = %self.queue, why = %logging::text(&why), "Home Assistant sees no device as available for now");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            sleep(AGAIN.wait(failures, randomness::random())).await;
        }
    }

    /// The event's own message, and around it those for Home Assistant, one after the other.
    async fn send(
        &self,
        session: &Session,
        topic: &str,
        message: Unnumbered,
        leased: &Leased,
    ) -> Result<(), Answer> {
        let Some(home) = &self.home else {
            return self.publish(session, topic, message, true).await;
        };
        let plan = session.announced().plan(home, &leased.event, clock::now());
        for message in &plan.before {
            self.tell(session, message).await?;
        }
        // Home Assistant is its reader, not of this message but of those around it.
        self.publish(session, topic, message, false).await?;
        for message in &plan.after {
            self.tell(session, message).await?;
        }
        session.announced().told(plan);
        Ok(())
    }

    async fn tell(&self, session: &Session, message: &home_assistant::Message) -> Result<(), Answer> {
        let encoded = of_home(message).map_err(|error| Answer::Refused { why: error.to_string() })?;
        self.publish(session, &message.topic, encoded, !message.retain).await
    }

    /// Publishes, and waits for the acknowledgement. `for_now` is a message that is lost where nobody subscribes to it.
    async fn publish(
        &self,
        session: &Session,
        topic: &str,
        message: Unnumbered,
        for_now: bool,
    ) -> Result<(), Answer> {
        let reason =
            session.connection.publish(message).await.map_err(|failure| self.unacknowledged(failure))?;
        if reason.code == reason::NO_SUBSCRIBERS && for_now && session.connection.is_newly_unheard() {
            let topic = logging::text(topic);
            warn!(queue = %self.queue, %topic, "the broker takes events to which nobody subscribes, and keeps none of them");
        }
        self.acknowledged(&reason, topic)
    }

    fn acknowledged(&self, reason: &Reason, topic: &str) -> Result<(), Answer> {
        let topic = logging::text(topic);
        let why = || self.words.of_receiver(&format!("{}, topic {topic}", reason.words(&self.words)));
        Err(match reason.code {
            reason::SUCCESS | reason::NO_SUBSCRIBERS => return Ok(()),
            reason::TOO_LARGE => Answer::Refused { why: why() },
            reason::TOPIC_INVALID | reason::FORMAT_INVALID => Answer::Failed { why: why() },
            // Whether it is the event or the broker is told by how others fare.
            reason::UNSPECIFIED | reason::IMPLEMENTATION => Answer::Broken { why: why() },
            _ => Answer::Hindered(Obstacle::brief(why())),
        })
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
