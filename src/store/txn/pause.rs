//! Pauses of queues: one small fact, so that they outlive the daemon.

use redb::ReadableTable;

use super::transaction::{Staged, Txn};
use crate::domain::ids::QueueName;
use crate::store::command::PauseChange;
use crate::store::kv::error::Fault;
use crate::store::rows::codec::stamped;
use crate::store::rows::facts::{PAUSED, Paused, paused_fact, read_paused};

/// Pauses a queue, or ends its pause; nothing when there is no such queue.
pub(crate) fn set_paused(
    txn: &mut Txn<'_>,
    name: &QueueName,
    pause: bool,
) -> Result<Option<PauseChange>, Fault> {
    let Some(queue) = txn.shared.queue_number(name) else { return Ok(None) };
    let mut paused = paused_queues(txn)?;
    let before = paused.get(&queue).copied();
    let now = txn.now;
    let since = pause.then(|| before.unwrap_or(now));
    if since == before {
        return Ok(Some(PauseChange { since, changed: false }));
    }
    match since {
        Some(since) => paused.insert(queue, since),
        None => paused.remove(&queue),
    };
    txn.note_fact(PAUSED, &paused_fact(&paused))?;
    txn.staged.push(Staged::Paused { queue, since });
    Ok(Some(PauseChange { since, changed: true }))
}

/// Forgets the pause of a queue that is removed.
pub(crate) fn forget(txn: &mut Txn<'_>, queue: u16) -> Result<(), Fault> {
    let mut paused = paused_queues(txn)?;
    if paused.remove(&queue).is_some() {
        txn.note_fact(PAUSED, &paused_fact(&paused))?;
    }
    Ok(())
}

/// As this transaction knows them: a command before this one may have changed them.
fn paused_queues(txn: &mut Txn<'_>) -> Result<Paused, Fault> {
    let meta = txn.tables.meta()?;
    let Some(fact) = meta.get(PAUSED)? else { return Ok(Paused::new()) };
    Ok(read_paused(stamped("meta", PAUSED.as_bytes(), fact.value())?)?)
}
