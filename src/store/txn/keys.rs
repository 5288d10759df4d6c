//! Data keys inside a transaction: made, opened, kept at hand, and put under another master key.

use std::sync::Arc;

use super::acts;
use super::transaction::Txn;
use crate::domain::act::Act;
use crate::domain::event::Event;
use crate::failpoint;
use crate::store::command::Rewrapped;
use crate::store::kv::error::Fault;
use crate::store::memory::shared::bump;
use crate::store::rows::act::Whom;
use crate::store::rows::event::decode_event;
use crate::store::rows::facts::Fact;
use crate::store::rows::row::{Damaged, Table};
use crate::store::rows::small::WrappedKey;
use crate::vault::{DataKey, Purpose, VaultError};

/// Opens a sealed event under its key.
pub(crate) fn unseal_event(key: &DataKey, seq: u64, account: u32, sealed: &[u8]) -> Result<Event, Fault> {
    let plain = key.open(&event_aad(seq, account), sealed).map_err(|error| match error {
        VaultError::Refused => Fault::Damaged(Damaged("event")),
        other => Fault::Vault(other),
    })?;
    Ok(decode_event(plain)?)
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
    txn.tables.put((account, purpose as u8), &WrappedKey(wrapped))?;
    Ok(key)
}

fn wrapped_key(txn: &mut Txn<'_>, account: u32, purpose: Purpose) -> Result<Option<Vec<u8>>, Fault> {
    Ok(txn.tables.row((account, purpose as u8))?.map(|WrappedKey(wrapped)| wrapped))
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
    let mut rows = Vec::new();
    for found in txn.tables.range::<WrappedKey>((start, Unbounded))?.take(limit) {
        let found = found?;
        rows.push((found.key()?, found.bytes().to_vec()));
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
                txn.tables.put((owner, purpose), &WrappedKey(new))?;
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
    if out.next.is_none() || out.changed > 0 {
        let detail = format!("{} re-wrapped in this step", out.changed);
        acts::note(txn, Act::RotateKeys, Whom::default(), Some(&detail))?;
    }
    Ok(out)
}

fn rewrap_canary(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let Fact(canary) = txn.tables.row(Fact::CANARY)?.ok_or(Table::Meta.damaged())?;
    if let Some(new) = txn.shared.vault.rewrap(0, Purpose::Canary, &canary)? {
        txn.tables.put(Fact::CANARY, &Fact(new))?;
    }
    txn.tables.remove::<Fact>(Fact::NEXT_CANARY)?;
    Ok(())
}

/// The key of an account's tokens.
pub(crate) fn token_key(txn: &mut Txn<'_>, number: u32) -> Result<Option<DataKey>, Fault> {
    let Some(wrapped) = wrapped_key(txn, number, Purpose::Tokens)? else { return Ok(None) };
    Ok(Some(txn.shared.vault.unwrap(number, Purpose::Tokens, &wrapped)?))
}
