//! Ends a transaction: writes what is still in memory, and hands over what readers see after the commit.

use super::transaction::{Finished, Txn};
use super::{chunks, device_log, ids, receipts};
use crate::store::kv::error::Fault;

/// Writes what is still in memory; the caller commits afterwards.
pub(crate) fn finish(mut txn: Txn<'_>) -> Result<Finished, Fault> {
    chunks::flush_chunk(&mut txn)?;
    receipts::flush(&mut txn)?;
    device_log::flush(&mut txn.core.device_log, &mut txn.tables, txn.options.devices_waiting)?;
    ids::write_tail(&mut txn)?;
    let Txn { staged, users, counts, published, tables, notes, .. } = txn;
    let changes = tables.into_changes();
    Ok(Finished { staged, users: users.names, counts, published, changes, notes })
}
