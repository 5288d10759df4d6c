//! What is remembered of a forgotten account, so that a late event of it goes to no later user: a hash of its id, and when it was
//! forgotten.

use std::time::Duration;

use redb::ReadableTable;

use super::transaction::Txn;
use crate::domain::ids::AccountId;
use crate::domain::link::KEPT;
use crate::domain::time::Millis;
use crate::logging::audit::What;
use crate::store::kv::error::Fault;
use crate::store::memory::index::hash;
use crate::store::rows::codec::{stamp, stamped};

/// Between two looks for what is too old.
const CLEANING: Duration = Duration::from_mins(10);

/// The account is forgotten now.
pub(crate) fn put(txn: &mut Txn<'_>, account: &AccountId) -> Result<(), Fault> {
    let (key, now) = (hash(account), txn.ring.likely);
    let mut value = now.0.to_be_bytes().to_vec();
    stamp("forgotten", &key, &mut value);
    txn.tables.forgotten()?.insert(&key[..], value.as_slice())
}

/// Removes those of which no event comes any more.
pub(crate) fn expire(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let (now, cleaned_at) = (txn.now, txn.core.tombstones_cleaned_at);
    if now >= cleaned_at && now.since(cleaned_at) < CLEANING {
        return Ok(());
    }
    txn.core.tombstones_cleaned_at = now;
    let now = txn.ring.likely;
    let is_old = |value: &[u8]| time(value).is_none_or(|at| !is_kept(at, now));
    let old: Vec<Vec<u8>> = {
        let table = txn.tables.forgotten()?;
        let mut old = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            if is_old(value.value()) {
                old.push(key.value().to_vec());
            }
        }
        old
    };
    for key in old {
        txn.tables.forgotten()?.remove(&key[..])?;
    }
    Ok(())
}

/// When an account of that id was forgotten, by Ring's time, while events of it may still come.
pub(crate) fn find(txn: &mut Txn<'_>, account: &AccountId) -> Result<Option<Millis>, Fault> {
    let (key, now) = (hash(account), txn.ring.likely);
    let table = txn.tables.forgotten()?;
    let Some(value) = table.get(&key[..])? else { return Ok(None) };
    // One that is damaged says nothing, and an event is lost rather than given to another: the account counts as forgotten now.
    let at = stamped("forgotten", &key, value.value()).ok().and_then(time).unwrap_or(now);
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

fn time(value: &[u8]) -> Option<Millis> {
    value.first_chunk::<8>().map(|at| Millis(u64::from_be_bytes(*at)))
}
