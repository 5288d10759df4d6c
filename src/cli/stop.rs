//! The signals by which a command that runs for a while is told to end.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From its making on, these signals end nothing by themselves.
pub(super) struct Stop(Vec<Signal>);

impl Stop {
    /// SIGINT and SIGTERM.
    pub(super) fn listen() -> io::Result<Self> {
        Self::on(&[SignalKind::interrupt(), SignalKind::terminate()])
    }

    /// The same, and SIGHUP, for a command that would leave children or files behind when its terminal closes.
    pub(super) fn listen_with_hangup() -> io::Result<Self> {
        Self::on(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    fn on(kinds: &[SignalKind]) -> io::Result<Self> {
        kinds.iter().map(|kind| signal(*kind)).collect::<io::Result<_>>().map(Self)
    }

    /// Resolves when one of them comes.
    pub(super) async fn told(&mut self) {
        poll_fn(|cx| {
            // Each is polled, so that each wakes the task.
            let came = self.0.iter_mut().map(|signal| signal.poll_recv(cx).is_ready());
            if came.fold(false, |any, came| any | came) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
