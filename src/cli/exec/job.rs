//! One run of a command: its process group, what it reads, and the last line that it says.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncWriteExt, stderr};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout_at};

use crate::clock;
use crate::domain::consumer::{End, LastLine};

/// Between two looks whether a process group is gone.
const LOOK: Duration = Duration::from_millis(20);

/// A command that runs. Its standard output is ours, and so is its standard error, of which the last line is kept.
#[derive(Debug)]
pub(super) struct Job {
    child: Child,
    group: Option<Pid>,
    input: Input,
    errors: Errors,
}

impl Job {
    /// Starts a command in a process group of its own, with `input` for its standard input.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn start(mut command: Command, input: Vec<u8>) -> io::Result<Self> {
        let (to_us, from_it) = pipe::pipe()?;
        let stderr = Stdio::from(to_us.into_blocking_fd()?);
        command.stdin(Stdio::piped()).stderr(stderr).process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let input = Input { to: child.stdin.take(), bytes: input, written: 0 };
        Ok(Self { child, group, input, errors: Errors { from: from_it, line: LastLine::default() } })
    }

    /// Waits for the end of the command itself: what it left in the background runs on. May be dropped and called again.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        let Self { child, input, errors, .. } = self;
        let status = tokio::select! {
            status = child.wait() => status?,
            never = input.feed() => match never {},
            never = errors.listen() => match never {},
        };
        // All that the command itself has said is in the pipe; its end may be far, where others hold the pipe as well.
        errors.drain().await;
        Ok(status)
    }

    /// Ends the whole group: SIGTERM, and SIGKILL for what is there after `grace`.
    pub(super) async fn kill(&mut self, grace: Duration) {
        let over = clock::ticks() + grace;
        self.signal(Signal::TERM);
        if timeout_at(over, self.end()).await.is_ok() {
            while self.has_members() && clock::ticks() < over {
                sleep(LOOK).await;
            }
        }
        if self.child.id().is_some() || self.has_members() {
            self.signal(Signal::KILL);
        }
        // It is there no more, unless the kernel itself holds it.
        let _ = self.end().await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // All of it may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }

    fn has_members(&self) -> bool {
        self.group.is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    /// The last line of standard error.
    pub(super) fn last_line(&self) -> String {
        self.errors.line.text()
    }
}

/// How the command ended by itself.
pub(super) fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or(0)),
    }
}

enum Never {}

#[derive(Debug)]
struct Input {
    to: Option<ChildStdin>,
    bytes: Vec<u8>,
    written: usize,
}

impl Input {
    /// Writes all of it, as far as the command reads, and closes the pipe.
    async fn feed(&mut self) -> Never {
        if let Some(to) = &mut self.to {
            while self.written < self.bytes.len() {
                match to.write(&self.bytes[self.written..]).await {
                    Ok(count) => self.written += count,
                    // It reads no more, as it may.
                    Err(_) => break,
                }
            }
        }
        self.to = None;
        std::future::pending().await
    }
}

#[derive(Debug)]
struct Errors {
    from: pipe::Receiver,
    line: LastLine,
}

impl Errors {
    async fn listen(&mut self) -> Never {
        while self.from.readable().await.is_ok() && self.drain().await {}
        std::future::pending().await
    }

    /// Passes on what is there, and says whether more may come.
    async fn drain(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.from.try_read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.line.feed(&buffer[..count]);
                    let mut ours = stderr();
                    // Nobody may be there to read it.
                    let _ = ours.write_all(&buffer[..count]).await;
                    let _ = ours.flush().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}
