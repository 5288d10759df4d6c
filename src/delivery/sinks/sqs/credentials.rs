//! Keeps the credentials of a queue: temporary ones are renewed before they end, and once SQS says that they have ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::source::{Issued, Source};
use crate::clock;
use crate::domain::time::Millis;
use crate::http_client::Client;

/// So long before their end credentials are renewed, or after half of their time where that is short.
const EARLY: Duration = Duration::from_mins(5);
/// For one answer of a source, from its beginning.
const FETCH: Duration = Duration::from_secs(5);
/// Between two questions to a source.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    source: Source,
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Kept>,
    /// Why there are none.
    why: String,
    /// The source is not asked again before.
    rests_until: Option<Instant>,
}

struct Kept {
    issued: Arc<Issued>,
    renew_at: Option<Millis>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.source.name())
    }
}

impl Keeper {
    pub(super) fn new(source: Source, client: Client) -> Self {
        Self { source, client, state: Mutex::default() }
    }

    /// Where the credentials are from.
    pub(super) fn from(&self) -> &'static str {
        self.source.name()
    }

    /// Credentials that are good for now. Fails in words.
    pub(super) async fn get(&self, deadline: Instant) -> Result<Arc<Issued>, String> {
        let in_time = timeout_at(deadline, self.state.lock()).await;
        let mut state = in_time.map_err(|_| format!("no credentials from {} in time", self.from()))?;
        if state.is_due(clock::now()) && state.rests_until.is_none_or(|until| until <= clock::ticks()) {
            self.renew(&mut state, deadline).await;
        }
        state.current.as_ref().map(|kept| Arc::clone(&kept.issued)).ok_or_else(|| state.why.clone())
    }

    /// SQS has said that these have ended. Whether others may be had.
    pub(super) async fn forget(&self, ended: &Arc<Issued>) -> bool {
        let mut state = self.state.lock().await;
        if state.current.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.issued, ended)) && self.source.renews()
        {
            *state = State::default();
        }
        self.source.renews()
    }

    /// What is there stays where nothing newer comes: its own time may not be over.
    async fn renew(&self, state: &mut State, deadline: Instant) {
        let by = deadline.min(clock::ticks() + FETCH);
        let fetched = timeout_at(by, self.source.fetch(&self.client, by)).await;
        state.rests_until = Some(clock::ticks() + PAUSE);
        match fetched.unwrap_or_else(|_| Err(format!("no credentials from {} in time", self.from()))) {
            Ok(issued) => {
                let now = clock::now();
                let renew_at = issued.ends.map(|ends| ends.minus(EARLY.min(ends.since(now) / 2)));
                state.current = Some(Kept { issued: Arc::new(issued), renew_at });
            }
            Err(why) => state.why = why,
        }
    }
}

impl State {
    fn is_due(&self, now: Millis) -> bool {
        self.current.as_ref().is_none_or(|kept| kept.renew_at.is_some_and(|at| at <= now))
    }
}
