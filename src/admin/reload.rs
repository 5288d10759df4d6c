//! Has the daemon read its configuration anew, which is the daemon's own matter.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::Admin;
use super::refusal::{Refusal, Reply};
use super::request::ok;
use super::session::Session;
use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::rights::Call;
use crate::domain::status::Reloaded;

/// The effects of the new file, or its problems.
type Outcome = Result<Reloaded, String>;

type Reading = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Reads the configuration anew, at somebody's word. It goes on where its caller is gone.
#[derive(Clone)]
pub struct Reloader(Arc<dyn Fn(String) -> Reading + Send + Sync>);

impl Reloader {
    pub fn new<F>(reload: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self(Arc::new(move |by| Box::pin(reload(by))))
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
        let done = (self.reload.0)(by.to_string()).await.map_err(Refusal::conflict)?;
        let applied: Vec<&str> = done.applied.iter().map(|applied| applied.key.as_str()).collect();
        let detail = (!applied.is_empty()).then(|| applied.join(", "));
        self.store.audit().note(by, Act::Reload, None, detail).await?;
        ok(&done)
    }
}
