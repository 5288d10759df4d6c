//! The sinks, one file a kind of queue.

pub mod http;
mod lanes;
mod secured;
pub mod spool;
mod words;

use std::sync::Arc;

use thiserror::Error;

use self::http::Http;
use self::spool::Spool;
use super::{Dispatcher, Options, Sink, Verdict};
use crate::config::{Queue, QueueKind, ReceiverSecrets, Secrets};
use crate::domain::ids::QueueName;
use crate::store::{Leased, Queues};

/// Why a queue's sink can't be made.
#[derive(Debug, Error)]
#[error("queue {queue}: {error}")]
pub struct SinkError {
    queue: QueueName,
    error: http::SettingsError,
}

/// A dispatcher for each queue that has a sink; the secrets of receivers go into them.
///
/// # Errors
/// [`SinkError`] for the first queue whose sink can't be made.
pub fn dispatchers(
    configured: &[Queue],
    secrets: &mut Secrets,
    queues: &Queues,
) -> Result<Vec<Dispatcher<QueueSink>>, SinkError> {
    let mut dispatchers = Vec::new();
    for queue in configured {
        let secrets = secrets.receivers.remove(&queue.name).unwrap_or_default();
        if let Some(sink) = QueueSink::open(queue, secrets)? {
            dispatchers.push(Dispatcher::new(queues.clone(), queue.name.clone(), sink, Options::default()));
        }
    }
    Ok(dispatchers)
}

/// The sink of a configured queue.
#[derive(Debug)]
pub enum QueueSink {
    Spool(Spool),
    Http(Http),
}

impl QueueSink {
    /// The sink of this queue. An embedded queue has none, because its readers come to the admin socket. Blocks.
    ///
    /// # Errors
    /// [`SinkError`], in words for the operator.
    pub fn open(queue: &Queue, secrets: ReceiverSecrets) -> Result<Option<Self>, SinkError> {
        match &queue.kind {
            QueueKind::Embedded { .. } => Ok(None),
            QueueKind::Spool(spool) => Ok(Some(Self::Spool(Spool::open(spool.clone(), queue.format)))),
            QueueKind::Http(receiver) => {
                match Http::new(&queue.name, receiver.clone(), queue.format, secrets) {
                    Ok(http) => Ok(Some(Self::Http(http))),
                    Err(error) => Err(SinkError { queue: queue.name.clone(), error }),
                }
            }
        }
    }
}

impl Sink for QueueSink {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        match self {
            Self::Spool(spool) => spool.deliver(events).await,
            Self::Http(http) => http.deliver(events).await,
        }
    }
}
