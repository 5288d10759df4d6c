//! Makes what delivers the queues that do not wait for a reader: one dispatcher with its sink each.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::{self, Config, QueueKind};
use crate::delivery::sinks::spool::{self, Spool};
use crate::delivery::{Dispatcher, Options, State};
use crate::domain::event::Event;
use crate::domain::ids::QueueName;
use crate::store::Store;

/// How the delivery of each queue stands.
pub(super) type States = Arc<Vec<(QueueName, watch::Receiver<State>)>>;

/// A dispatcher for each push queue.
pub(super) fn dispatchers(config: &Config, store: &Store) -> Vec<Dispatcher<Spool>> {
    let mut dispatchers = Vec::new();
    for queue in &config.queues {
        let QueueKind::Spool { folder, max_files, spool_bytes } = &queue.kind else { continue };
        let spool = Spool::open(spool::Options {
            folder: folder.clone(),
            max_files: *max_files,
            max_bytes: *spool_bytes,
            format: match queue.format {
                config::Format::CloudEvents => cloudevent,
                config::Format::Raw => raw,
            },
        });
        dispatchers.push(Dispatcher::new(
            store.queues().clone(),
            queue.name.clone(),
            spool,
            Options::default(),
        ));
    }
    dispatchers
}

/// How each of them stands, now and later.
pub(super) fn states(dispatchers: &[Dispatcher<Spool>]) -> States {
    Arc::new(dispatchers.iter().map(|d| (d.queue().clone(), d.state())).collect())
}

fn cloudevent(event: &Event, sequence: u64, attempt: u32) -> Bytes {
    let mut line = event.cloudevent(sequence, attempt);
    line.push('\n');
    line.into()
}

fn raw(event: &Event, _sequence: u64, _attempt: u32) -> Bytes {
    event.body.clone()
}
