//! The sinks, one file a kind of queue.

pub mod spool;

use std::sync::Arc;

use self::spool::Spool;
use super::{Dispatcher, Options, Sink, Verdict};
use crate::config::{Queue, QueueKind};
use crate::store::{Leased, Queues};

/// A dispatcher for each queue that has a sink.
pub fn dispatchers(configured: &[Queue], queues: &Queues) -> Vec<Dispatcher<QueueSink>> {
    let with_sink = configured.iter().filter_map(|queue| Some((&queue.name, QueueSink::open(queue)?)));
    with_sink
        .map(|(name, sink)| Dispatcher::new(queues.clone(), name.clone(), sink, Options::default()))
        .collect()
}

/// The sink of a configured queue.
#[derive(Debug)]
pub enum QueueSink {
    Spool(Spool),
}

impl QueueSink {
    /// The sink of this queue. An embedded queue has none, because its readers come to the admin socket. Blocks.
    pub fn open(queue: &Queue) -> Option<Self> {
        match &queue.kind {
            QueueKind::Embedded { .. } => None,
            QueueKind::Spool(spool) => Some(Self::Spool(Spool::open(spool.clone(), queue.format))),
        }
    }
}

impl Sink for QueueSink {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        match self {
            Self::Spool(spool) => spool.deliver(events).await,
        }
    }
}
