//! What leaves by itself, in small steps inside ordinary commits: expired ids, events, letters, and sparse chunks.

use std::time::Duration;

use super::settle::Settlement;
use super::transaction::{Left, Staged, Txn};
use super::{
    accounts, acts, chunks, forget, freshness, held, ids, off_queue, pause, receipts, removed, settle,
    tombstones,
};
use crate::domain::act::Act;
use crate::domain::ids::QueueName;
use crate::domain::receipt::Ending;
use crate::domain::time::Millis;
use crate::failpoint;
use crate::store::command::{Class, Outcome};
use crate::store::kv::error::Fault;
use crate::store::memory::core::{ChunkState, Leaving};
use crate::store::memory::index::seconds;
use crate::store::rows::act::Whom;
use crate::store::rows::aside::{Aside, PARKED};
use crate::store::rows::attempts::Attempts;
use crate::store::rows::chunk::Chunk;
use crate::store::rows::ids::IdRow;
use crate::store::rows::row::Table;
use crate::store::rows::small::QueueRow;

/// An event that waits: account, sequence, and whether it failed before.
type Waiting = (u32, u64, bool);

const ID_ROWS: usize = 16;
const EVENTS: usize = 256;
const CHUNKS: usize = 4;
/// A forget that took longer was broken off by its caller, or by a restart.
const FORGOTTEN_FOR: Duration = Duration::from_mins(1);
const CHUNKS_LOOKED_AT: usize = 256;
/// A chunk younger than this is left alone: it will most likely empty by itself.
const CLEAN_AFTER_SECONDS: u32 = 60;

/// One step of everything; of what goes by age only while the clock `may_expire` it. Returns whether more is to be
/// done at once.
pub(crate) fn maintain(txn: &mut Txn<'_>, may_expire: bool) -> Result<bool, Fault> {
    expire_leases(txn)?;
    freshness::maintain(txn)?;
    // Before all else, so that none of them becomes a dead letter.
    if drop_forgotten(txn)? {
        return Ok(true);
    }
    let mut more = receipts::erase(txn)? | clean(txn)?;
    if may_expire {
        more |= receipts::expire(txn)? | acts::expire(txn)?;
        tombstones::expire(txn)?;
        removed::forget_old(txn)?;
        more |= expire_ids(txn)?;
        more |= expire_waiting(txn)?;
        more |= expire_held(txn)?;
        for class in Class::ALL {
            more |= expire_letters(txn, class)?;
        }
    }
    Ok(more)
}

/// Counts a failed attempt for what a lease held when it ran out; the event is free again at once.
fn expire_leases(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let now = txn.now;
    let expired: Vec<(u16, Vec<(u32, u64)>)> =
        txn.shared.queues().iter_mut().map(|(&queue, q)| (queue, q.backlog.expired(now))).collect();
    for (queue, events) in expired {
        let why = "the lease ran out before an answer";
        let failed = |(account, seq)| Settlement {
            account,
            seq,
            outcome: Outcome::Failed { due: now, why: why.to_owned() },
        };
        let settlements: Vec<_> = events.into_iter().map(failed).collect();
        settle::settle(txn, queue, None, &settlements)?;
    }
    Ok(())
}

/// What a forget that was broken off has left of an account, and what came in beside it.
fn drop_forgotten(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let broken_off = |leaving: &Leaving| txn.now.since(leaving.since) > FORGOTTEN_FOR;
    let Some((&number, _)) = txn.core.forgotten.iter().find(|(_, leaving)| broken_off(leaving)) else {
        return Ok(false);
    };
    forget::drop_events_of(txn, number, EVENTS)?;
    Ok(true)
}

fn expire_ids(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let before = txn.now.minus(txn.options.seen_for);
    for _ in 0..ID_ROWS {
        let number = txn.core.oldest_row;
        if number >= txn.core.tail_number {
            return Ok(false);
        }
        let old = txn.tables.row::<IdRow>(number)?.is_none_or(|row| row.last_at < before);
        if !old || !ids::forget_oldest_row(txn)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves what passes a queue's bounds to the dead letters, oldest first. Leased events are left alone.
fn expire_waiting(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let mut expired = Vec::new();
    for (&queue, state) in txn.shared.queues().iter() {
        let Some(spec) = &state.spec else { continue };
        let before = seconds(txn.now.minus(spec.max_age));
        let mut over = state.backlog.bytes().saturating_sub(spec.max_bytes);
        for (account, entry) in state.backlog.oldest(EVENTS) {
            let why = if entry.at < before {
                "older than the queue's max_age"
            } else if over > 0 {
                "beyond the queue's max_bytes"
            } else {
                break;
            };
            over = over.saturating_sub(u64::from(entry.bytes));
            expired.push((queue, account, entry.seq, state.backlog.failures(entry.seq), why));
        }
    }
    let more = expired.len() >= EVENTS;
    for (queue, account, seq, failures, why) in expired {
        failpoint!("store.expiring");
        settle::bury_waiting(txn, queue, account, seq, failures, why)?;
    }
    Ok(more)
}

fn expire_held(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let before = seconds(txn.now.minus(txn.options.held.max_age));
    for _ in 0..EVENTS {
        let Some((&seq, _)) = txn.core.held.first_key_value().filter(|(_, e)| e.at < before) else {
            return Ok(false);
        };
        end_hold(txn, seq)?;
    }
    Ok(true)
}

/// No further link is waited for: it is of whoever had the account last, or nobody's.
fn end_hold(txn: &mut Txn<'_>, seq: u64) -> Result<(), Fault> {
    let account = txn.core.held.get(&seq).map(|held| held.account);
    let row = account.map(|account| accounts::read_account(txn, account)).transpose()?.flatten();
    if let (Some(account), Some(row)) = (account, row)
        && held::release_one(txn, account, seq, &row.tenure, true)?
    {
        return Ok(());
    }
    held::bury_held(txn, seq, "nobody claimed the account within [held] max_age")
}

fn expire_letters(txn: &mut Txn<'_>, class: Class) -> Result<bool, Fault> {
    let before = txn.now.minus(off_queue::bounds(txn, class).max_age);
    for _ in 0..EVENTS {
        let Some(_) = off_queue::oldest_letter(txn, class)?.filter(|key| Millis(key.1) < before) else {
            return Ok(false);
        };
        off_queue::drop_oldest_letter(txn, class)?;
    }
    Ok(true)
}

/// Moves what little is left of old chunks aside, so that the log does not grow for a few stuck events. When the store
/// gets full, also what is more than a little: what has been delivered must not make intake refuse.
fn clean(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let young = seconds(txn.now).saturating_sub(CLEAN_AFTER_SECONDS);
    let from = txn.core.clean_from;
    let looked_at: Vec<_> =
        txn.core.chunks.range(from..).take(CHUNKS_LOOKED_AT).map(|(&first, &c)| (first, c)).collect();
    txn.core.clean_from = match looked_at.last() {
        Some((last, _)) if looked_at.len() == CHUNKS_LOOKED_AT => last + 1,
        _ => 0,
    };
    let gets_full = txn.core.kept_bytes() > txn.options.max_bytes / 4 * 3;
    let sparse = |c: &ChunkState| {
        let little = c.live.saturating_mul(4) <= c.pairs;
        c.at < young && (little || gets_full && c.live < c.pairs)
    };
    let chosen: Vec<u64> =
        looked_at.iter().filter(|(_, c)| sparse(c)).map(|(f, _)| *f).take(CHUNKS).collect();
    for &first in &chosen {
        park(txn, first)?;
    }
    if chosen.len() == CHUNKS {
        txn.core.clean_from = chosen[CHUNKS - 1];
    }
    Ok(chosen.len() == CHUNKS)
}

fn park(txn: &mut Txn<'_>, first: u64) -> Result<(), Fault> {
    let chunk: Chunk = txn.tables.row(first)?.ok_or(Table::Chunks.damaged())?;
    for (index, slot) in chunk.slots.iter().enumerate() {
        let seq = first + index as u64;
        let sealed = chunk.event(&chunk.sealed, index)?;
        for &queue in &slot.queues {
            let waits =
                txn.shared.queues().get(&queue).is_some_and(|q| q.backlog.contains(slot.account, seq));
            if !waits || txn.leaves(queue, seq) {
                continue;
            }
            let aside = Aside {
                seq,
                account: slot.account,
                user: slot.user,
                at: chunk.at,
                queues: vec![queue],
                failures: 0,
                detail: String::new(),
                sealed: sealed.to_vec(),
            };
            txn.tables.put((PARKED, u64::from(queue), seq, 0), &aside)?;
            txn.core.parked_bytes += sealed.len() as u64;
        }
    }
    chunks::remove_chunk(txn, first)
}

/// Takes up to `limit` waiting events out of a queue that the configuration no longer names; the queue's name
/// goes with the last. Returns how many are left.
pub(crate) fn remove_queue(txn: &mut Txn<'_>, name: &QueueName, limit: usize) -> Result<Option<u64>, Fault> {
    let Some((queue, some, left)) = some_waiting(txn, name, limit) else { return Ok(None) };
    for (account, seq, failed) in some {
        // Memory shows it until the commit, though a command before this one has taken it out.
        if txn.leaves(queue, seq) {
            continue;
        }
        chunks::mark_done(txn, queue, seq, failed)?;
        txn.leave(queue, account, seq, Left::Dropped);
        receipts::left(txn, (queue, account, seq), Ending::Dropped, "its queue was removed")?;
    }
    if left == 0 {
        // Letters and held events still name the number: a queue that got it later would get what is not meant for it.
        txn.tables.put(queue, &QueueRow(None))?;
        pause::forget(txn, queue)?;
        txn.tables.clear::<Attempts>((queue, 0)..=(queue, u64::MAX))?;
        txn.staged.push(Staged::Forget { queue });
        acts::note(txn, Act::RemoveQueue, Whom::default(), Some(&format!("queue {name}")))?;
    }
    Ok(Some(left))
}

fn some_waiting(txn: &Txn<'_>, name: &QueueName, limit: usize) -> Option<(u16, Vec<Waiting>, u64)> {
    let queues = txn.shared.queues();
    // A command before this one may have put it back.
    let is_configured = |number: u16| txn.core.routes.iter().any(|(configured, _)| *configured == number);
    let (&queue, state) = queues.iter().find(|(_, q)| q.name == *name)?;
    if is_configured(queue) {
        return None;
    }
    let failed = |seq| state.backlog.failures(seq) > 0;
    let some: Vec<_> = state.backlog.iter().take(limit).map(|(a, seq)| (a, seq, failed(seq))).collect();
    let left = state.backlog.len() - some.len() as u64;
    Some((queue, some, left))
}
