//! How far a command is that may take long, on standard error: one line that changes on a terminal, else a line every few seconds, and
//! nothing beside JSON.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::stop::Stop;
use crate::clock;
use crate::domain::units::span;
use crate::logging::lines;

/// Between two changes of the line on a terminal, and between two lines elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Terminal,
    Lines,
    Nobody,
}

#[derive(Debug)]
pub(super) struct Progress {
    to: To,
    began: Instant,
    told_at: Instant,
    /// A line stands on the terminal and has no end yet.
    is_open: bool,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        let to = match io::stderr().is_terminal() {
            _ if json => To::Nobody,
            true => To::Terminal,
            false => To::Lines,
        };
        Self::of(to, clock::ticks())
    }

    fn of(to: To, now: Instant) -> Self {
        Self { to, began: now, told_at: now, is_open: false }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        if !self.is_due(clock::ticks()) {
            return;
        }
        let words = words();
        if self.to == To::Terminal {
            eprint!("\r\x1b[K{words}");
            self.is_open = true;
        } else {
            eprintln!("ringhookd: {words}");
        }
    }

    /// The same of so many of all.
    pub(super) fn of_all(&mut self, done: u64, all: u64, of: &str) {
        self.tell(|| format!("{done} of {all} {of} ({} %)", done.saturating_mul(100) / all.max(1)));
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let every = match self.to {
            To::Terminal => ON_TERMINAL,
            To::Lines => ELSEWHERE,
            To::Nobody => return false,
        };
        let is_due = now >= self.told_at + every;
        if is_due {
            self.told_at = now;
        }
        is_due
    }

    /// A line of its own, which is no progress and is always shown.
    pub(super) fn line(&mut self, line: &str) {
        let begin = if std::mem::take(&mut self.is_open) { "\r\x1b[K" } else { "" };
        eprintln!("{begin}{}", lines(line));
    }

    /// Waits for work that does not say how far it is, and tells for how long; nothing where a signal ended the wait.
    pub(super) async fn wait<T>(
        &mut self,
        words: &str,
        stop: &mut Stop,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = stop.told() => return None,
                () = sleep(ON_TERMINAL) => {
                    let passed = clock::ticks() - self.began;
                    self.tell(|| format!("{words}, for {} so far", span(passed)));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_open {
            eprintln!();
        }
    }
}

/// Does work that blocks, and tells for how long. A signal ends the command with the words of `stopped`, in the middle of the work.
pub(super) fn blocking<T: Send + 'static>(
    json: bool,
    words: &str,
    stopped: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (reply, done) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let waited: Result<_, io::Error> = runtime.block_on(async {
        // Before the work begins, so that a signal ends no part of it without a word.
        let mut stop = Stop::listen()?;
        thread::spawn(move || drop(reply.send(work())));
        Ok(Progress::new(json).wait(words, &mut stop, done).await)
    });
    let waited = waited?;
    let done = waited.ok_or_else(|| Failure::no(format!("stopped; {stopped}")))?;
    done.map_err(|_| Failure::no("it ended in a panic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_often_a_file_every_few_seconds_and_nobody_beside_json() {
        let start = clock::ticks();
        let told = |to: To| {
            let mut progress = Progress::of(to, start);
            let looks = (1..=200).map(|tenth: u32| start + tenth * Duration::from_millis(100));
            looks.filter(|now| progress.is_due(*now)).count()
        };
        assert_eq!([To::Terminal, To::Lines, To::Nobody].map(told), [100, 4, 0]);
    }
}
