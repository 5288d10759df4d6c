//! One event from its lease to its outcome.

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::sleep;

use super::job::{Job, end_of};
use super::lease::{Queue, Taken};
use crate::cli::failure::Failure;
use crate::domain::backoff::Backoff;
use crate::domain::consumer::{self, End, Outcome};
use crate::logging::text;
use crate::randomness;

/// When an event comes again after a failed attempt.
const RETRY: Backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_mins(15) };

/// What every run needs.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) queue: Arc<Queue>,
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) shell: Option<String>,
    pub(super) program: Vec<OsString>,
    pub(super) body: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) later: Duration,
    pub(super) kill_after: Duration,
}

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) taken: Taken,
    /// Ends with the run before it of the same account, whose lease is lost.
    pub(super) before: Option<oneshot::Receiver<()>>,
    pub(super) lost: Arc<Notify>,
    pub(super) kill: watch::Receiver<bool>,
    /// Dropped at the end of the run.
    pub(super) end: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(super) enum Ended {
    Settled,
    Failed,
    /// The command can't be run, for no event.
    NotRunnable(Failure),
}

impl Runner {
    pub(super) async fn run(self: Arc<Self>, mut run: Run) -> Ended {
        let outcome = self.outcome(&mut run).await;
        let ended = self.settle(&run.taken, outcome).await;
        drop(run.end);
        ended
    }

    async fn outcome(&self, run: &mut Run) -> Outcome {
        let Run { taken, before, lost, kill, .. } = run;
        let mut lease_lost = pin!(self.queue.keep(taken));
        if let Some(before) = before {
            tokio::select! {
                _ = before => {}
                () = &mut lease_lost => return Outcome::Lost,
                () = lost.notified() => return Outcome::Lost,
            }
        }
        if *kill.borrow() {
            return Outcome::Returned;
        }
        let Some(input) = self.input(taken) else {
            return Outcome::Failed { why: "the event has no body that can be read".into() };
        };
        let mut job = match Job::start(self.command(taken), input) {
            Ok(job) => job,
            Err(error) => return Outcome::NotRunnable { why: format!("{}: {error}", self.named()) },
        };
        let end = tokio::select! {
            status = job.end() => match status {
                Ok(status) => end_of(status),
                Err(error) => return Outcome::NotRunnable { why: error.to_string() },
            },
            () = &mut lease_lost => End::Lost,
            () = lost.notified() => End::Lost,
            end = over(self.timeout) => end,
            _ = kill.wait_for(|kill| *kill) => End::Stopped,
        };
        let ended_by_itself = matches!(end, End::Exited(_) | End::Killed(_));
        if end == End::Lost {
            job.kill(self.kill_after).await;
        } else if !ended_by_itself {
            let mut killed = pin!(job.kill(self.kill_after));
            tokio::select! {
                () = &mut killed => {}
                () = lease_lost => killed.await,
            }
        }
        consumer::outcome(end, self.shell.is_some(), &text(&job.last_line()).to_string())
    }

    fn input(&self, taken: &Taken) -> Option<Vec<u8>> {
        let event = &taken.event.event;
        if self.body { consumer::body(event) } else { Some(consumer::line(event)) }
    }

    /// The program that is started.
    fn named(&self) -> String {
        let program = self.program.first().map_or("/bin/sh".into(), |program| program.to_string_lossy());
        text(&program).to_string()
    }

    fn command(&self, taken: &Taken) -> Command {
        let mut command = match (&self.shell, self.program.split_first()) {
            (None, Some((program, arguments))) => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            (shell, _) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(shell.as_deref().unwrap_or_default());
                command
            }
        };
        // Of another event, where we are run by a command ourselves.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CE_")) {
            command.env_remove(name);
        }
        command
            .env("RINGHOOKD_QUEUE", &self.name)
            .env("RINGHOOKD_SOCKET", &self.socket)
            .env("RINGHOOKD_ATTEMPT", taken.event.attempt.to_string())
            .envs(consumer::environment(&taken.event.event));
        command
    }

    async fn settle(&self, taken: &Taken, outcome: Outcome) -> Ended {
        let attempt = taken.event.attempt;
        let say = |what: &str| {
            let id = id_of(taken);
            eprintln!("ringhookd: event {} (attempt {attempt}): {what}", text(&id));
        };
        let (told, ended) = match outcome {
            Outcome::Acknowledged => (taken.acknowledged(), Ended::Settled),
            Outcome::Later => (taken.later(self.later), Ended::Settled),
            Outcome::Failed { why } => {
                say(&why);
                (taken.failed(RETRY.wait(attempt, randomness::random()), &why), Ended::Failed)
            }
            Outcome::Returned => (taken.returned(), Ended::Settled),
            Outcome::NotRunnable { why } => (
                taken.returned(),
                Ended::NotRunnable(Failure::no(format!("the command can't be run: {why}"))),
            ),
            Outcome::Lost => {
                say("its lease was lost; it comes again");
                return Ended::Settled;
            }
        };
        if !self.queue.settle(taken, &told).await {
            say("the daemon could not be told in time; it comes again");
        }
        ended
    }
}

async fn over(timeout: Option<Duration>) -> End {
    match timeout {
        Some(timeout) => {
            sleep(timeout).await;
            End::TimedOut(timeout)
        }
        None => std::future::pending().await,
    }
}

fn id_of(taken: &Taken) -> String {
    let of = consumer::environment(&taken.event.event).into_iter().find(|(name, _)| name == "CE_ID");
    of.map_or_else(|| "without an id".into(), |(_, id)| id)
}
