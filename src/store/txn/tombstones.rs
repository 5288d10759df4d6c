//! What is remembered of a forgotten account, so that a late event of it goes to no later user: a hash of its id, and when it was
//! forgotten.

use std::time::Duration;

use super::transaction::Txn;
use crate::domain::ids::AccountId;
use crate::domain::link::KEPT;
use crate::domain::time::Millis;
use crate::logging::audit::What;
use crate::store::kv::error::Fault;
use crate::store::memory::index::hash;
use crate::store::rows::small::Tombstone;

/// Between two looks for what is too old.
const CLEANING: Duration = Duration::from_mins(10);

/// The account is forgotten now.
pub(crate) fn put(txn: &mut Txn<'_>, account: &AccountId) -> Result<(), Fault> {
    let now = txn.ring.likely;
    txn.tables.put(hash(account), &Tombstone(now))
}

/// Removes those of which no event comes any more.
pub(crate) fn expire(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let (now, cleaned_at) = (txn.now, txn.core.tombstones_cleaned_at);
    if now >= cleaned_at && now.since(cleaned_at) < CLEANING {
        return Ok(());
    }
    txn.core.tombstones_cleaned_at = now;
    let now = txn.ring.likely;
    txn.tables.retain(|row| row.is_ok_and(|Tombstone(at)| is_kept(at, now)))
}

/// When an account of that id was forgotten, by Ring's time, while events of it may still come.
pub(crate) fn find(txn: &mut Txn<'_>, account: &AccountId) -> Result<Option<Millis>, Fault> {
    let now = txn.ring.likely;
    let Some(found) = txn.tables.get(hash(account))? else { return Ok(None) };
    // One that is damaged says nothing, and an event is lost rather than given to another: the account counts as forgotten now.
    let at = found.row().map_or(now, |Tombstone(at)| at);
    Ok(Some(at).filter(|at| is_kept(*at, now)))
}

/// Counts and notes an event that belongs to a forgotten account.
pub(crate) fn drop_event(txn: &mut Txn<'_>) -> Result<(), Fault> {
    txn.counts.dropped += 1;
    txn.note(What::LateEventDropped, |_, entry| Ok(entry))
}

fn is_kept(at: Millis, now: Millis) -> bool {
    now.since(at) <= KEPT
}
