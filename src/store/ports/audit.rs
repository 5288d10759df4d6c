//! The port of acts: what callers of the admin API did, noted and read.

use std::sync::Arc;

use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::ids::AccountId;
use crate::store::StoreError;
use crate::store::read::acts::{self, ActFilter, ActView};
use crate::store::txn::acts::note_of;
use crate::store::txn::transaction::Txn;
use crate::store::writer::handle::Handle;

/// Where it is noted what callers did.
#[derive(Debug, Clone)]
pub struct Audit(pub(crate) Arc<Handle>);

impl Audit {
    /// Notes an act that is no commit of its own; it is durable when this returns.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn note(
        &self,
        by: &Actor,
        act: Act,
        account: Option<AccountId>,
        detail: Option<String>,
    ) -> Result<(), StoreError> {
        let run = move |txn: &mut Txn<'_>| note_of(txn, act, account.as_ref(), detail.as_deref());
        self.0.submit_by(by.clone(), run).await
    }

    /// Up to `limit` acts, the newest first, with numbers below `before`; and where to go on.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn newest(
        &self,
        filter: ActFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<ActView>, Option<u64>), StoreError> {
        let before = before.unwrap_or(u64::MAX);
        self.0.read(move |shared| acts::newest(shared, &filter, before, limit)).await
    }
}
