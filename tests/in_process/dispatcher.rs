//! What a dispatcher does beside delivering: several leases at once, long deliveries, and what fails around it.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use ringhookd::clock;
use ringhookd::delivery::{Dispatcher, Options, Sink, State, Verdict};
use ringhookd::domain::backoff::Backoff;
use ringhookd::store::{Leased, Store};
use tokio::sync::{Barrier, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Far above what anything takes, and below what the dispatcher waits when it missed a wake.
const LONG: Duration = Duration::from_secs(30);

/// A sink from a function.
struct Call<F>(F);

impl<F, R> Sink for Call<F>
where
    F: Fn(Arc<[Leased]>) -> R + Send + Sync + 'static,
    R: Future<Output = Vec<Verdict>> + Send,
{
    fn deliver(&self, events: Arc<[Leased]>) -> impl Future<Output = Vec<Verdict>> + Send {
        (self.0)(events)
    }
}

struct Running {
    state: watch::Receiver<State>,
    stop: oneshot::Sender<Instant>,
    task: JoinHandle<usize>,
}

impl Running {
    fn start<S: Sink>(store: &Store, sink: S, options: Options) -> Self {
        let dispatcher = Dispatcher::new(store.queues().clone(), queue("all"), sink, options);
        let state = dispatcher.state();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(dispatcher.run(async { stopped.await.unwrap() }));
        Self { state, stop, task }
    }

    async fn becomes(&mut self, name: &str) -> State {
        let reached = timeout(LONG, self.state.wait_for(|state| state.name().as_str() == name)).await;
        reached.expect("the state is reached").unwrap().clone()
    }

    /// Returns how many deliveries were cut off.
    async fn stop(self, within: Duration) -> usize {
        self.stop.send(clock::ticks() + within).unwrap();
        timeout(LONG, self.task).await.expect("it ends").unwrap()
    }
}

fn quick() -> Options {
    let short = Backoff { least: Duration::from_millis(5), most: Duration::from_millis(20) };
    Options { retry: short, pause: short, ..Options::default() }
}

fn all_done(events: &[Leased]) -> Vec<Verdict> {
    vec![Verdict::Done; events.len()]
}

async fn store_of(folder: &std::path::Path, accounts: &[&str]) -> Store {
    let store = store(&folder.join("store"), vec![spec("all")]);
    for account in accounts {
        link(&store, account, "ann").await;
        store.inbox().accept(event(account, account)).await.unwrap();
    }
    store
}

async fn is_empty(store: &Store) {
    let wait = async {
        while store.queues().list()[0].waiting > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, wait).await.expect("everything is delivered");
}

#[tokio::test]
async fn several_leases_are_in_flight_at_once_and_no_more_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &["a", "b", "c", "d", "e", "f"]).await;
    let (barrier, now, most) = (Arc::new(Barrier::new(3)), Arc::new(AtomicU32::new(0)), Arc::default());
    let sink = {
        let most: Arc<AtomicU32> = Arc::clone(&most);
        Call(move |events: Arc<[Leased]>| {
            let (barrier, now, most) = (Arc::clone(&barrier), Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Nobody gets further before three are here.
                barrier.wait().await;
                now.fetch_sub(1, Ordering::SeqCst);
                all_done(&events)
            }
        })
    };
    let running = Running::start(&store, sink, Options { in_flight: 3, max_events: 1, ..quick() });
    is_empty(&store).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(running.stop(LONG).await, 0);
}

#[tokio::test]
async fn a_slow_delivery_keeps_its_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &["a"]).await;
    let calls = Arc::new(AtomicU32::new(0));
    let lease = Duration::from_secs(2);
    let sink = {
        let calls = Arc::clone(&calls);
        Call(move |events: Arc<[Leased]>| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(lease * 2).await;
                all_done(&events)
            }
        })
    };
    let running = Running::start(&store, sink, Options { lease, ..quick() });
    is_empty(&store).await;
    running.stop(LONG).await;
    assert_eq!((calls.load(Ordering::SeqCst), store.queues().list()[0].totals.failed), (1, 0));
}

#[tokio::test]
async fn a_sink_that_hangs_is_busy_and_no_attempt_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &["a"]).await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let attempts = Arc::clone(&attempts);
        Call(move |events: Arc<[Leased]>| {
            let mut attempts = attempts.lock().unwrap();
            attempts.push(events[0].attempt);
            let hangs = attempts.len() < 3;
            async move { if hangs { std::future::pending().await } else { all_done(&events) } }
        })
    };
    let mut running =
        Running::start(&store, sink, Options { overdue: Duration::from_millis(100), ..quick() });
    let State::SinkBusy { why, .. } = running.becomes("sink_busy").await else { panic!("busy") };
    assert!(why.contains("in time"), "{why}");
    is_empty(&store).await;
    running.becomes("delivering").await;
    running.stop(LONG).await;
    assert_eq!(*attempts.lock().unwrap(), [1, 1, 1]);
}

#[tokio::test]
async fn a_sink_that_panics_is_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &["a"]).await;
    let calls = AtomicU32::new(0);
    let sink = Call(move |events: Arc<[Leased]>| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "a bug in the sink");
        async move { all_done(&events) }
    });
    let mut running = Running::start(&store, sink, Options { lease: Duration::from_secs(1), ..quick() });
    running.becomes("sink_busy").await;
    is_empty(&store).await;
    assert_eq!(store.queues().list()[0].totals.failed, 1, "counted, since it may be the event's fault");
    running.stop(LONG).await;
}

#[tokio::test]
async fn a_failing_store_is_tried_at_intervals_not_in_a_spin() {
    static PAUSES: AtomicU32 = AtomicU32::new(0);
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &["a"]).await;
    // Leases are there, and reading what is leased fails.
    store.close();
    let pause = Backoff { least: Duration::from_millis(100), most: Duration::from_millis(100) };
    let random = || u64::from(PAUSES.fetch_add(1, Ordering::SeqCst));
    let sink = Call(|events: Arc<[Leased]>| async move { all_done(&events) });
    let mut running = Running::start(&store, sink, Options { pause, random, ..quick() });
    running.becomes("store_failing").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.stop(LONG).await, 0);
    let pauses = PAUSES.load(Ordering::SeqCst);
    assert!((1..=12).contains(&pauses), "{pauses} tries in a second");
}

#[tokio::test]
async fn a_limit_holds_and_is_the_reason_of_the_backlog_and_costs_no_attempt() {
    const PER_SECOND: u32 = 20;
    const EVENTS: usize = 30;
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &["a", "b"]).await;
    for n in 2..EVENTS {
        store.inbox().accept(event(&format!("{n:02}"), ["a", "b"][n % 2])).await.unwrap();
    }
    let taken = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let taken = Arc::clone(&taken);
        Call(move |events: Arc<[Leased]>| {
            let of = |leased: &Leased| (leased.event.account.clone(), leased.seq, leased.attempt);
            taken.lock().unwrap().extend(events.iter().map(of));
            async move { all_done(&events) }
        })
    };
    let begun = clock::ticks();
    let limited = Options { events_per_second: Some(PER_SECOND), ..quick() };
    let mut running = Running::start(&store, sink, limited);
    let State::Limited { why, .. } = running.becomes("limited").await else { panic!("limited") };
    assert_eq!(why, "limited to 20 a second (events_per_second)");
    is_empty(&store).await;
    // The bucket is empty at first, so that this is what it takes at least, however fast the machine is.
    let least = Duration::from_secs(1) * u32::try_from(EVENTS).unwrap() / PER_SECOND;
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    running.becomes("delivering").await;
    running.stop(LONG).await;
    assert_eq!(store.queues().list()[0].totals.failed, 0);
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), EVENTS);
    for name in ["a", "b"] {
        let of = account(name);
        let its = || taken.iter().filter(|(account, ..)| account.as_ref() == Some(&of));
        assert!(its().map(|(_, seq, _)| seq).is_sorted() && its().all(|(.., attempt)| *attempt == 1));
    }
}

/// Each delivery brings the next event at another moment of the look at the queue that follows it: one wake that is
/// missed ends the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_is_missed_between_a_look_at_the_queue_and_the_wait() {
    const CHAIN: u64 = 1500;
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = store_of(dir.path(), &["a", "b"]).await;
    let sink = {
        let store = store.clone();
        Call(move |events: Arc<[Leased]>| {
            let store = store.clone();
            async move {
                let seq = events[0].seq;
                if seq < CHAIN {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_micros(seq * 7 % 3000)).await;
                        store.inbox().accept(event(&format!("next-{seq}"), "a")).await.unwrap();
                    });
                }
                all_done(&events)
            }
        })
    };
    let running = Running::start(&store, sink, quick());
    let chain = async {
        while store.queues().list()[0].totals.delivered < CHAIN {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, chain).await.expect("the chain goes on to its end");
    running.stop(LONG).await;
}
