//! One group commit under way: what every command does to the file goes through here.
//!
//! Core memory is changed as the commands run; what readers see (queues, followers) only after the commit, from
//! `staged`. When anything fails the whole core is thrown away and loaded again, so nothing here undoes anything.

use std::collections::{HashMap, HashSet};

use redb::ReadableTable;

use super::keys::event_aad;
use crate::domain::actor::Actor;
use crate::domain::backlog;
use crate::domain::event::Event;
use crate::domain::ids::UserId;
use crate::domain::released::Released;
use crate::domain::ring_time::RingTime;
use crate::domain::time::Millis;
use crate::logging::audit::{Entry, PER_MINUTE, What};
use crate::store::command::Published;
use crate::store::kv::error::Fault;
use crate::store::kv::tables::{Tables, progress_key_bytes};
use crate::store::kv::wal::Changes;
use crate::store::memory::core::{Chunk, Core};
use crate::store::memory::index::{NO_USER, seconds};
use crate::store::memory::shared::{Counts, Shared};
use crate::store::rows::codec::{Damaged, Slot, chunk_head, encode_event, stamp, stamped};
use crate::vault::SEAL_OVERHEAD;

/// redb rounds large values up to powers of two: a chunk stays below 64 KiB with its head.
const CHUNK_BYTES: usize = 56 << 10;

pub(crate) const HELD: u8 = 0;
pub(crate) const PARKED: u8 = 1;

/// A change to the queues in memory, made after the commit.
#[derive(Debug)]
pub(crate) enum Staged {
    Push {
        queue: u16,
        account: u32,
        entry: backlog::Entry,
    },
    Left {
        queue: u16,
        account: u32,
        seq: u64,
        how: Left,
    },
    /// The account's tokens are others than before, or gone.
    Tokens {
        account: u32,
    },
    /// Who may claim the account changed, or how far its claim is.
    Claim {
        account: u32,
    },
    /// The queue was removed with all that waited in it.
    Forget {
        queue: u16,
    },
    Failed {
        queue: u16,
        account: u32,
        seq: u64,
        failures: u32,
        due: Millis,
    },
}

/// How an event left a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Delivered,
    Dead,
    Dropped,
}

/// What a batch leaves to be done.
pub(crate) struct Finished {
    pub staged: Vec<Staged>,
    /// Users who came, in the order of their numbers.
    pub users: Vec<UserId>,
    pub counts: Counts,
    pub published: Vec<Published>,
    pub changes: Changes,
    pub notes: Vec<Entry>,
}

/// Users whom nobody else knows before the commit.
#[derive(Debug, Default)]
pub(crate) struct NewUsers {
    names: Vec<UserId>,
    by_name: HashMap<UserId, u32>,
}

impl NewUsers {
    /// The number of a user who came in this batch.
    pub(crate) fn find(&self, name: &UserId) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The user with the number that is so far behind those known before.
    pub(crate) fn name(&self, behind: usize) -> Option<&UserId> {
        self.names.get(behind)
    }

    /// Gives a user the next number, where so many were known before.
    pub(crate) fn add(&mut self, name: &UserId, known: usize) -> u32 {
        self.names.push(name.clone());
        let number = to_u32(known + self.names.len());
        self.by_name.insert(name.clone(), number);
        number
    }
}

pub(crate) struct Batch<'a> {
    pub core: &'a mut Core,
    pub shared: &'a Shared,
    pub tables: Tables<'a>,
    pub now: Millis,
    /// The time at Ring.
    pub ring: RingTime,
    /// What became of held events since whoever wants to know took it.
    pub released: Released,
    pub staged: Vec<Staged>,
    pub users: NewUsers,
    pub counts: Counts,
    /// (Queue, sequence) of what leaves in this batch, so that nothing leaves twice.
    left: HashSet<(u16, u64)>,
    /// The same of what failed in this batch: a second answer in it comes too late.
    pub failed: HashSet<(u16, u64)>,
    pub published: Vec<Published>,
    /// Who causes what the present command does.
    pub by: Actor,
    /// For the log, once it is durable.
    notes: Vec<Entry>,
    chunk_first: u64,
    /// Whether the newest row of ids must be written: with an id, or with the next sequence.
    pub tail_changed: bool,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(core: &'a mut Core, shared: &'a Shared, tables: Tables<'a>, now: Millis) -> Self {
        Self {
            core,
            shared,
            tables,
            now,
            ring: shared.ring_clock.when(now),
            released: Released::default(),
            staged: Vec::new(),
            users: NewUsers::default(),
            counts: Counts::default(),
            left: HashSet::new(),
            failed: HashSet::new(),
            published: Vec::new(),
            by: Actor::Daemon,
            notes: Vec::new(),
            chunk_first: 0,
            tail_changed: false,
        }
    }

    /// Writes what is still in memory; the caller commits afterwards.
    pub(crate) fn finish(mut self) -> Result<Finished, Fault> {
        self.flush_chunk()?;
        self.write_tail()?;
        let Self { staged, users, counts, published, tables, notes, .. } = self;
        let changes = tables.into_changes();
        Ok(Finished { staged, users: users.names, counts, published, changes, notes })
    }

    /// Tells the log of a change, once it is durable. More than the log takes in a minute are not kept.
    pub(crate) fn note(
        &mut self,
        what: What,
        entry: impl FnOnce(&mut Self, Entry) -> Result<Entry, Fault>,
    ) -> Result<(), Fault> {
        let noted = self.notes.iter().filter(|entry| entry.what == what).count();
        if noted <= PER_MINUTE as usize {
            let entry = entry(self, Entry::new(what, self.by.clone()))?;
            self.notes.push(entry);
        }
        Ok(())
    }

    /// Takes the next sequence for a record that goes into the log for `queues`, and seals it.
    pub(crate) fn append(
        &mut self,
        account: u32,
        user: u32,
        event: &Event,
        queues: Vec<u16>,
    ) -> Result<u64, Fault> {
        let seq = self.next_seq();
        if self.core.chunk.is_empty() {
            self.chunk_first = seq;
        }
        let key = self.event_key(account)?;
        let Core { plain, chunk, .. } = &mut *self.core;
        let start = chunk.sealed.len();
        encode_event(event, plain);
        key.seal(&event_aad(seq, account), plain, &mut chunk.sealed)?;
        let len = to_u32(chunk.sealed.len() - start);
        let entry = backlog::Entry { seq, at: seconds(self.now), user, bytes: len };
        self.staged.extend(queues.iter().map(|&queue| Staged::Push { queue, account, entry }));
        self.core.chunk.slots.push(Slot { account, user, queues, len });
        if self.core.chunk.sealed.len() >= CHUNK_BYTES {
            self.flush_chunk()?;
        }
        Ok(seq)
    }

    /// Takes the next sequence for a record that is put aside. An open chunk gets an empty slot, so that its
    /// sequences stay without a gap.
    pub(crate) fn sequence_aside(&mut self) -> u64 {
        let seq = self.next_seq();
        if !self.core.chunk.is_empty() {
            self.core.chunk.slots.push(Slot { account: 0, user: NO_USER, queues: Vec::new(), len: 0 });
        }
        seq
    }

    /// The event sealed for its account under `seq`.
    pub(crate) fn seal(&mut self, seq: u64, account: u32, event: &Event) -> Result<Vec<u8>, Fault> {
        let key = self.event_key(account)?;
        let plain = &mut self.core.plain;
        encode_event(event, plain);
        let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
        key.seal(&event_aad(seq, account), plain, &mut sealed)?;
        Ok(sealed)
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.core.next_seq;
        self.core.next_seq += 1;
        self.tail_changed = true;
        seq
    }

    fn flush_chunk(&mut self) -> Result<(), Fault> {
        let chunk = &mut self.core.chunk;
        let pairs: usize = chunk.slots.iter().map(|s| s.queues.len()).sum();
        if pairs == 0 {
            chunk.clear();
            return Ok(());
        }
        let first = self.chunk_first;
        let count = to_u32(chunk.slots.len());
        let value = chunk.finish("log", first, self.now);
        self.tables.log()?.insert(first, value.as_slice())?;
        let bytes = to_u32(value.len());
        let chunk = Chunk { count, pairs: to_u32(pairs), live: to_u32(pairs), bytes, at: seconds(self.now) };
        self.core.chunks.insert(first, chunk);
        self.core.log_bytes += u64::from(bytes);
        Ok(())
    }

    /// Notes that an event leaves a queue with this batch.
    pub(crate) fn leave(&mut self, queue: u16, account: u32, seq: u64, how: Left) {
        match how {
            Left::Delivered => {}
            Left::Dead => self.counts.dead += 1,
            Left::Dropped => self.counts.dropped += 1,
        }
        self.left.insert((queue, seq));
        self.staged.push(Staged::Left { queue, account, seq, how });
    }

    /// Whether the event leaves the queue with this batch already.
    pub(crate) fn leaves(&self, queue: u16, seq: u64) -> bool {
        self.left.contains(&(queue, seq))
    }

    /// The sealed record of an event that waits in a queue, wherever it lies, with its user.
    pub(crate) fn sealed_record(
        &mut self,
        queue: u16,
        account: u32,
        seq: u64,
    ) -> Result<(Vec<u8>, u32, Millis), Fault> {
        if let Some(first) = self.core.chunk_of(seq) {
            let table = self.tables.log()?;
            let value = table.get(first)?.ok_or(Damaged("log"))?;
            let head = chunk_head("log", first, value.value())?;
            let index = usize::try_from(seq - first).map_err(|_| Damaged("log"))?;
            let slot = head.slots.get(index).filter(|s| s.account == account).ok_or(Damaged("log"))?;
            let sealed = head.sealed(value.value(), index).ok_or(Damaged("log"))?;
            return Ok((sealed.to_vec(), slot.user, head.at));
        }
        let parked = self.read_aside((PARKED, u64::from(queue), seq, 0))?.ok_or(Damaged("aside"))?;
        Ok((parked.sealed, parked.user, parked.at))
    }

    /// Marks an event as done for a queue; a chunk goes with its last.
    /// An event that [leaves](Self::leaves) already must not be marked again: the chunk would go too early.
    pub(crate) fn mark_done(&mut self, queue: u16, seq: u64, had_failures: bool) -> Result<(), Fault> {
        debug_assert!(!self.leaves(queue, seq), "an event leaves a queue once");
        if had_failures || self.failed.contains(&(queue, seq)) {
            self.tables.attempts()?.remove((queue, seq))?;
        }
        let Some(first) = self.core.chunk_of(seq) else {
            let key = (PARKED, u64::from(queue), seq, 0);
            if let Some(parked) = self.take_aside(key)? {
                self.core.parked_bytes = self.core.parked_bytes.saturating_sub(parked.sealed.len() as u64);
            }
            return Ok(());
        };
        let live = self.core.chunks.get_mut(&first).map_or(0, |chunk| {
            chunk.live = chunk.live.saturating_sub(1);
            chunk.live
        });
        if live == 0 { self.remove_chunk(first) } else { self.set_progress(first, queue, seq - first) }
    }

    pub(crate) fn remove_chunk(&mut self, first: u64) -> Result<(), Fault> {
        let Some(chunk) = self.core.chunks.remove(&first) else { return Ok(()) };
        self.core.log_bytes = self.core.log_bytes.saturating_sub(u64::from(chunk.bytes));
        self.tables.log()?.remove(first)?;
        if chunk.pairs > 1 {
            self.tables.progress()?.clear((first, 0)..=(first, u16::MAX))?;
        }
        Ok(())
    }

    fn set_progress(&mut self, first: u64, queue: u16, index: u64) -> Result<(), Fault> {
        let key = (first, queue);
        let count = self.core.chunks.get(&first).map_or(0, |c| c.count as usize);
        let table = self.tables.progress()?;
        let mut bits = match table.get(key)? {
            Some(value) => stamped("progress", &progress_key_bytes(key), value.value())?.to_vec(),
            None => vec![0; count.div_ceil(8)],
        };
        let index = usize::try_from(index).map_err(|_| Damaged("progress"))?;
        *bits.get_mut(index / 8).ok_or(Damaged("progress"))? |= 1 << (index % 8);
        stamp("progress", &progress_key_bytes(key), &mut bits);
        self.tables.progress()?.insert(key, bits.as_slice())?;
        Ok(())
    }

    /// Keeps a small fact of the daemon's by name.
    pub(crate) fn note_fact(&mut self, name: &'static str, fact: &[u8]) -> Result<(), Fault> {
        let mut value = fact.to_vec();
        stamp("meta", name.as_bytes(), &mut value);
        self.tables.meta()?.insert(name, value.as_slice())?;
        Ok(())
    }
}

pub(crate) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
