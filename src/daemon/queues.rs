//! Starts what delivers the queues that do not wait for a reader: one dispatcher with its sink each.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{self, Config, QueueKind};
use crate::delivery::sinks::spool::{self, Spool};
use crate::delivery::{Dispatcher, Options, State};
use crate::domain::event::Event;
use crate::domain::ids::QueueName;
use crate::store::Store;

/// How the delivery of each queue stands.
pub(super) type States = Arc<Vec<(QueueName, watch::Receiver<State>)>>;

/// Starts a dispatcher for each push queue; each ends when `stop` resolves.
pub(super) fn start<F>(
    config: &Config,
    store: &Store,
    tasks: &mut JoinSet<()>,
    stop: impl Fn() -> F,
) -> States
where
    F: Future<Output = Instant> + Send + 'static,
{
    let mut states = Vec::new();
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
        let dispatcher =
            Dispatcher::new(store.queues().clone(), queue.name.clone(), spool, Options::default());
        states.push((queue.name.clone(), dispatcher.state()));
        let run = dispatcher.run(stop());
        tasks.spawn(async move {
            let _ = run.await;
        });
    }
    Arc::new(states)
}

fn cloudevent(event: &Event, sequence: u64, attempt: u32) -> Bytes {
    let mut line = event.cloudevent(sequence, attempt);
    line.push('\n');
    line.into()
}

fn raw(event: &Event, _sequence: u64, _attempt: u32) -> Bytes {
    event.body.clone()
}
