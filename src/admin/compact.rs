//! Makes the store's file small, and tells how far it is, a JSON object a line.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Admin;
use super::refusal::Reply;
use super::session::Session;
use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::rights::Call;
use crate::http::answer;
use crate::logging::audit::What;
use crate::store::Compaction;

impl Admin {
    /// It goes on where the caller is gone.
    pub(super) async fn compact(&self, session: &Session, by: &Actor) -> Reply {
        session.may(Call::Compact, None)?;
        let stopping = self.stopping.subscribe();
        let mut told = self.store.compact(move || *stopping.borrow())?;
        self.note_act(by, (Act::Compact, What::Compacted), None, None).await?;
        let (lines, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(step) = told.recv().await {
                if lines.send(line(&step)).await.is_err() {
                    return;
                }
            }
        });
        Ok(answer::stream("application/x-ndjson", receiver))
    }
}

fn line(step: &Compaction) -> Bytes {
    let step: Value = match step {
        Compaction::Copied { rows, of } => json!({"rows": rows, "of": of}),
        Compaction::Done { before, after } => json!({"before": before, "after": after}),
        Compaction::Failed(error) => json!({"error": error.to_string()}),
    };
    format!("{step}\n").into()
}
