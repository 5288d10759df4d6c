//! The refresh journal: rows of refreshes that are under way, and the epoch that numbers them.

use super::transaction::Txn;
use crate::domain::ids::AccountId;
use crate::domain::refresh::{End, Record};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::Span;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::rows::facts::Fact;
use crate::store::rows::journal::{Entry, Which, seal_answer};
use crate::vault::DataKey;

/// The right to send one refresh token, once, which is noted on disk.
#[derive(Debug)]
pub struct RefreshIntent {
    pub number: u32,
    pub account: AccountId,
    /// Of this attempt alone. It is the store's epoch since it began.
    pub fence: u64,
    /// What was sent before is sent again until it is answered, whatever was asked for.
    pub which: Which,
    /// It was sent before, and nobody knows what came of that.
    pub again: bool,
    pub token: Secret<String>,
    /// An answer to an earlier attempt that nobody could read, with the time of its request.
    pub kept: Option<(Secret<Vec<u8>>, Millis)>,
    pub(crate) key: DataKey,
}

impl RefreshIntent {
    /// An answer as it may lie outside the store until [`crate::store::Outbox::take_back_answer`].
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal_answer(&self, answer: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(seal_answer(&self.key, self.fence, &self.account, answer)?)
    }
}

/// Why nothing may be sent for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRefresh {
    /// It has no such token, or none that opens.
    NoToken,
    /// Somebody else's attempt has not ended.
    Taken,
}

/// What the schedule has to know of an account's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRecord {
    pub number: u32,
    pub record: Record,
    /// The token that the present one replaced was never tried in its place.
    pub predecessor: bool,
    /// Which of two that OAuth gave at about the same time lives is not known.
    pub rival: bool,
}

/// What a worker may be given.
#[derive(Debug)]
pub struct Access {
    pub number: u32,
    pub generation: u64,
    pub token: Option<Secret<String>>,
    pub span: Span,
    pub end: Option<End>,
}

/// The next number of the epoch.
pub(crate) fn raise_epoch(txn: &mut Txn<'_>) -> Result<u64, Fault> {
    txn.core.epoch += 1;
    let epoch = txn.core.epoch;
    txn.tables.put(Fact::EPOCH, &Fact(epoch.to_be_bytes().to_vec()))?;
    Ok(epoch)
}

/// Whether a refresh is under way, or its outcome unknown.
pub(crate) fn is_unsettled(txn: &mut Txn<'_>, number: u32) -> Result<bool, Fault> {
    Ok(txn.core.refreshing.contains_key(&number) || journal(txn, number)?.is_some())
}

/// Forgets what is under way with an account's tokens.
pub(crate) fn drop_refresh(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    txn.core.refreshing.remove(&number);
    txn.tables.remove::<Entry>(number)?;
    Ok(())
}

pub(crate) fn close_entry(txn: &mut Txn<'_>, number: u32, entry: &Entry) -> Result<(), Fault> {
    if entry.unsettled || entry.answer.is_some() {
        return txn.tables.put(number, entry);
    }
    txn.tables.remove::<Entry>(number)?;
    Ok(())
}

pub(crate) fn journal(txn: &mut Txn<'_>, number: u32) -> Result<Option<Entry>, Fault> {
    // One that can't be read says no more than that something may have been sent.
    Ok(txn.tables.get(number)?.and_then(|found| found.row().ok()))
}
