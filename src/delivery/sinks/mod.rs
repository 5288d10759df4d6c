//! The sinks, one file a kind of queue.

pub mod amqp;
mod batches;
mod dial;
pub mod http;
mod lanes;
#[cfg(feature = "sink-mqtt")]
pub mod mqtt;
pub mod nats;
#[cfg(feature = "sink-postgres")]
pub mod postgres;
mod probed;
#[cfg(feature = "sink-redis")]
pub mod redis;
mod secured;
mod shared;
pub mod spool;
pub mod sqs;
mod web;
mod wire;
mod words;

use std::convert::Infallible;
use std::sync::Arc;

use thiserror::Error;

use self::amqp::Amqp;
use self::http::Http;
#[cfg(feature = "sink-mqtt")]
use self::mqtt::Mqtt;
use self::nats::Nats;
#[cfg(feature = "sink-postgres")]
use self::postgres::Postgres;
pub use self::probed::Probed;
#[cfg(feature = "sink-redis")]
use self::redis::Redis;
use self::spool::Spool;
use self::sqs::Sqs;
use super::{Dispatcher, Options, Sink, Verdict};
use crate::config::{Queue, QueueKind, ReceiverSecrets, Secrets};
use crate::domain::ids::QueueName;
use crate::store::{Leased, Queues};
use crate::tls::TlsError;

/// Why a queue's sink can't be made.
#[derive(Debug, Error)]
#[error("queue {queue}: {error}")]
pub struct SinkError {
    queue: QueueName,
    error: SettingsError,
}

#[derive(Debug, Error)]
enum SettingsError {
    #[error(transparent)]
    Http(#[from] http::SettingsError),
    #[error(transparent)]
    Sqs(#[from] sqs::SettingsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[cfg(not(all(feature = "sink-redis", feature = "sink-mqtt", feature = "sink-postgres")))]
    #[error("kind {0} is not part of this build")]
    NotBuilt(&'static str),
}

/// The dispatcher of a queue, where it has a sink; the secrets of its receiver go into it. Blocks.
///
/// # Errors
/// [`SinkError`] where the sink can't be made.
pub fn dispatcher(
    queue: &Queue,
    secrets: &mut Secrets,
    queues: &Queues,
) -> Result<Option<Dispatcher<QueueSink>>, SinkError> {
    let secrets = secrets.receivers.remove(&queue.name).unwrap_or_default();
    let sink = QueueSink::open(queue, secrets)?;
    Ok(sink.map(|sink| Dispatcher::new(queues.clone(), queue.name.clone(), sink, options(queue))))
}

fn options(queue: &Queue) -> Options {
    let mut options = Options { events_per_second: queue.events_per_second, ..Options::default() };
    if let QueueKind::Postgres(postgres) = &queue.kind {
        // Here a lease is one delivery. Other kinds count single events by themselves.
        options.in_flight = options.in_flight.min(postgres.target.parallel);
    }
    options
}

/// A variable of the process.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The sink of a configured queue.
#[derive(Debug)]
pub enum QueueSink {
    Spool(Spool),
    Http(Http),
    #[cfg(feature = "sink-postgres")]
    Postgres(Postgres),
    #[cfg(feature = "sink-redis")]
    Redis(Redis),
    Nats(Nats),
    #[cfg(feature = "sink-mqtt")]
    Mqtt(Mqtt),
    Amqp(Amqp),
    Sqs(Sqs),
}

impl QueueSink {
    /// The sink of this queue. An embedded queue has none, because its readers come to the admin socket. Blocks.
    ///
    /// # Errors
    /// [`SinkError`], in words for the operator.
    pub fn open(queue: &Queue, secrets: ReceiverSecrets) -> Result<Option<Self>, SinkError> {
        Self::of(queue, secrets).map_err(|error| SinkError { queue: queue.name.clone(), error })
    }

    fn of(queue: &Queue, secrets: ReceiverSecrets) -> Result<Option<Self>, SettingsError> {
        let (name, format) = (&queue.name, queue.format);
        Ok(Some(match queue.kind.clone() {
            QueueKind::Embedded { .. } => return Ok(None),
            QueueKind::Spool(spool) => Self::Spool(Spool::open(spool, format)),
            QueueKind::Http(receiver) => Self::Http(Http::new(name, receiver, format, secrets)?),
            QueueKind::Nats(nats) => Self::Nats(Nats::new(nats, format, secrets)?),
            QueueKind::Amqp(broker) => Self::Amqp(Amqp::new(name, broker, format, secrets)?),
            #[cfg(feature = "sink-redis")]
            QueueKind::Redis(redis) => Self::Redis(Redis::new(name, redis, format, secrets)?),
            #[cfg(feature = "sink-mqtt")]
            QueueKind::Mqtt(broker) => Self::Mqtt(Mqtt::new(name, broker, format, secrets)?),
            #[cfg(feature = "sink-postgres")]
            QueueKind::Postgres(postgres) => Self::Postgres(Postgres::new(name, postgres, secrets)?),
            QueueKind::Sqs(sqs) => Self::Sqs(Sqs::new(sqs, format, secrets, &environment)?),
            // The configuration says so before.
            #[cfg(not(feature = "sink-postgres"))]
            QueueKind::Postgres(_) => return Err(SettingsError::NotBuilt(queue.kind.as_str())),
            #[cfg(not(feature = "sink-redis"))]
            QueueKind::Redis(_) => return Err(SettingsError::NotBuilt(queue.kind.as_str())),
            #[cfg(not(feature = "sink-mqtt"))]
            QueueKind::Mqtt(_) => return Err(SettingsError::NotBuilt(queue.kind.as_str())),
        }))
    }

    /// Connects to the receiver, and asks what it tells without an event. Nothing is sent that it would keep. A kind that can't tell more
    /// says that the connection stands.
    ///
    /// # Errors
    /// Why events would not get there, in words for the operator.
    pub async fn probe(&self) -> Probed {
        match self {
            // It has a folder, and no receiver.
            Self::Spool(_) => Ok(None),
            Self::Http(http) => http.probe().await,
            #[cfg(feature = "sink-postgres")]
            Self::Postgres(postgres) => postgres.probe().await,
            #[cfg(feature = "sink-redis")]
            Self::Redis(redis) => redis.probe().await,
            Self::Nats(nats) => nats.probe().await,
            Self::Amqp(amqp) => amqp.probe().await,
            Self::Sqs(sqs) => sqs.probe().await,
            #[cfg(feature = "sink-mqtt")]
            Self::Mqtt(mqtt) => mqtt.probe().await,
        }
    }
}

impl Sink for QueueSink {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        match self {
            Self::Spool(spool) => spool.deliver(events).await,
            Self::Http(http) => http.deliver(events).await,
            #[cfg(feature = "sink-postgres")]
            Self::Postgres(postgres) => postgres.deliver(events).await,
            #[cfg(feature = "sink-redis")]
            Self::Redis(redis) => redis.deliver(events).await,
            Self::Nats(nats) => nats.deliver(events).await,
            #[cfg(feature = "sink-mqtt")]
            Self::Mqtt(mqtt) => mqtt.deliver(events).await,
            Self::Amqp(amqp) => amqp.deliver(events).await,
            Self::Sqs(sqs) => sqs.deliver(events).await,
        }
    }

    async fn attend(&self) -> Infallible {
        match self {
            #[cfg(feature = "sink-mqtt")]
            Self::Mqtt(mqtt) => mqtt.attend().await,
            _ => std::future::pending().await,
        }
    }
}
