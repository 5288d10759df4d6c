//! Events to a receiver: the rate of a queue over that of its sink alone, the way of one event, webhooks beside a queue that is drained,
//! and memory while a backlog is.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringhookd::clock;
use ringhookd::config::{Queue, ReceiverSecrets};
use ringhookd::delivery::sinks::QueueSink;
use ringhookd::delivery::{Dispatcher, Options, Sink, Verdict};
use ringhookd::domain::dedup::Identity;
use ringhookd::domain::envelope::{self, Anomaly};
use ringhookd::domain::ids::QueueName;
use ringhookd::domain::receipt::Origin;
use ringhookd::store::{Incoming, Lease, LeaseRequest, Leased, Outcome, Scope, Store};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::disk::fdatasync;
use super::{ACCOUNTS, Bench, SYNCS};
use crate::load::events::{account, device};
use crate::report::{Figure, median};
use crate::servers::resident;
use crate::stores::{self, Content, MORE};

/// The queue under test.
const NAME: &str = "out";
/// Accepts at once while a queue is filled, or webhooks are measured.
const AT_ONCE: usize = 64;
/// Single events, one after the other.
const SINGLE: usize = 200;
const LOOK: Duration = Duration::from_millis(100);

/// One kind of queue, before a receiver that takes everything.
pub(crate) struct Forward<'b> {
    bench: &'b mut Bench,
    kind: &'static str,
    store: Store,
    queue: Queue,
    name: QueueName,
    next: u64,
}

/// The receiver of a queue, and the events for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub(crate) kind: &'static str,
    /// The receiver's keys of `[[queue]]`.
    pub(crate) settings: &'w str,
    /// Events of a round.
    pub(crate) events: u64,
    /// Events of the backlog that is drained at last.
    pub(crate) backlog: u64,
}

/// Measures one kind.
pub(crate) fn measure(bench: &mut Bench, folder: &Path, wanted: Wanted<'_>) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let queue = format!("[[queue]]\nname = \"{NAME}\"\nmax_bytes = \"50 GiB\"\n{}\n", wanted.settings);
    std::fs::write(folder.join(MORE), queue)?;
    stores::make(folder)?;
    stores::add(folder, Content { accounts: ACCOUNTS, ..Content::default() })?;
    let config = stores::config(folder)?;
    let queue = config.queues.into_iter().find(|queue| queue.name.as_str() == NAME).ok_or("no queue")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (store, name) = (stores::open(folder)?, queue.name.clone());
        store.queues().remove(&QueueName::new("all").ok_or("no name")?).await?;
        let mut forward = Forward { bench, kind: wanted.kind, store, queue, name, next: 0 };
        forward.rates(wanted.events).await?;
        forward.way(folder).await?;
        forward.beside().await?;
        forward.memory(wanted.backlog).await?;
        forward.store.close();
        Ok(())
    })
}

impl Forward<'_> {
    fn sink(&self) -> Result<QueueSink, Box<dyn Error>> {
        Ok(QueueSink::open(&self.queue, ReceiverSecrets::default())?.ok_or("the queue has no sink")?)
    }

    fn add(&mut self, name: &str, value: f64, unit: &'static str, from: String, goal: Option<&'static str>) {
        let name = format!("{}: {name}", self.kind);
        self.bench.report.add(Figure { name, value, unit, from, goal });
    }

    /// The median of rates over those beside them, round by round.
    fn add_ratio(&mut self, name: &str, pairs: &[(f64, f64)], goal: &'static str) {
        let of = |figure: fn(&(f64, f64)) -> f64| median(&mut pairs.iter().map(figure).collect::<Vec<_>>());
        let from = format!("{:.0}/s over {:.0}/s", of(|pair| pair.0), of(|pair| pair.1));
        self.add(name, of(|pair| pair.0 / pair.1), "", from, Some(goal));
    }

    /// Events that wait, distinct and of all accounts.
    async fn fill(&mut self, count: u64) -> Result<(), Box<dyn Error>> {
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        let inbox = self.store.inbox().clone();
        let share = count.div_ceil(AT_ONCE as u64).max(1);
        let mut tasks = JoinSet::new();
        for first in numbers.clone().step_by(usize::try_from(share)?) {
            let (inbox, end) = (inbox.clone(), numbers.end.min(first + share));
            tasks.spawn(async move {
                for number in first..end {
                    inbox.accept(incoming(number)?).await.map_err(|e| e.to_string())?;
                }
                Ok::<(), String>(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok(())
    }

    fn left(&self) -> u64 {
        let queues = self.store.queues().list();
        queues.iter().filter(|queue| queue.name == self.name).map(|queue| queue.waiting + queue.leased).sum()
    }

    /// Runs the queue's dispatcher, and gives the way to stop it.
    fn dispatch(&self) -> Result<impl FnOnce() -> JoinHandle<usize> + use<>, Box<dyn Error>> {
        let queues = self.store.queues().clone();
        let dispatcher = Dispatcher::new(queues, self.name.clone(), self.sink()?, Options::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(dispatcher.run(async move {
            _ = stopped.await;
            clock::ticks() + Duration::from_mins(1)
        }));
        Ok(move || {
            _ = stop.send(());
            task
        })
    }

    async fn until_empty(&self) {
        while self.left() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The same leases through the sink alone, as many at once as the dispatcher has, and through the dispatcher.
    async fn rates(&mut self, events: u64) -> Result<(), Box<dyn Error>> {
        let mut pairs = Vec::new();
        for round in 0..=self.bench.effort.rounds {
            self.fill(events).await?;
            let theirs = self.alone().await?;
            self.fill(events).await?;
            let start = clock::instant();
            let stop = self.dispatch()?;
            self.until_empty().await;
            let rate = events as f64 / start.elapsed().as_secs_f64();
            stop().await?;
            if round > 0 {
                pairs.push((rate, theirs));
            }
        }
        self.add_ratio("forwarded / the sink alone", &pairs, "0.85");
        Ok(())
    }

    /// Events a second of the sink without store and dispatcher.
    async fn alone(&self) -> Result<f64, Box<dyn Error>> {
        let options = Options::default();
        let mut leases = Vec::new();
        while let Some(lease) = self.lease(options.max_events, options.max_bytes).await? {
            leases.push((lease.id, Arc::<[Leased]>::from(lease.events)));
        }
        let (sink, leases, next) = (Arc::new(self.sink()?), Arc::new(leases), Arc::new(AtomicUsize::new(0)));
        let start = clock::instant();
        let mut tasks = JoinSet::new();
        for _ in 0..options.in_flight {
            let (sink, leases, next) = (Arc::clone(&sink), Arc::clone(&leases), Arc::clone(&next));
            tasks.spawn(async move {
                while let Some((_, events)) = leases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdicts = sink.deliver(Arc::clone(events)).await;
                    if let Some(other) = verdicts.into_iter().find(|verdict| *verdict != Verdict::Done) {
                        return Err(format!("{other:?}"));
                    }
                }
                Ok(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        let rate = leases.iter().map(|(_, events)| events.len()).sum::<usize>() as f64;
        let rate = rate / start.elapsed().as_secs_f64();
        for (id, events) in leases.iter() {
            let done = events.iter().map(|event| (event.seq, Outcome::Done)).collect();
            self.store.queues().settle(&self.name, *id, done).await?;
        }
        Ok(rate)
    }

    async fn lease(&self, max_events: usize, max_bytes: u64) -> Result<Option<Lease>, Box<dyn Error>> {
        let until = clock::now().plus(Duration::from_hours(1));
        let request = LeaseRequest { max_events, max_bytes, until, scope: Scope::default() };
        Ok(self.store.queues().lease(&self.name, &request, clock::now()).await?)
    }

    /// From the accept of a single event until it is delivered and settled, over the sink's own time for one.
    async fn way(&mut self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let (sink, mut own) = (self.sink()?, Vec::new());
        for _ in 0..SINGLE {
            self.fill(1).await?;
            let lease = self.lease(1, u64::MAX).await?.ok_or("nothing waits")?;
            let done = lease.events.iter().map(|event| (event.seq, Outcome::Done)).collect();
            let start = clock::instant();
            sink.deliver(lease.events.into()).await;
            own.push(start.elapsed().as_secs_f64() * 1e6);
            self.store.queues().settle(&self.name, lease.id, done).await?;
        }
        let stop = self.dispatch()?;
        let mut way = Vec::new();
        for _ in 0..SINGLE {
            self.fill(1).await?;
            let start = clock::instant();
            while self.left() > 0 {
                tokio::task::yield_now().await;
            }
            way.push(start.elapsed().as_secs_f64() * 1e6);
        }
        stop().await?;
        let sync = fdatasync(folder, SYNCS)?;
        let (middle, trip) = (median(&mut way), median(&mut own));
        let p99 = way.get(way.len() * 99 / 100).copied().unwrap_or(f64::NAN);
        let from = format!(
            "p50 {middle:.0} µs, p99 {p99:.0} µs; the sink alone {trip:.0} µs; fdatasync {sync:.0} µs"
        );
        self.add("one event, beyond the sink's own time / fdatasync", (middle - trip) / sync, "", from, None);
        Ok(())
    }

    /// Accepts a second while the queue is drained, over those while nothing is.
    async fn beside(&mut self) -> Result<(), Box<dyn Error>> {
        let mut pairs = Vec::new();
        for round in 0..=self.bench.effort.rounds {
            let quiet = self.accepts().await?;
            let stop = self.dispatch()?;
            let drained = self.accepts().await?;
            self.until_empty().await;
            stop().await?;
            if round > 0 {
                pairs.push((drained, quiet));
            }
        }
        self.add_ratio("accepts beside a drain / alone", &pairs, "0.90");
        Ok(())
    }

    /// Accepts a second, as many at once as there is room for in a commit.
    async fn accepts(&mut self) -> Result<f64, Box<dyn Error>> {
        let count = 2_000 * self.bench.effort.span.as_secs();
        let (mut accepted, start) = (0, clock::instant());
        while start.elapsed() < self.bench.effort.span {
            self.fill(count).await?;
            accepted += count;
        }
        Ok(accepted as f64 / start.elapsed().as_secs_f64())
    }

    /// Memory that a backlog takes beyond its index while it is drained.
    async fn memory(&mut self, backlog: u64) -> Result<(), Box<dyn Error>> {
        self.fill(backlog).await?;
        let (before, start) = (resident("self")?, clock::instant());
        let (stop, mut most) = (self.dispatch()?, before);
        while self.left() > 0 {
            tokio::time::sleep(LOOK).await;
            most = most.max(resident("self")?);
        }
        let rate = backlog as f64 / start.elapsed().as_secs_f64();
        stop().await?;
        let from = format!("{} MiB of {} before; {rate:.0} events/s", most >> 20, before >> 20);
        self.add("memory while a backlog is drained / before", most as f64 / before as f64, "", from, None);
        Ok(())
    }
}

fn incoming(number: u64) -> Result<Incoming, String> {
    let owner = number % ACCOUNTS;
    let (account_id, device_id) = (account(owner), device(owner, 0));
    let body = format!(
        r#"{{"meta":{{"version":"1.1","request_id":"forward-{number}","account_id":"{account_id}"}},"data":{{"id":"{device_id}_human_{number}","type":"motion_detected","subType":"human","attributes":{{"source":"{device_id}","source_type":"devices","timestamp":{}}},"relationships":{{"devices":{{"data":[{{"type":"devices","id":"{device_id}"}}]}}}}}}}}"#,
        clock::now().0
    );
    let envelope = envelope::parse(body.as_bytes()).map_err(Anomaly::as_str)?;
    let (key, identity) = Identity::of_event(&envelope, body.as_bytes());
    let event = envelope.into_event(key, body.into(), clock::now());
    Ok(Incoming { event, identity, related: Vec::new(), anomaly: None, origin: Origin::default() })
}
