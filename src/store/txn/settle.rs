//! Makes the outcome of a delivery durable: done, failed and to be tried again, or to the dead letters.

use super::transaction::{Left, Staged, Txn};
use super::{chunks, off_queue, receipts};
use crate::domain::receipt::Ending;
use crate::domain::time::Millis;
use crate::store::command::{Class, Outcome};
use crate::store::kv::error::Fault;
use crate::store::rows::aside::Aside;
use crate::store::rows::attempts::Attempts;

/// Longest reason that is kept, in bytes.
const WHY_BYTES: usize = 300;

/// One event of a queue and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub account: u32,
    pub seq: u64,
    pub outcome: Outcome,
}

fn cut(why: &str) -> String {
    why[..why.floor_char_boundary(WHY_BYTES)].to_owned()
}

/// Settles events of one queue. Those that are not in it any more (expired, forgotten), or that `lease` has lost
/// to another holder meanwhile, are passed over. Returns how many were settled.
pub(crate) fn settle(
    txn: &mut Txn<'_>,
    queue: u16,
    lease: Option<u64>,
    settlements: &[Settlement],
) -> Result<usize, Fault> {
    let mut settled = 0;
    let max_attempts = {
        let queues = txn.shared.queues();
        queues.get(&queue).and_then(|q| q.spec.as_ref()).map_or(u32::MAX, |spec| spec.max_attempts)
    };
    for Settlement { account, seq, outcome } in settlements {
        let Some(failures) = waiting(txn, queue, lease, *account, *seq) else { continue };
        settled += 1;
        match outcome {
            Outcome::Done => {
                chunks::mark_done(txn, queue, *seq, failures > 0)?;
                txn.leave(queue, *account, *seq, Left::Delivered);
                receipts::left(txn, (queue, *account, *seq), Ending::Delivered, "")?;
            }
            Outcome::Dead { why } => bury_waiting(txn, queue, *account, *seq, failures, why)?,
            Outcome::Failed { why, .. } if failures + 1 >= max_attempts => {
                let why = match failures {
                    0 => why,
                    _ => &format!("failed {} times, last: {why}", failures + 1),
                };
                bury_waiting(txn, queue, *account, *seq, failures + 1, why)?;
            }
            Outcome::Failed { due, why } => {
                note_failure(txn, queue, *account, *seq, failures + 1, *due, why)?;
            }
            Outcome::Returned | Outcome::Postponed { .. } => {}
        }
    }
    Ok(settled)
}

/// Takes what `lease` got of forgotten accounts out of the queue: it is no delivery.
pub(crate) fn drop_gone(txn: &mut Txn<'_>, queue: u16, lease: u64, gone: &[(u32, u64)]) -> Result<(), Fault> {
    for &(account, seq) in gone {
        let Some(failures) = waiting(txn, queue, Some(lease), account, seq) else { continue };
        chunks::mark_done(txn, queue, seq, failures > 0)?;
        txn.leave(queue, account, seq, Left::Dropped);
    }
    Ok(())
}

/// Failures so far of an event that waits in the queue, or nothing when it does not (any more).
fn waiting(txn: &Txn<'_>, queue: u16, lease: Option<u64>, account: u32, seq: u64) -> Option<u32> {
    let queues = txn.shared.queues();
    let backlog = &queues.get(&queue)?.backlog;
    let held = lease.is_none_or(|lease| backlog.check(lease, account, seq).is_ok());
    let answered = txn.leaves(queue, seq) || txn.failed.contains(&(queue, seq));
    let here = held && backlog.contains(account, seq) && !answered;
    here.then(|| backlog.failures(seq))
}

fn note_failure(
    txn: &mut Txn<'_>,
    queue: u16,
    account: u32,
    seq: u64,
    failures: u32,
    due: Millis,
    why: &str,
) -> Result<(), Fault> {
    let attempts = Attempts { account, failures, due, why: cut(why) };
    txn.tables.put((queue, seq), &attempts)?;
    txn.failed.insert((queue, seq));
    receipts::failed(txn, (queue, account, seq), failures, due, &attempts.why)?;
    let why = attempts.why;
    txn.staged.push(Staged::Failed { queue, account, seq, failures, due, why });
    Ok(())
}

/// Moves an event from its queue to the dead letters.
pub(crate) fn bury_waiting(
    txn: &mut Txn<'_>,
    queue: u16,
    account: u32,
    seq: u64,
    failures: u32,
    why: &str,
) -> Result<(), Fault> {
    let (sealed, user, at) = chunks::sealed_record(txn, queue, account, seq)?;
    let aside = Aside { seq, account, user, at, queues: vec![queue], failures, detail: cut(why), sealed };
    receipts::left(txn, (queue, account, seq), Ending::Dead, &aside.detail)?;
    off_queue::bury(txn, Class::Dead, queue, &aside)?;
    chunks::mark_done(txn, queue, seq, failures > 0)?;
    txn.leave(queue, account, seq, Left::Dead);
    Ok(())
}
