//! What `queue read` can be told of the command that it runs.

use std::ffi::OsString;
use std::time::Duration;

/// SIGTERM to SIGKILL, at most.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// A command, and how it is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Work {
    /// Run this command of the shell once for each event, with the event on standard input.
    ///
    /// Exit code 0 acknowledges the event. 75 gives it back for later. Any other end is a failed attempt: the event comes again
    /// after a while, up to the queue's limit, and is a dead letter then, with the last line of standard error as the
    /// reason. The command is run by `sh -c`; 126 and 127, by which a shell says that it can't run it, stop the reader.
    #[arg(long, value_name = "COMMAND", group = "work")]
    pub(super) exec: Option<String>,
    /// The same without a shell: a program and its arguments, behind `--`.
    #[arg(last = true, value_name = "PROGRAM [ARGUMENT]", group = "work")]
    pub(super) program: Vec<OsString>,
    /// Runs at a time, each of another account.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "work", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(super) parallel: u64,
    /// Go on when the queue is empty, until SIGTERM or Ctrl-C.
    #[arg(long, requires = "work")]
    pub(super) follow: bool,
    /// Kill a run that takes longer; a failed attempt. None without it.
    #[arg(long, value_name = "TIME", requires = "work", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// When an event comes again for which the command said "later".
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "work", value_parser = humantime::parse_duration)]
    pub(super) later: Duration,
    /// How long running commands may go on when the reader is told to stop; what has not ended then comes again.
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "work", value_parser = humantime::parse_duration)]
    pub(super) grace: Duration,
    /// When the events of a reader that was killed come again. Extended while a command runs.
    #[arg(long, value_name = "TIME", default_value = "1m", requires = "work", value_parser = life)]
    pub(super) lease: Duration,
    /// Put the event's body alone on standard input, and not the event as a line of JSON.
    #[arg(long, requires = "work")]
    pub(super) body: bool,
}

fn life(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let possible = Duration::from_secs(1)..=Duration::from_hours(12);
    if possible.contains(&life) { Ok(life) } else { Err("1s to 12h".into()) }
}

impl Work {
    /// Whether there is a command to run.
    pub(crate) fn is_given(&self) -> bool {
        self.exec.is_some() || !self.program.is_empty()
    }

    /// SIGTERM to SIGKILL: a lost lease is noticed a quarter of its life before another may have it.
    pub(super) fn kill_after(&self) -> Duration {
        KILL_AFTER.min(self.lease / 5)
    }
}
