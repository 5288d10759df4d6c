//! Signals: which ones end the daemon once it has finished, which one has the configuration read anew, and which ones change nothing. Only SIGKILL ends it at once.
//!
//! A refresh that is cut off in the middle may lose a link, so a signal whose default would end the process has a handler. The
//! exceptions are faults of the process itself, such as SIGSEGV. Rust ignores SIGPIPE from the start.

use std::io;
use std::task::{Context, Poll};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock;
use crate::domain::limiter::Limiter;

/// Lines a minute for each signal.
const LINES: u32 = 6;
/// The daemon finishes what is in flight, and ends.
const ENDING: [(Number, &str); 4] = [
    (Number::TERM, "SIGTERM"),
    (Number::INT, "SIGINT"),
    (Number::QUIT, "SIGQUIT"),
    (Number::ABORT, "SIGABRT"),
];
const FILE_SIZE: &str = "SIGXFSZ";
/// Their default would end the process.
const IGNORED: [(Number, &str); 11] = [
    (Number::USR1, "SIGUSR1"),
    (Number::USR2, "SIGUSR2"),
    (Number::ALARM, "SIGALRM"),
    (Number::VTALARM, "SIGVTALRM"),
    (Number::PROF, "SIGPROF"),
    (Number::IO, "SIGIO"),
    (Number::POWER, "SIGPWR"),
    (Number::STKFLT, "SIGSTKFLT"),
    (Number::TRAP, "SIGTRAP"),
    (Number::XCPU, "SIGXCPU"),
    (Number::XFSZ, FILE_SIZE),
];
/// Signals that programs define for themselves. libc keeps the first two or three.
const REAL_TIME: std::ops::RangeInclusive<i32> = 32..=64;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// By the signal of this name.
    End(&'static str),
    Reload,
}

/// Every signal that has a handler here, until the process ends.
#[derive(Debug)]
pub(super) struct Signals {
    ending: Vec<(&'static str, Signal)>,
    reload: Signal,
    ignored: Vec<(&'static str, Signal)>,
    lines: Limiter<&'static str>,
}

impl Signals {
    /// Takes them over. A handler stays, so none has its default again.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn catch() -> io::Result<Self> {
        let catch = |(number, name): (Number, &'static str)| {
            Ok((name, signal(SignalKind::from_raw(number.as_raw()))?))
        };
        let ending = ENDING.into_iter().map(catch).collect::<io::Result<_>>()?;
        let mut ignored = IGNORED.into_iter().map(catch).collect::<io::Result<Vec<_>>>()?;
        let real_time = REAL_TIME.filter_map(|number| signal(SignalKind::from_raw(number)).ok());
        ignored.extend(real_time.map(|signal| ("a real-time signal", signal)));
        let reload = signal(SignalKind::hangup())?;
        Ok(Self { ending, reload, ignored, lines: Limiter::new(LINES) })
    }

    /// The next signal that is a wish, once it comes.
    pub(super) async fn next(&mut self) -> Wish {
        std::future::poll_fn(|cx| {
            self.ignore(cx);
            if let Some(name) = received(&mut self.ending, cx) {
                return Poll::Ready(Wish::End(name));
            }
            self.reload.poll_recv(cx).map(|_| Wish::Reload)
        })
        .await
    }

    /// While the daemon finishes: nothing ends it sooner. Never returns.
    pub(super) async fn finishing(&mut self) {
        std::future::poll_fn(|cx| {
            self.ignore(cx);
            while self.reload.poll_recv(cx).is_ready() {
                tracing::info!(signal = "SIGHUP", "stopping already: the next start reads the configuration");
            }
            while let Some(name) = received(&mut self.ending, cx) {
                tracing::info!(signal = name, "stopping already: what is in flight is finished first");
            }
            Poll::<()>::Pending
        })
        .await;
    }

    fn ignore(&mut self, cx: &mut Context<'_>) {
        while let Some(name) = received(&mut self.ignored, cx) {
            let Some(silent_before) = self.lines.pass(name, clock::now()) else { continue };
            match name {
                FILE_SIZE => tracing::warn!(
                    silent_before,
                    "a file is at the limit of its size (ulimit -f, LimitFSIZE=): the store can't grow, raise the limit"
                ),
                name => tracing::info!(signal = name, silent_before, "the signal is ignored"),
            }
        }
    }
}

/// The name of one that has come.
fn received(signals: &mut [(&'static str, Signal)], cx: &mut Context<'_>) -> Option<&'static str> {
    signals.iter_mut().find_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name))
}
