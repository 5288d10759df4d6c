//! Makes the outcome of a delivery durable: done, failed and to be tried again, or to the dead letters.

use bytes::{Buf, BufMut};

use super::transaction::{Left, Staged, Txn};
use super::{chunks, off_queue};
use crate::domain::time::Millis;
use crate::store::command::{Class, Outcome};
use crate::store::kv::error::Fault;
use crate::store::rows::codec::{Aside, Damaged, get_text, put_text, stamp, stamped};

/// Longest reason that is kept, in bytes.
const WHY_BYTES: usize = 300;

/// One event of a queue and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub account: u32,
    pub seq: u64,
    pub outcome: Outcome,
}

/// Failed attempts of an event in a queue, as they rest on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub account: u32,
    pub failures: u32,
    pub due: Millis,
    pub why: String,
}

impl Attempts {
    pub(crate) fn encode(&self, queue: u16, seq: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + self.why.len());
        out.put_u32(self.account);
        out.put_u32(self.failures);
        out.put_u64(self.due.0);
        put_text(&mut out, Some(&self.why));
        stamp("attempts", &key_bytes(queue, seq), &mut out);
        out
    }

    pub(crate) fn decode(queue: u16, seq: u64, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("attempts", &key_bytes(queue, seq), value)?;
        Self::read(body).ok_or(Damaged("attempts"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        Some(Self {
            account: from.try_get_u32().ok()?,
            failures: from.try_get_u32().ok()?,
            due: Millis(from.try_get_u64().ok()?),
            why: get_text(&mut from)??,
        })
    }
}

fn key_bytes(queue: u16, seq: u64) -> [u8; 10] {
    let mut out = [0; 10];
    out[..2].copy_from_slice(&queue.to_be_bytes());
    out[2..].copy_from_slice(&seq.to_be_bytes());
    out
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
    let value = attempts.encode(queue, seq);
    txn.tables.attempts()?.insert((queue, seq), value.as_slice())?;
    txn.failed.insert((queue, seq));
    txn.staged.push(Staged::Failed { queue, account, seq, failures, due });
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
    off_queue::bury(txn, Class::Dead, queue, &aside)?;
    chunks::mark_done(txn, queue, seq, failures > 0)?;
    txn.leave(queue, account, seq, Left::Dead);
    Ok(())
}
