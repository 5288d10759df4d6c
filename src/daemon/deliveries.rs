//! The dispatchers of all queues that have a sink, each of which can be replaced while the daemon runs.
//!
//! ```text
//! old ──stop──▶ what is in flight lands or goes back ──ended──▶ new begins
//! ```
//!
//! Nothing is delivered by both at once, so the order of each account holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::stop::{DRAIN, Stop, Stopped};
use super::tasks::Tasks;
use crate::clock;
use crate::config::{Queue, Secrets};
use crate::delivery::sinks::{self, QueueSink, SinkError};
use crate::delivery::{Dispatcher, State};
use crate::domain::ids::QueueName;
use crate::live::Live;
use crate::store::Queues;

/// The state of each dispatched queue's delivery, now and later.
pub(super) type States = Arc<Live<Vec<(QueueName, watch::Receiver<State>)>>>;

/// A queue and the dispatcher that it gets; none where its delivery ends.
pub(super) type Replacement = (QueueName, Option<Dispatcher<QueueSink>>);

#[derive(Debug)]
pub(super) struct Deliveries {
    states: States,
    running: Mutex<BTreeMap<QueueName, Delivery>>,
    stopped: Stopped,
    tasks: Tasks,
}

/// The newest delivery of a queue.
#[derive(Debug)]
struct Delivery {
    stop: Stop,
    /// Closed once it has ended, and with it those before.
    ended: watch::Receiver<()>,
    /// None once nothing is delivered any more.
    state: Option<watch::Receiver<State>>,
}

/// Makes what differs between two configurations; `files` are the queues whose files have another content. Nothing changes by it. Blocks.
///
/// # Errors
/// For the first queue whose sink can't be made.
pub(super) fn prepare(
    queues: &Queues,
    before: &[Queue],
    after: &[Queue],
    files: &BTreeSet<QueueName>,
    secrets: &mut Secrets,
) -> Result<Vec<Replacement>, SinkError> {
    let of = |queue: &Queue| (queue.kind.clone(), queue.format, queue.events_per_second);
    let mut replacements = Vec::new();
    for queue in after {
        let same = before.iter().any(|old| old.name == queue.name && of(old) == of(queue));
        if !same || files.contains(&queue.name) {
            replacements.push((queue.name.clone(), sinks::dispatcher(queue, secrets, queues)?));
        }
    }
    let gone = before.iter().filter(|old| after.iter().all(|queue| queue.name != old.name));
    replacements.extend(gone.map(|old| (old.name.clone(), None)));
    Ok(replacements)
}

/// The same of all, at the start.
///
/// # Errors
/// The same.
pub(super) fn prepare_all(
    queues: &Queues,
    all: &[Queue],
    secrets: &mut Secrets,
) -> Result<Vec<Replacement>, SinkError> {
    prepare(queues, &[], all, &BTreeSet::new(), secrets)
}

impl Deliveries {
    /// Delivers nothing yet.
    pub(super) fn new(stopped: Stopped, tasks: Tasks) -> Self {
        Self { states: States::default(), running: Mutex::default(), stopped, tasks }
    }

    pub(super) fn states(&self) -> States {
        Arc::clone(&self.states)
    }

    /// Lets what was prepared deliver, each once the one before has ended.
    pub(super) fn replace(&self, replacements: Vec<Replacement>) {
        let mut running = self.running();
        for (queue, dispatcher) in replacements {
            let before = running.remove(&queue);
            if let Some(before) = &before {
                before.stop.at(clock::ticks() + DRAIN);
            }
            match (dispatcher, before) {
                (Some(dispatcher), before) => {
                    running.insert(queue, self.start(dispatcher, before.map(|before| before.ended)));
                }
                // Who comes after has to wait for it.
                (None, Some(before)) => _ = running.insert(queue, Delivery { state: None, ..before }),
                (None, None) => {}
            }
        }
        let states =
            running.iter().filter_map(|(queue, delivery)| Some((queue.clone(), delivery.state.clone()?)));
        self.states.set(Arc::new(states.collect()));
    }

    fn start(&self, dispatcher: Dispatcher<QueueSink>, before: Option<watch::Receiver<()>>) -> Delivery {
        let (stop, stopped) = Stop::new();
        let (running, ended) = watch::channel(());
        let (state, all) = (Some(dispatcher.state()), self.stopped.clone());
        self.tasks.spawn(async move {
            if let Some(mut before) = before {
                while before.changed().await.is_ok() {}
            }
            // It may have been replaced before it began.
            if !stopped.is_said() && !all.is_said() {
                let _ = dispatcher.run(stopped.or(all)).await;
            }
            drop(running);
        });
        Delivery { stop, ended, state }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<QueueName, Delivery>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
