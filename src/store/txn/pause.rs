//! Pauses of queues: one small fact, so that they outlive the daemon.

use super::acts;
use super::transaction::{Staged, Txn};
use crate::domain::act::Act;
use crate::domain::ids::QueueName;
use crate::store::command::PauseChange;
use crate::store::kv::error::Fault;
use crate::store::rows::act::Whom;
use crate::store::rows::facts::Paused;

/// Pauses a queue, or ends its pause; nothing when there is no such queue.
pub(crate) fn set_paused(
    txn: &mut Txn<'_>,
    name: &QueueName,
    pause: bool,
) -> Result<Option<PauseChange>, Fault> {
    let Some(queue) = txn.shared.queue_number(name) else { return Ok(None) };
    let mut row = paused_queues(txn)?;
    let Paused(paused) = &mut row;
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
    txn.tables.put(Paused::NAME, &row)?;
    txn.staged.push(Staged::Paused { queue, since });
    let act = if pause { Act::PauseQueue } else { Act::ResumeQueue };
    acts::note(txn, act, Whom::default(), Some(&format!("queue {name}")))?;
    Ok(Some(PauseChange { since, changed: true }))
}

/// Forgets the pause of a queue that is removed.
pub(crate) fn forget(txn: &mut Txn<'_>, queue: u16) -> Result<(), Fault> {
    let mut paused = paused_queues(txn)?;
    let was_paused = paused.0.remove(&queue).is_some();
    if was_paused { txn.tables.put(Paused::NAME, &paused) } else { Ok(()) }
}

/// As this transaction knows them: a command before this one may have changed them.
fn paused_queues(txn: &mut Txn<'_>) -> Result<Paused, Fault> {
    Ok(txn.tables.row(Paused::NAME)?.unwrap_or_default())
}
