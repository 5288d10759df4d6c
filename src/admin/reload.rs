//! Has the daemon read its configuration anew, which is the daemon's own matter.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::ok;
use super::session::Session;
use crate::domain::actor::Actor;
use crate::domain::rights::Call;

/// The keys whose new values hold, and those that need a restart; or the problems.
type Outcome = Result<(Vec<String>, Vec<String>), String>;

/// Reads the configuration anew, at somebody's word. It blocks.
#[derive(Clone)]
pub struct Reloader(Arc<dyn Fn(&str) -> Outcome + Send + Sync>);

impl Reloader {
    pub fn new(
        reload: impl Fn(&str) -> Result<(Vec<String>, Vec<String>), String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(reload))
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloader")
    }
}

impl Admin {
    pub(super) async fn reload(&self, session: &Session, by: &Actor) -> Reply {
        session.may(Call::Reload, None)?;
        let (reload, by) = (self.reload.clone(), by.to_string());
        let done = spawn_blocking(move || (reload.0)(&by)).await;
        let (applied, needs_restart) =
            done.map_err(|error| Refusal::internal(error.to_string()))?.map_err(Refusal::conflict)?;
        let answer: Value = json!({"applied": applied, "needs_restart": needs_restart});
        ok(&answer)
    }
}
