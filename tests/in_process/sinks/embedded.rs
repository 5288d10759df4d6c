//! The kind `embedded`: a reader that leases from the store itself, notes what it got, and settles.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::delivery::Verdict;
use ringhookd::domain::ids::QueueName;
use ringhookd::store::{Lease, Outcome, Store};
use tokio::time::{sleep, sleep_until, timeout};

use super::harness::{Arrival, Faults, Kind, Sorted, Stop, Worker, sort};
use crate::support::{queue, request};

type Notes = Arc<Mutex<HashMap<String, Vec<Arrival>>>>;

/// What the readers noted.
pub(crate) struct Embedded {
    notes: Notes,
}

impl Embedded {
    pub(crate) fn new(_: &Path) -> Self {
        Self { notes: Notes::default() }
    }
}

impl Kind for Embedded {
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker {
        let reader =
            Reader { store: store.clone(), queue: queue(name), notes: Arc::clone(&self.notes), faults };
        Worker::spawn(|stop| reader.run(stop))
    }

    fn arrived(&self, name: &str) -> Vec<Arrival> {
        self.notes.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

struct Reader {
    store: Store,
    queue: QueueName,
    notes: Notes,
    faults: Faults,
}

impl Reader {
    async fn run(self, mut stop: Stop) {
        let wake = self.store.queues().wake(&self.queue).unwrap();
        while !stop.is_asked() {
            let woken = wake.notified();
            let Some(lease) =
                self.store.queues().lease(&self.queue, &request(64), clock::now()).await.unwrap()
            else {
                let due = Duration::from_millis(10);
                let _ = timeout(due, woken).await;
                continue;
            };
            tokio::select! {
                () = self.read(&lease) => {}
                () = async { sleep_until(stop.asked().await).await } => {
                    let all = lease.events.iter().map(|e| (e.seq, Outcome::Returned)).collect();
                    self.store.queues().settle(&self.queue, lease.id, all).await.unwrap();
                    return;
                }
            }
        }
    }

    async fn read(&self, lease: &Lease) {
        let Sorted { passed, verdicts, loses_answer } = sort(&lease.events, &self.faults);
        let passed = passed.into_iter().map(|at| Arrival::from(&lease.events[at].event));
        self.notes.lock().unwrap().entry(self.queue.to_string()).or_default().extend(passed);
        if loses_answer {
            return std::future::pending().await;
        }
        let (mut durable, mut returned, mut stopped) = (Vec::new(), Vec::new(), HashSet::new());
        for (leased, verdict) in lease.events.iter().zip(verdicts) {
            match verdict {
                Verdict::Done => durable.push((leased.seq, Outcome::Done)),
                Verdict::Refused { why } => durable.push((leased.seq, Outcome::Dead { why })),
                Verdict::Failed { why } if stopped.insert(&leased.event.account) => {
                    durable.push((leased.seq, Outcome::Failed { due: clock::now(), why }));
                }
                Verdict::Failed { .. } => returned.push((leased.seq, Outcome::Returned)),
                Verdict::Untried | Verdict::Busy { .. } => {
                    stopped.insert(&leased.event.account);
                    returned.push((leased.seq, Outcome::Returned));
                }
            }
        }
        if !returned.is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        self.store.queues().settle(&self.queue, lease.id, durable).await.unwrap();
        self.store.queues().settle(&self.queue, lease.id, returned).await.unwrap();
    }
}
