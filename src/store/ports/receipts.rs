//! The port of receipts: what became of one event, and which were accepted last.

use std::sync::Arc;

use crate::domain::backlog::Scope;
use crate::store::StoreError;
use crate::store::read::receipts::{self, Cursor, Life, Receipt, Wanted};
use crate::store::writer::handle::Handle;

/// Where it is noted what became of events.
#[derive(Debug, Clone)]
pub struct Receipts(pub(crate) Arc<Handle>);

impl Receipts {
    /// What became of one event; nothing when no receipt of it is left, or it is not of `scope`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn life(&self, wanted: Wanted, scope: Scope) -> Result<Option<Life>, StoreError> {
        self.0.read(move |shared| receipts::life(shared, &wanted, &scope)).await
    }

    /// Up to `limit` events that were accepted last, the newest first, from `before` on; and where to go on.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn newest(
        &self,
        before: Option<Cursor>,
        limit: usize,
        scope: Scope,
    ) -> Result<(Vec<Receipt>, Option<Cursor>), StoreError> {
        self.0.read(move |shared| receipts::newest(shared, before, limit, &scope)).await
    }
}
