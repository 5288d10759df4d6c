//! The word that ends a part of the daemon: its own, or that of the whole.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;

/// How long requests in flight may take after it; systemd gives 30 s in all.
pub(super) const DRAIN: Duration = Duration::from_secs(8);

/// Ends something. It is told until when what is in flight may take.
#[derive(Debug)]
pub(super) struct Stop(watch::Sender<Option<Instant>>);

/// Hears of it.
#[derive(Debug, Clone)]
pub(super) struct Stopped(watch::Receiver<Option<Instant>>);

impl Stop {
    pub(super) fn new() -> (Self, Stopped) {
        let (stop, stopped) = watch::channel(None);
        (Self(stop), Stopped(stopped))
    }

    pub(super) fn at(&self, deadline: Instant) {
        self.0.send_replace(Some(deadline));
    }
}

impl Stopped {
    /// Whether it was said already.
    pub(super) fn is_said(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves to the deadline once it is said, or where nobody is left to say it.
    pub(super) async fn said(mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(clock::ticks),
            Err(_) => clock::ticks(),
        }
    }

    /// The same of the first of two.
    pub(super) async fn or(self, other: Self) -> Instant {
        tokio::select! {
            deadline = self.said() => deadline,
            deadline = other.said() => deadline,
        }
    }
}
