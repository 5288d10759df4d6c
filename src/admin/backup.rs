//! The store as it stands, for a backup: sealed as it lies, and as a stream that the caller writes to its own file.

use std::sync::Arc;

use super::Admin;
use super::refusal::Reply;
use super::session::Session;
use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::rights::Call;
use crate::http::answer;
use crate::logging::audit::What;

impl Admin {
    /// The caller writes the file, because it may write where the daemon may not, and may not where only the daemon may.
    pub(super) async fn back_up(&self, session: &Arc<Session>, by: &Actor) -> Reply {
        session.may(Call::Backup, None)?;
        session.must_see_all("a backup holds all of them")?;
        let (stopping, of) = (self.stopping.subscribe(), Arc::clone(session));
        let frames = self.store.snapshot(move || *stopping.borrow() || of.has_ended())?;
        self.note_act(by, (Act::BackUp, What::BackedUp), None, None).await?;
        Ok(answer::stream("application/octet-stream", frames))
    }
}
