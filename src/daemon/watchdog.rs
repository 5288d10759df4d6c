//! Feeds the supervisor's watchdog while everything is alive that a restart would bring back: the store's writer, the planner of refreshes,
//! and the runtime, which runs this.
//!
//! A disk that hangs is no reason to be killed: a process that waits for it can't be, the next one would wait for it too, and answers
//! of OAuth that are only in memory would be lost. `status` tells of it.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use super::supervisor::{self, Line};
use crate::store::Store;
use crate::tokens::TokenService;

/// Ticks in the time after which the supervisor acts.
const TICKS: u32 = 4;

/// The supervisor's watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watchdog {
    /// Without a tick for so long the supervisor ends the daemon and starts it anew.
    period: Duration,
}

/// The parts that are asked.
#[derive(Debug)]
pub(super) struct Vitals {
    pub store: Store,
    pub tokens: Arc<TokenService>,
}

impl Vitals {
    /// What does not run any more.
    fn fault(&self, patience: Duration) -> Option<&'static str> {
        if self.store.writer_is_gone() {
            return Some("the store's writer has ended");
        }
        self.tokens.stands_still(patience).then_some("the planner of refreshes stands still")
    }
}

impl Watchdog {
    /// None where nobody watches this process (`sd_watchdog_enabled(3)`).
    pub(super) fn of_this_process() -> Option<Self> {
        let read = |name| env::var(name).ok();
        Self::from_variables(
            read("WATCHDOG_USEC").as_deref(),
            read("WATCHDOG_PID").as_deref(),
            std::process::id(),
        )
    }

    fn from_variables(period: Option<&str>, pid: Option<&str>, own: u32) -> Option<Self> {
        let is_ours = pid.is_none_or(|pid| pid == own.to_string());
        let period = period?.parse().ok().filter(|period| *period > 0 && is_ours)?;
        Some(Self { period: Duration::from_micros(period) })
    }

    /// Ticks while all is well, for as long as the process lives.
    pub(super) async fn feed(self, vitals: Vitals) {
        let (mut line, mut told) = (Line::default(), None);
        loop {
            let fault = vitals.fault(self.period / 2);
            match fault {
                None => line.tell(supervisor::ALIVE),
                Some(fault) if told.is_none() => {
                    tracing::error!(
                        fault,
                        "the watchdog is fed no more, so that the supervisor starts the daemon anew"
                    );
                }
                Some(_) => {}
            }
            if told.is_some() && fault.is_none() {
                tracing::warn!("the watchdog is fed again");
            }
            told = fault;
            tokio::time::sleep(self.period / TICKS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_processs_watchdog_is_left_alone() {
        let read = |period, pid| Watchdog::from_variables(period, pid, 7).map(|watchdog| watchdog.period);
        assert_eq!(read(Some("4000000"), None), Some(Duration::from_secs(4)));
        assert_eq!(read(Some("4000000"), Some("7")), Some(Duration::from_secs(4)));
        for (period, pid) in
            [(None, None), (Some("4000000"), Some("8")), (Some("0"), None), (Some("soon"), None)]
        {
            assert_eq!(read(period, pid), None, "{period:?} {pid:?}");
        }
    }
}
