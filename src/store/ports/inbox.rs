//! The intake's port: keeps verified webhooks, and what is known of the keys that verify them.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::RingClock;
use crate::store::StoreError;
use crate::store::command::{Accepted, Incoming};
use crate::store::rows::facts::Fact;
use crate::store::writer::group::Command;
use crate::store::writer::handle::Handle;

/// Where verified webhooks are kept.
#[derive(Debug, Clone)]
pub struct Inbox(pub(crate) Arc<Handle>);

impl Inbox {
    /// Keeps a verified webhook. The answer comes when it is durable: only then may Ring be told 2xx.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Full`], [`StoreError::LowDisk`] or [`StoreError::Unavailable`]: it may or
    /// may not be kept, and Ring shall send it again.
    pub async fn accept(&self, incoming: Incoming) -> Result<Accepted, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Accept(Box::new(incoming), reply))?;
        let answer = answer.await.map(|(answer, _)| answer);
        answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer is gone".into())))
    }

    /// The clock that webhooks tell Ring's time to.
    pub fn ring_clock(&self) -> RingClock {
        self.0.shared.ring_clock.clone()
    }

    /// What is known of the webhook keys' proofs, as noted last.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn proofs(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.read(|shared| Ok(shared.view()?.row(Fact::PROOFS)?.map(|Fact(proofs)| proofs))).await
    }

    /// Notes the webhook keys' proofs.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn note_proofs(&self, proofs: Vec<u8>) -> Result<(), StoreError> {
        let proofs = Fact(proofs);
        self.0.submit(move |txn| txn.tables.put(Fact::PROOFS, &proofs)).await
    }
}
