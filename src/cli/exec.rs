//! `ringhookd queue read NAME --exec COMMAND`: a run of the command for each event, which decides what becomes of it.
//!
//! ```text
//! lease one event ─▶ run the command, extend the lease meanwhile ─▶ settle by how it ended
//!       ▲                                  │ lease lost, time over, reader stops
//!       └──── a run has ended ◀── kill its process group
//! ```
//!
//! Order per account is the daemon's: it leases no second event of an account before the first is settled.

mod job;
mod lease;
mod run;
pub(super) mod work;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::lease::{Queue, Taken};
use self::run::{Ended, Run, Runner};
use self::work::Work;
use super::client::Client;
use super::failure::Failure;
use super::stop::Stop;
use crate::access;
use crate::admin::MAX_WAIT;
use crate::clock;

/// How long a reader that does not follow waits for a daemon that is gone.
const GONE_FOR: Duration = Duration::from_mins(1);
/// How long what was killed may take to be settled, before the reader ends without that.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a reader that stops waits for events that may be on their way, before it hangs up.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// The queue that is read, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) user: Option<&'a str>,
    /// Wait for the first event.
    pub(super) wait: bool,
    /// Events to take at most.
    pub(super) max: u64,
}

/// Runs the command until the queue is empty, the reader is told to stop, or nothing can be run.
pub(super) async fn run(source: Source<'_>, work: Work, daemon: &Client) -> Result<(), Failure> {
    let mut stop = Stop::listen_with_hangup().map_err(|error| Failure::no(format!("signals: {error}")))?;
    let queue = Arc::new(Queue::new(daemon, source.name, source.user, work.lease));
    let socket = access::absolute(daemon.socket());
    let kill_after = work.kill_after();
    let runner = Arc::new(Runner {
        queue: Arc::clone(&queue),
        name: source.name.to_owned(),
        socket,
        shell: work.exec,
        program: work.program,
        body: work.body,
        timeout: work.timeout,
        later: work.later,
        kill_after,
    });
    let mut reader = Reader {
        runner,
        queue,
        parallel: usize::try_from(work.parallel).unwrap_or(1),
        follow: work.follow,
        wait: source.wait,
        left: source.max,
        grace: work.grace,
        runs: JoinSet::new(),
        lanes: HashMap::new(),
        kill: watch::Sender::new(false),
        asking: None,
        is_empty: false,
        stopping: None,
        failed: 0,
        told: None,
    };
    reader.read(&mut stop).await
}

/// What a reader is told of a paused queue.
pub(super) fn is_paused(name: &str, since: &str) -> String {
    format!("queue {name} has been paused since {since}; `ringhookd queue resume {name}` lets it go on")
}

type Asking = Pin<Box<dyn Future<Output = Result<Option<Taken>, Failure>>>>;

/// The run that has an account.
struct Lane {
    lost: Arc<Notify>,
    ended: oneshot::Receiver<()>,
}

/// The reader stops: no more events are taken.
struct Stopping {
    kill_at: Instant,
    /// Until then an answer that is on its way is awaited, because the events in it would stay leased.
    hang_up_at: Instant,
    why: Option<Failure>,
}

struct Reader {
    runner: Arc<Runner>,
    queue: Arc<Queue>,
    parallel: usize,
    follow: bool,
    wait: bool,
    left: u64,
    grace: Duration,
    runs: JoinSet<Ended>,
    lanes: HashMap<Option<String>, Lane>,
    kill: watch::Sender<bool>,
    asking: Option<Asking>,
    /// Nothing could be taken, and no run has ended since.
    is_empty: bool,
    stopping: Option<Stopping>,
    failed: u64,
    /// The pause that was told of.
    told: Option<String>,
}

impl Reader {
    async fn read(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            if self.may_ask() {
                self.asking = Some(self.ask());
            }
            if self.asking.is_none() && self.runs.is_empty() {
                break;
            }
            let next_step = self.next_step();
            tokio::select! {
                Some(ended) = self.runs.join_next() => self.ended(ended),
                taken = asked(&mut self.asking) => self.taken(taken),
                () = stop.told() => self.stop_or_kill(None),
                () = sleep_until(next_step.unwrap_or_else(clock::ticks)), if next_step.is_some() => {
                    if self.asking.take().is_some() {
                        continue;
                    }
                    if *self.kill.borrow() {
                        // The daemon can't be told: the leases run out.
                        break;
                    }
                    self.kill_all();
                }
            }
        }
        let failed = (self.failed > 0 && !self.follow).then_some(self.failed);
        let paused = self.queue.paused_since().filter(|_| !self.follow && self.left > 0);
        match (self.stopping.take(), failed) {
            (Some(Stopping { why: Some(why), .. }), _) => Err(why),
            (None, Some(failed)) => Err(Failure::no(format!(
                "{failed} failed attempts; their events come again, or are dead letters"
            ))),
            (None, None) => {
                paused.map_or(Ok(()), |since| Err(Failure::no(is_paused(&self.runner.name, &since))))
            }
            (Some(_), _) => Ok(()),
        }
    }

    /// While the reader stops: when it hangs up, and then when it kills.
    fn next_step(&self) -> Option<Instant> {
        let stopping = self.stopping.as_ref()?;
        Some(if self.asking.is_some() { stopping.hang_up_at.min(stopping.kill_at) } else { stopping.kill_at })
    }

    fn may_ask(&self) -> bool {
        let busy = self.runs.len() >= self.parallel || (self.is_empty && !self.follow);
        self.stopping.is_none() && self.asking.is_none() && self.left > 0 && !busy
    }

    fn ask(&self) -> Asking {
        let queue = Arc::clone(&self.queue);
        let wait = if self.follow || self.wait { MAX_WAIT } else { Duration::ZERO };
        let at_most = (!self.follow).then_some(GONE_FOR);
        Box::pin(async move { queue.take(wait, at_most).await })
    }

    fn taken(&mut self, taken: Result<Option<Taken>, Failure>) {
        match taken {
            Ok(Some(taken)) if self.stopping.is_some() => {
                let queue = Arc::clone(&self.queue);
                self.runs.spawn(async move {
                    queue.settle(&taken, &taken.returned()).await;
                    Ended::Settled
                });
            }
            Ok(None) | Err(_) if self.stopping.is_some() => {}
            Ok(Some(taken)) => {
                self.wait = false;
                self.left -= 1;
                self.begin(taken);
            }
            Ok(None) => {
                self.is_empty = !self.wait;
                self.tell_of_pause();
            }
            Err(failure) => self.stop_or_kill(Some(failure)),
        }
    }

    /// Once for each pause, where the reader waits for its end.
    fn tell_of_pause(&mut self) {
        let paused = self.queue.paused_since();
        if self.told != paused
            && let Some(since) = &paused
            && (self.follow || self.wait)
        {
            eprintln!("ringhookd: {}", is_paused(&self.runner.name, since));
        }
        self.told = paused;
    }

    fn begin(&mut self, taken: Taken) {
        let (lost, (end, ended)) = (Arc::new(Notify::new()), oneshot::channel());
        let lane = Lane { lost: Arc::clone(&lost), ended };
        // The daemon has leased this account anew, so an earlier lease of ours is lost, though we may not know it yet.
        let before = self.lanes.insert(taken.event.account.clone(), lane);
        let before = before.map(|lane| {
            lane.lost.notify_one();
            lane.ended
        });
        let run = Run { taken, before, lost, kill: self.kill.subscribe(), end };
        self.runs.spawn(Arc::clone(&self.runner).run(run));
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        self.is_empty = false;
        self.lanes.retain(|_, lane| !is_over(&mut lane.ended));
        match ended {
            Ok(Ended::Settled) => {}
            Ok(Ended::Failed) => self.failed += 1,
            Ok(Ended::NotRunnable(failure)) => self.stop_or_kill(Some(failure)),
            Err(error) => self.stop_or_kill(Some(Failure::no(format!("a run ended in a panic: {error}")))),
        }
    }

    /// The first time nothing more is taken, and what runs may end; told by hand a second time, what runs is killed.
    fn stop_or_kill(&mut self, why: Option<Failure>) {
        match &mut self.stopping {
            None => {
                if !self.runs.is_empty() {
                    let grace = humantime::format_duration(self.grace);
                    eprintln!("ringhookd: stopping; running commands have {grace} to end");
                }
                let now = clock::ticks();
                let (kill_at, hang_up_at) = (now + self.grace, now + ON_ITS_WAY);
                self.stopping = Some(Stopping { kill_at, hang_up_at, why });
            }
            Some(stopping) if why.is_some() => stopping.why = stopping.why.take().or(why),
            Some(_) => self.kill_all(),
        }
    }

    fn kill_all(&mut self) {
        if let Some(stopping) = &mut self.stopping
            && !self.kill.send_replace(true)
        {
            stopping.kill_at = clock::ticks() + self.runner.kill_after + LAST_WORDS;
        }
    }
}

async fn asked(asking: &mut Option<Asking>) -> Result<Option<Taken>, Failure> {
    let Some(under_way) = asking else { return std::future::pending().await };
    let taken = under_way.await;
    *asking = None;
    taken
}

fn is_over(ended: &mut oneshot::Receiver<()>) -> bool {
    ended.try_recv() != Err(oneshot::error::TryRecvError::Empty)
}
