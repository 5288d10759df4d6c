//! Data keys inside a transaction: made, opened, kept at hand, and put under another master key.

use std::sync::Arc;

use redb::ReadableTable;

use super::transaction::Txn;
use crate::domain::event::Event;
use crate::failpoint;
use crate::store::command::Rewrapped;
use crate::store::kv::error::Fault;
use crate::store::kv::identity::{CANARY, NEXT_CANARY};
use crate::store::memory::shared::bump;
use crate::store::rows::codec::Damaged;
use crate::vault::{DataKey, Purpose, VaultError};

/// Opens a sealed event under its key.
pub(crate) fn unseal_event(key: &DataKey, seq: u64, account: u32, sealed: &[u8]) -> Result<Event, Fault> {
    let plain = key.open(&event_aad(seq, account), sealed).map_err(|error| match error {
        VaultError::Refused => Fault::Damaged(Damaged("event")),
        other => Fault::Vault(other),
    })?;
    Ok(crate::store::rows::codec::decode_event("event", plain)?)
}

/// What an event is sealed together with: its place.
pub(crate) fn event_aad(seq: u64, account: u32) -> [u8; 32] {
    let mut aad = *b"ringhookd/event/v1\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    aad[20..28].copy_from_slice(&seq.to_be_bytes());
    aad[28..].copy_from_slice(&account.to_be_bytes());
    aad
}

/// The key of an account's events; made when it has none yet.
pub(crate) fn event_key(txn: &mut Txn<'_>, account: u32) -> Result<Arc<DataKey>, Fault> {
    if let Some(key) = txn.core.key_at_hand(account) {
        return Ok(key);
    }
    let key = match wrapped_key(txn, account, Purpose::Events)? {
        Some(wrapped) => txn.shared.vault.unwrap(account, Purpose::Events, &wrapped)?,
        None => fresh_key(txn, account, Purpose::Events)?,
    };
    let key = Arc::new(key);
    txn.core.keep_key(account, Arc::clone(&key));
    Ok(key)
}

pub(crate) fn fresh_key(txn: &mut Txn<'_>, account: u32, purpose: Purpose) -> Result<DataKey, Fault> {
    let (key, wrapped) = txn.shared.vault.fresh_key(account, purpose)?;
    txn.tables.keys()?.insert((account, purpose as u8), wrapped.as_slice())?;
    Ok(key)
}

fn wrapped_key(txn: &mut Txn<'_>, account: u32, purpose: Purpose) -> Result<Option<Vec<u8>>, Fault> {
    let table = txn.tables.keys()?;
    let value = table.get((account, purpose as u8))?;
    Ok(value.map(|v| v.value().to_vec()))
}

/// Opens a sealed event. Nothing when the account's key was destroyed.
pub(crate) fn open_event(
    txn: &mut Txn<'_>,
    seq: u64,
    account: u32,
    sealed: &[u8],
) -> Result<Option<Event>, Fault> {
    let key = match txn.core.key_at_hand(account) {
        Some(key) => key,
        None => match wrapped_key(txn, account, Purpose::Events)? {
            Some(wrapped) => Arc::new(txn.shared.vault.unwrap(account, Purpose::Events, &wrapped)?),
            None => return Ok(None),
        },
    };
    unseal_event(&key, seq, account, sealed).map(Some)
}

/// Puts keys under the current master key, at most `limit` from `after` on; the canary comes last.
pub(crate) fn rewrap(txn: &mut Txn<'_>, after: Option<(u32, u8)>, limit: usize) -> Result<Rewrapped, Fault> {
    use std::ops::Bound::{Excluded, Unbounded};
    let start = after.map_or(Unbounded, Excluded);
    let table = txn.tables.keys()?;
    let mut rows = Vec::new();
    for row in table.range::<(u32, u8)>((start, Unbounded))?.take(limit) {
        let (key, value) = row?;
        rows.push((key.value(), value.value().to_vec()));
    }
    let mut out = Rewrapped { changed: 0, next: None };
    if rows.len() == limit {
        out.next = rows.last().map(|(key, _)| *key);
    }
    for ((owner, purpose), wrapped) in rows {
        let kind = [Purpose::Tokens, Purpose::Events].into_iter().find(|p| *p as u8 == purpose);
        let new =
            kind.map_or(Err(VaultError::Refused), |kind| txn.shared.vault.rewrap(owner, kind, &wrapped));
        match new {
            Ok(None) => {}
            Ok(Some(new)) => {
                failpoint!("store.rewrapping");
                txn.tables.keys()?.insert((owner, purpose), new.as_slice())?;
                out.changed += 1;
            }
            // It opens under no key that we have, so no key need be kept for it. The name of a master key that we
            // do not have is damage too: without every master key that is in use the store does not open.
            Err(VaultError::Refused | VaultError::UnknownMaster(_)) => {
                tracing::error!(account_number = owner, "a data key is damaged and was passed over");
                bump(&txn.shared.stats.damaged);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if out.next.is_none() {
        rewrap_canary(txn)?;
    }
    Ok(out)
}

fn rewrap_canary(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let canary = {
        let table = txn.tables.meta()?;
        table.get(CANARY)?.ok_or(Damaged("meta"))?.value().to_vec()
    };
    if let Some(new) = txn.shared.vault.rewrap(0, Purpose::Canary, &canary)? {
        txn.tables.meta()?.insert(CANARY, new.as_slice())?;
    }
    txn.tables.meta()?.remove(NEXT_CANARY)?;
    Ok(())
}

/// The key of an account's tokens.
pub(crate) fn token_key(txn: &mut Txn<'_>, number: u32) -> Result<Option<DataKey>, Fault> {
    let Some(wrapped) = wrapped_key(txn, number, Purpose::Tokens)? else { return Ok(None) };
    Ok(Some(txn.shared.vault.unwrap(number, Purpose::Tokens, &wrapped)?))
}
