//! The memory of request ids inside a transaction: looked up, added to, and forgotten from its old end.

use super::transaction::Txn;
use crate::domain::dedup::Identity;
use crate::store::kv::error::Fault;
use crate::store::rows::ids::IdRow;

/// Rows that go at most for one id that comes.
const ROWS_AT_ONCE: usize = 4;

/// The hash of what came with this id before.
pub(crate) fn seen(txn: &mut Txn<'_>, id: &[u8; 16]) -> Result<Option<[u8; 8]>, Fault> {
    let rows: Vec<u64> = txn.core.seen.rows(id).collect();
    for number in rows {
        let found = if number == txn.core.tail_number {
            txn.core.tail.find(id)
        } else {
            let row = txn.tables.get::<IdRow>(number)?;
            row.map_or(Ok(None), |row| IdRow::find_in(number, row.bytes(), id))?
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Remembers an id in the newest row.
pub(crate) fn remember(txn: &mut Txn<'_>, identity: &Identity) -> Result<(), Fault> {
    if txn.core.tail.is_full() {
        write_tail(txn)?;
        txn.core.tail = IdRow::default();
        txn.core.tail_number += 1;
    }
    txn.core.tail.add(identity, txn.now);
    if txn.core.seen.len() == 0 {
        txn.core.oldest_at = txn.now;
    }
    txn.core.seen.insert(&identity.id, txn.core.tail_number);
    txn.tail_changed = true;
    // Far fewer may be allowed than a moment ago: then a few rows go with each new id, so that no commit becomes long.
    for _ in 0..ROWS_AT_ONCE {
        if txn.core.seen.len() <= txn.options.max_ids || !forget_oldest_row(txn)? {
            break;
        }
    }
    Ok(())
}

/// Forgets the oldest row of ids; never the newest, which carries the next sequence.
pub(crate) fn forget_oldest_row(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let number = txn.core.oldest_row;
    if number >= txn.core.tail_number {
        return Ok(false);
    }
    if let Some(row) = txn.tables.row::<IdRow>(number)? {
        for (id, _) in &row.ids {
            txn.core.seen.remove(id, number);
        }
        txn.tables.remove::<IdRow>(number)?;
    }
    txn.core.oldest_row += 1;
    let next = txn.core.oldest_row;
    let row = if next == txn.core.tail_number { None } else { txn.tables.row::<IdRow>(next)? };
    txn.core.oldest_at = row.map_or(txn.core.tail.first_at, |row| row.first_at);
    Ok(true)
}

pub(crate) fn write_tail(txn: &mut Txn<'_>) -> Result<(), Fault> {
    if !std::mem::take(&mut txn.tail_changed) {
        return Ok(());
    }
    txn.core.tail.next_seq = txn.core.next_seq;
    let number = txn.core.tail_number;
    txn.tables.put(number, &txn.core.tail)
}
