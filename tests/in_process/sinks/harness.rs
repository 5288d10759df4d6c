//! What a kind of queue must offer to be tried, and faults between it and the store.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ringhookd::clock;
use ringhookd::delivery::{Dispatcher, Options, Sink, Verdict};
use ringhookd::domain::backoff::Backoff;
use ringhookd::domain::event::Event;
use ringhookd::domain::ids::{AccountId, UserId};
use ringhookd::store::{Leased, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::queue;

/// A kind of queue with the receivers behind it, which outlive the daemon.
pub(crate) trait Kind: Send + Sync + 'static {
    /// Starts the delivery of a queue. Faults lie before the receiver, but for [`Fault::LoseAnswer`].
    fn start(&self, store: &Store, name: &str, faults: Faults) -> Worker;

    /// All that ever arrived from a queue, in the order in which its receiver took it.
    fn arrived(&self, name: &str) -> Vec<Arrival>;

    /// Whether a receiver drops what comes again under a key that it has.
    fn drops_duplicates(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) key: String,
    pub(crate) account: String,
    pub(crate) user: String,
}

impl From<&Event> for Arrival {
    fn from(event: &Event) -> Self {
        let text = |id: Option<&str>| id.unwrap_or_default().to_owned();
        Self {
            key: event.key.clone(),
            account: text(event.account.as_ref().map(AccountId::as_str)),
            user: text(event.user.as_ref().map(UserId::as_str)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Fail,
    Refuse,
    Busy,
    /// It arrives, but no answer ever comes.
    LoseAnswer,
}

/// The fault of an event, asked at each attempt.
pub(crate) type Faults = Arc<dyn Fn(&Leased) -> Fault + Send + Sync>;

pub(crate) fn no_faults() -> Faults {
    Arc::new(|_| Fault::None)
}

/// A running delivery.
pub(crate) struct Worker {
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Worker {
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Stop) -> F) -> Self {
        let (stop, stopped) = watch::channel(None);
        Self { stop, task: tokio::spawn(work(Stop(stopped))) }
    }

    /// Lets what is in flight end.
    pub(crate) async fn stop(self) {
        self.stop_within(Duration::from_mins(1)).await;
    }

    pub(crate) async fn stop_within(self, limit: Duration) {
        self.stop.send_replace(Some(clock::ticks() + limit));
        self.task.await.unwrap();
    }

    /// Ends it wherever it is, as a crash does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()), "it ran until it was killed");
    }
}

/// The order to stop, and by when.
pub(crate) struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(crate) async fn asked(&mut self) -> Instant {
        self.0.wait_for(Option::is_some).await.unwrap().unwrap()
    }
}

/// A worker for any sink.
pub(crate) fn dispatch<S: Sink>(store: &Store, name: &str, sink: S, faults: Faults) -> Worker {
    let dispatcher = Dispatcher::new(store.queues().clone(), queue(name), Faulty { sink, faults }, options());
    Worker::spawn(|mut stop| async move {
        dispatcher.run(stop.asked()).await;
    })
}

fn options() -> Options {
    let short = Backoff { least: Duration::from_millis(2), most: Duration::from_millis(20) };
    Options { max_events: 64, retry: short, pause: short, ..Options::default() }
}

struct Faulty<S> {
    sink: S,
    faults: Faults,
}

impl<S: Sink> Sink for Faulty<S> {
    async fn deliver(&self, events: Arc<[Leased]>) -> Vec<Verdict> {
        let sorted = sort(&events, &self.faults);
        let passed: Arc<[Leased]> = sorted.passed.iter().map(|&at| events[at].clone()).collect();
        let mut verdicts = sorted.verdicts;
        for (at, verdict) in sorted.passed.into_iter().zip(self.sink.deliver(passed).await) {
            verdicts[at] = verdict;
        }
        if sorted.loses_answer {
            return std::future::pending().await;
        }
        verdicts
    }
}

/// A batch as its faults divide it.
pub(crate) struct Sorted {
    /// Which events go on to the receiver.
    pub(crate) passed: Vec<usize>,
    /// One for each event; those of the passed are [`Verdict::Done`].
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) loses_answer: bool,
}

/// Lets nothing pass behind a fault of the same account.
pub(crate) fn sort(events: &[Leased], faults: &Faults) -> Sorted {
    let mut sorted = Sorted { passed: Vec::new(), verdicts: Vec::new(), loses_answer: false };
    let mut stopped = HashSet::new();
    for (at, leased) in events.iter().enumerate() {
        let account = leased.event.account.clone();
        let fault = if stopped.contains(&account) { Fault::Fail } else { faults(leased) };
        if matches!(fault, Fault::Fail | Fault::Busy) {
            stopped.insert(account);
        }
        if matches!(fault, Fault::None | Fault::LoseAnswer) {
            sorted.passed.push(at);
        }
        sorted.loses_answer |= fault == Fault::LoseAnswer;
        let why = || format!("{fault:?}");
        sorted.verdicts.push(match fault {
            Fault::None | Fault::LoseAnswer => Verdict::Done,
            Fault::Fail => Verdict::Failed { why: why() },
            Fault::Refuse => Verdict::Refused { why: why() },
            Fault::Busy => Verdict::Busy { retry_after: None, why: why() },
        });
    }
    sorted
}
