//! Events are appended to the chunk of the commit, and marked as done; a chunk goes with its last.

use super::keys::event_aad;
use super::transaction::{Staged, Txn};
use super::{keys, off_queue};
use crate::domain::backlog;
use crate::domain::event::Event;
use crate::domain::time::Millis;
use crate::store::kv::error::Fault;
use crate::store::memory::core::{ChunkState, Core};
use crate::store::memory::index::{NO_USER, seconds};
use crate::store::rows::aside::{Aside, PARKED};
use crate::store::rows::attempts::Attempts;
use crate::store::rows::chunk::{Chunk, Slot};
use crate::store::rows::event::encode_event;
use crate::store::rows::row::Table;
use crate::store::rows::small::Progress;
use crate::store::rows::text::to_u32;
use crate::vault::SEAL_OVERHEAD;

/// redb rounds large values up to powers of two: a chunk stays below 64 KiB with its head.
const CHUNK_BYTES: usize = 56 << 10;

/// Takes the next sequence for a record that goes into the log for `queues`, and seals it.
pub(crate) fn append(
    txn: &mut Txn<'_>,
    account: u32,
    user: u32,
    event: &Event,
    queues: Vec<u16>,
) -> Result<u64, Fault> {
    let seq = next_seq(txn);
    if txn.core.chunk.is_empty() {
        txn.chunk_first = seq;
    }
    let key = keys::event_key(txn, account)?;
    let Core { plain, chunk, .. } = &mut *txn.core;
    let start = chunk.sealed.len();
    encode_event(event, plain);
    key.seal(&event_aad(seq, account), plain, &mut chunk.sealed)?;
    let len = to_u32(chunk.sealed.len() - start);
    let entry = backlog::Entry { seq, at: seconds(txn.now), user, bytes: len };
    txn.staged.extend(queues.iter().map(|&queue| Staged::Push { queue, account, entry }));
    txn.core.chunk.slots.push(Slot { account, user, queues, len });
    if txn.core.chunk.sealed.len() >= CHUNK_BYTES {
        flush_chunk(txn)?;
    }
    Ok(seq)
}

/// Takes the next sequence for a record that is put aside. An open chunk gets an empty slot, so that its
/// sequences stay without a gap.
pub(crate) fn sequence_aside(txn: &mut Txn<'_>) -> u64 {
    let seq = next_seq(txn);
    if !txn.core.chunk.is_empty() {
        txn.core.chunk.slots.push(Slot { account: 0, user: NO_USER, queues: Vec::new(), len: 0 });
    }
    seq
}

/// The event sealed for its account under `seq`.
pub(crate) fn seal(txn: &mut Txn<'_>, seq: u64, account: u32, event: &Event) -> Result<Vec<u8>, Fault> {
    let key = keys::event_key(txn, account)?;
    let plain = &mut txn.core.plain;
    encode_event(event, plain);
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
    key.seal(&event_aad(seq, account), plain, &mut sealed)?;
    Ok(sealed)
}

fn next_seq(txn: &mut Txn<'_>) -> u64 {
    let seq = txn.core.next_seq;
    txn.core.next_seq += 1;
    txn.tail_changed = true;
    seq
}

pub(crate) fn flush_chunk(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let Core { chunk, chunks, log_bytes, .. } = &mut *txn.core;
    let pairs = to_u32(chunk.slots.iter().map(|s| s.queues.len()).sum());
    if pairs > 0 {
        let first = txn.chunk_first;
        chunk.at = txn.now;
        let bytes = to_u32(txn.tables.put_sized(first, chunk)?);
        let count = to_u32(chunk.slots.len());
        chunks.insert(first, ChunkState { count, pairs, live: pairs, bytes, at: seconds(txn.now) });
        *log_bytes += u64::from(bytes);
    }
    chunk.clear();
    Ok(())
}

/// The sealed record of an event that waits in a queue, wherever it lies, with its user.
pub(crate) fn sealed_record(
    txn: &mut Txn<'_>,
    queue: u16,
    account: u32,
    seq: u64,
) -> Result<(Vec<u8>, u32, Millis), Fault> {
    if let Some(first) = txn.core.chunk_of(seq) {
        let damaged = Table::Chunks.damaged();
        let found = txn.tables.get::<Chunk>(first)?.ok_or(damaged)?;
        let (chunk, sealed) = Chunk::head(first, found.bytes())?;
        let index = usize::try_from(seq - first).map_err(|_| damaged)?;
        let slot = chunk.slots.get(index).filter(|s| s.account == account).ok_or(damaged)?;
        return Ok((chunk.event(sealed, index)?.to_vec(), slot.user, chunk.at));
    }
    let parked: Option<Aside> = txn.tables.row((PARKED, u64::from(queue), seq, 0))?;
    let Aside { sealed, user, at, .. } = parked.ok_or(Table::OffQueue.damaged())?;
    Ok((sealed, user, at))
}

/// Marks an event as done for a queue; a chunk goes with its last.
/// An event that leaves already must not be marked again: the chunk would go too early.
pub(crate) fn mark_done(txn: &mut Txn<'_>, queue: u16, seq: u64, had_failures: bool) -> Result<(), Fault> {
    debug_assert!(!txn.leaves(queue, seq), "an event leaves a queue once");
    if had_failures || txn.failed.contains(&(queue, seq)) {
        txn.tables.remove::<Attempts>((queue, seq))?;
    }
    let Some(first) = txn.core.chunk_of(seq) else {
        let key = (PARKED, u64::from(queue), seq, 0);
        if let Some(parked) = off_queue::take_aside(txn, key)? {
            txn.core.parked_bytes = txn.core.parked_bytes.saturating_sub(parked.sealed.len() as u64);
        }
        return Ok(());
    };
    let live = txn.core.chunks.get_mut(&first).map_or(0, |chunk| {
        chunk.live = chunk.live.saturating_sub(1);
        chunk.live
    });
    if live == 0 { remove_chunk(txn, first) } else { set_progress(txn, first, queue, seq - first) }
}

pub(crate) fn remove_chunk(txn: &mut Txn<'_>, first: u64) -> Result<(), Fault> {
    let Some(chunk) = txn.core.chunks.remove(&first) else { return Ok(()) };
    txn.core.log_bytes = txn.core.log_bytes.saturating_sub(u64::from(chunk.bytes));
    txn.tables.remove::<Chunk>(first)?;
    if chunk.pairs > 1 {
        txn.tables.clear::<Progress>((first, 0)..=(first, u16::MAX))?;
    }
    Ok(())
}

fn set_progress(txn: &mut Txn<'_>, first: u64, queue: u16, index: u64) -> Result<(), Fault> {
    let key = (first, queue);
    let count = txn.core.chunks.get(&first).map_or(0, |c| c.count as usize);
    let damaged = Table::Progress.damaged();
    let Progress(mut bits) = txn.tables.row(key)?.unwrap_or_else(|| Progress(vec![0; count.div_ceil(8)]));
    let index = usize::try_from(index).map_err(|_| damaged)?;
    *bits.get_mut(index / 8).ok_or(damaged)? |= 1 << (index % 8);
    txn.tables.put(key, &Progress(bits))
}
