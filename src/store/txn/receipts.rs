//! Receipts inside a transaction: the steps of events are collected, written with the commit, dropped from their old end, and erased
//! with a forgotten account.

use super::keys;
use super::transaction::Txn;
use crate::domain::event::Event;
use crate::domain::receipt::{Destination, Ending, Origin, Renewal, is_noted};
use crate::domain::signature::Fingerprint;
use crate::domain::time::Millis;
use crate::failpoint;
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_ACCOUNT;
use crate::store::memory::shared::bump;
use crate::store::rows::receipt::{Did, Erasing, Kept, ReceiptRow, Step, Steps, read_steps};
use crate::vault::DataKey;

/// A row stays below this, because redb rounds large values up to powers of two.
const ROW_BYTES: usize = 56 << 10;
/// Rows that one commit drops where they are over their bounds. It makes room for more than it needs, so that most commits drop none.
const DROPPED: usize = 64;
const ROOM: u64 = 64 << 10;
/// Rows that one step goes over, to erase an account or by age.
const ROWS: usize = 256;

/// What receipts are sealed together with: their place.
pub(crate) fn receipt_aad(row: u64) -> [u8; 32] {
    let mut aad = *b"ringhookd/receipt/v1\0\0\0\0\0\0\0\0\0\0\0\0";
    aad[24..].copy_from_slice(&row.to_be_bytes());
    aad
}

/// Opens a row; nothing where it is not what was written.
pub(crate) fn open_row(key: &DataKey, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
    key.open(&receipt_aad(number), sealed).ok()
}

/// Notes that an event was accepted.
pub(crate) fn kept(
    txn: &mut Txn<'_>,
    (seq, account, user): (u64, u32, u32),
    event: &Event,
    origin: &Origin,
    to: Destination,
    queues: Vec<u16>,
) -> Result<(), Fault> {
    let kept = Kept {
        user,
        received_at: event.received_at,
        to,
        key: &event.key,
        kind: &event.kind,
        from: origin.from,
        forwarded_for: origin.forwarded_for,
        verified_by: origin.key.as_ref().map_or("", Fingerprint::as_str),
        queues,
    };
    note(txn, &Step { seq, account, did: Did::Kept(kept) })
}

/// Notes that an event goes on under the sequence `to`.
pub(crate) fn renewed(
    txn: &mut Txn<'_>,
    (seq, to): (u64, u64),
    (account, user): (u32, u32),
    why: Renewal,
    queues: Vec<u16>,
) -> Result<(), Fault> {
    note(txn, &Step { seq, account, did: Did::Renewed { to, user, why, queues } })
}

/// Notes a failed attempt.
pub(crate) fn failed(
    txn: &mut Txn<'_>,
    (queue, account, seq): (u16, u32, u64),
    attempt: u32,
    due: Millis,
    why: &str,
) -> Result<(), Fault> {
    if !is_noted(attempt) {
        return Ok(());
    }
    note(txn, &Step { seq, account, did: Did::Failed { queue, attempt, due, why } })
}

/// Notes that an event left a queue, or with queue 0 the records beside them, by whoever acts in this transaction.
pub(crate) fn left(
    txn: &mut Txn<'_>,
    (queue, account, seq): (u16, u32, u64),
    how: Ending,
    why: &str,
) -> Result<(), Fault> {
    let by = txn.by.receipt();
    note(txn, &Step { seq, account, did: Did::Left { queue, how, by: &by, why } })
}

fn note(txn: &mut Txn<'_>, step: &Step<'_>) -> Result<(), Fault> {
    if txn.options.receipts.max_bytes == 0 {
        return Ok(());
    }
    let steps = &mut txn.core.receipts.steps;
    steps.push(step);
    if steps.len() >= ROW_BYTES { flush(txn) } else { Ok(()) }
}

/// Writes what was collected.
pub(crate) fn flush(txn: &mut Txn<'_>) -> Result<(), Fault> {
    if txn.core.receipts.steps.is_empty() {
        return Ok(());
    }
    let mut plain = std::mem::take(&mut txn.core.plain);
    plain.clear();
    txn.core.receipts.steps.encode(&mut plain);
    txn.core.receipts.steps.clear();
    let (number, at) = (txn.core.receipts.next, txn.now);
    let written = write(txn, number, at, &plain);
    txn.core.plain = plain;
    let Some(bytes) = written? else { return Ok(()) };
    txn.core.receipts.next += 1;
    txn.core.receipts.bytes += bytes;
    drop_over(txn)
}

/// What the row takes on disk. Nothing, and no row, without the key: receipts hold up no webhook.
fn write(txn: &mut Txn<'_>, number: u64, at: Millis, plain: &[u8]) -> Result<Option<u64>, Fault> {
    let key = match keys::event_key(txn, NO_ACCOUNT) {
        Ok(key) => key,
        Err(fault) => {
            fault.of_one_record()?;
            bump(&txn.shared.stats.damaged);
            return Ok(None);
        }
    };
    let mut sealed = Vec::with_capacity(plain.len() + crate::vault::SEAL_OVERHEAD);
    key.seal(&receipt_aad(number), plain, &mut sealed)?;
    Ok(Some(txn.tables.put_sized(number, &ReceiptRow { at, sealed })? as u64))
}

fn drop_over(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let max = txn.options.receipts.max_bytes;
    if txn.core.receipts.bytes <= max {
        return Ok(());
    }
    for _ in 0..DROPPED {
        if txn.core.receipts.bytes <= max.saturating_sub(ROOM) || !drop_oldest(txn)? {
            break;
        }
    }
    Ok(())
}

/// Whether there was a row.
fn drop_oldest(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let number = txn.core.receipts.first;
    if number >= txn.core.receipts.next {
        return Ok(false);
    }
    let removed = txn.tables.remove::<ReceiptRow>(number)?.map(|found| found.bytes().len() as u64);
    let receipts = &mut txn.core.receipts;
    receipts.bytes = receipts.bytes.saturating_sub(removed.unwrap_or(0));
    receipts.first += 1;
    Ok(true)
}

/// Drops what is too old, and what is over a bound that was lowered. Whether there may be more.
pub(crate) fn expire(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let bounds = txn.options.receipts;
    let before = txn.now.minus(bounds.max_age);
    for _ in 0..ROWS {
        let number = txn.core.receipts.first;
        let over = txn.core.receipts.bytes > bounds.max_bytes;
        // A damaged one goes, because nothing tells how old it is.
        let old = |row: Result<ReceiptRow, _>| row.map_or(true, |row| row.at < before);
        let is_old = txn.tables.get::<ReceiptRow>(number)?.is_none_or(|found| old(found.row()));
        if !(over || is_old) || !drop_oldest(txn)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Has the receipts of an account erased, in steps from the next commit on, also after a crash.
pub(crate) fn begin_erasing(txn: &mut Txn<'_>, account: u32) -> Result<(), Fault> {
    let receipts = &mut txn.core.receipts;
    receipts.erasing.insert(account);
    receipts.erased_to = receipts.first;
    let erasing = Erasing(receipts.erasing.clone());
    txn.tables.put(Erasing::NAME, &erasing)
}

/// One step of it. Whether there is more.
pub(crate) fn erase(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    if txn.core.receipts.erasing.is_empty() {
        return Ok(false);
    }
    let (from, end) = (txn.core.receipts.erased_to.max(txn.core.receipts.first), txn.core.receipts.next);
    let to = end.min(from.saturating_add(ROWS as u64));
    for number in from..to {
        erase_in(txn, number)?;
    }
    failpoint!("store.erasing_receipts");
    txn.core.receipts.erased_to = to;
    if to < end {
        return Ok(true);
    }
    txn.core.receipts.erasing.clear();
    txn.tables.remove::<Erasing>(Erasing::NAME)?;
    Ok(false)
}

/// Writes a row anew without the steps of accounts that are forgotten, if it has any.
fn erase_in(txn: &mut Txn<'_>, number: u64) -> Result<(), Fault> {
    let found = txn.tables.get::<ReceiptRow>(number)?.map(|found| (found.bytes().len() as u64, found.row()));
    let Some((size, row)) = found else { return Ok(()) };
    let key = match keys::event_key(txn, NO_ACCOUNT) {
        Ok(key) => Some(key),
        Err(fault) => fault.of_one_record().map(|_| None)?,
    };
    let opened = match (row, key) {
        (Ok(row), Some(key)) => open_row(&key, number, &row.sealed).map(|plain| (row.at, plain)),
        _ => None,
    };
    let mut left = Steps::default();
    let (mut at, mut erased) = (Millis(0), true);
    // One that nobody can read goes whole.
    if let Some((written_at, plain)) = &opened
        && let Some(steps) = read_steps(plain)
    {
        at = *written_at;
        let stays = |step: &&Step<'_>| !txn.core.receipts.erasing.contains(&step.account);
        let kept: Vec<&Step<'_>> = steps.iter().filter(stays).collect();
        erased = kept.len() < steps.len();
        for step in kept {
            left.push(step);
        }
    }
    if !erased {
        return Ok(());
    }
    let mut plain = Vec::new();
    left.encode(&mut plain);
    let bytes = if left.is_empty() { None } else { write(txn, number, at, &plain)? };
    if bytes.is_none() {
        txn.tables.remove::<ReceiptRow>(number)?;
    }
    let receipts = &mut txn.core.receipts;
    receipts.bytes = receipts.bytes.saturating_sub(size) + bytes.unwrap_or(0);
    Ok(())
}
