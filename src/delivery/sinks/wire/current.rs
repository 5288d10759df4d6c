//! The one connection of a queue: made by the first delivery that needs it, shared by all, and made anew when it has ended.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::line::{Line, Protocol};
use crate::clock;

/// A line, while there is one.
pub(crate) struct Current<P: Protocol>(Mutex<State<P>>);

struct State<P: Protocol> {
    line: Option<Arc<Line<P>>>,
    /// When connecting last failed, and why.
    failed: Option<(Instant, String)>,
}

impl<P: Protocol> Default for Current<P> {
    fn default() -> Self {
        Self(Mutex::new(State { line: None, failed: None }))
    }
}

impl<P: Protocol> fmt::Debug for Current<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl<P: Protocol> Current<P> {
    /// The line, or what `connect` makes. Those that wait while another connects share its failure: else each would try in turn, and
    /// all that time a receiver that is down would be asked again.
    pub(crate) async fn line(
        &self,
        connect: impl Future<Output = Result<Line<P>, String>>,
    ) -> Result<Arc<Line<P>>, String> {
        let asked = clock::ticks();
        let mut state = self.0.lock().await;
        if let Some(line) = state.line.as_ref().filter(|line| line.is_open()) {
            return Ok(Arc::clone(line));
        }
        if let Some((at, why)) = &state.failed
            && *at >= asked
        {
            return Err(why.clone());
        }
        state.line = None;
        match connect.await {
            Ok(line) => Ok(Arc::clone(state.line.insert(Arc::new(line)))),
            Err(why) => {
                state.failed = Some((clock::ticks(), why.clone()));
                Err(why)
            }
        }
    }
}
