//! What leaves by itself, in small steps inside ordinary commits: expired ids, events, letters, and sparse chunks.

use redb::ReadableTable;

use super::batch::{Batch, Left, PARKED, Staged};
use super::settle::Settlement;
use crate::domain::ids::QueueName;
use crate::domain::time::Millis;
use crate::failpoint;
use crate::store::command::{Class, Outcome};
use crate::store::kv::error::Fault;
use crate::store::memory::index::seconds;
use crate::store::rows::codec::{Aside, Damaged, chunk_head, stamp};

/// An event that waits: account, sequence, and whether it failed before.
type Waiting = (u32, u64, bool);

const ID_ROWS: usize = 16;
const EVENTS: usize = 256;
const CHUNKS: usize = 4;
const CHUNKS_LOOKED_AT: usize = 256;
/// A chunk younger than this is left alone: it will most likely empty by itself.
const CLEAN_AFTER_SECONDS: u32 = 60;

impl Batch<'_> {
    /// One step of everything; of what goes by age only while the clock `may_expire` it. Returns whether more is to be
    /// done at once.
    pub(crate) fn maintain(&mut self, may_expire: bool) -> Result<bool, Fault> {
        self.expire_leases()?;
        // Before all else, so that none of them becomes a dead letter.
        if self.drop_forgotten()? {
            return Ok(true);
        }
        let mut more = self.clean()?;
        if may_expire {
            more |= self.expire_ids()?;
            more |= self.expire_waiting()?;
            more |= self.expire_held()?;
            for class in Class::ALL {
                more |= self.expire_letters(class)?;
            }
        }
        Ok(more)
    }

    /// Counts a failed attempt for what a lease held when it ran out; the event is free again at once.
    fn expire_leases(&mut self) -> Result<(), Fault> {
        let now = self.now;
        let expired: Vec<(u16, Vec<(u32, u64)>)> =
            self.shared.queues().iter_mut().map(|(&queue, q)| (queue, q.backlog.expired(now))).collect();
        for (queue, events) in expired {
            let why = "the lease ran out before an answer";
            let failed = |(account, seq)| Settlement {
                account,
                seq,
                outcome: Outcome::Failed { due: now, why: why.to_owned() },
            };
            let settlements: Vec<_> = events.into_iter().map(failed).collect();
            self.settle(queue, None, &settlements)?;
        }
        Ok(())
    }

    /// What a forget that was broken off has left of an account, and what came in beside it.
    fn drop_forgotten(&mut self) -> Result<bool, Fault> {
        let Some(&number) = self.core.forgotten.first() else { return Ok(false) };
        self.drop_events_of(number, EVENTS)?;
        Ok(true)
    }

    fn expire_ids(&mut self) -> Result<bool, Fault> {
        let before = self.now.minus(self.shared.options.seen_for);
        for _ in 0..ID_ROWS {
            let number = self.core.oldest_row;
            if number >= self.core.tail_number {
                return Ok(false);
            }
            let old = self.read_row(number)?.is_none_or(|row| row.last_at < before);
            if !old || !self.forget_oldest_row()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves what passes a queue's bounds to the dead letters, oldest first. Leased events are left alone.
    fn expire_waiting(&mut self) -> Result<bool, Fault> {
        let mut expired = Vec::new();
        for (&queue, state) in self.shared.queues().iter() {
            let Some(spec) = &state.spec else { continue };
            let before = seconds(self.now.minus(spec.max_age));
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
            self.bury_waiting(queue, account, seq, failures, why)?;
        }
        Ok(more)
    }

    fn expire_held(&mut self) -> Result<bool, Fault> {
        let before = seconds(self.now.minus(self.shared.options.held.max_age));
        for _ in 0..EVENTS {
            let Some((&seq, _)) = self.core.held.first_key_value().filter(|(_, e)| e.at < before) else {
                return Ok(false);
            };
            self.end_hold(seq)?;
        }
        Ok(true)
    }

    /// No further link is waited for: it is of whoever had the account last, or nobody's.
    fn end_hold(&mut self, seq: u64) -> Result<(), Fault> {
        let account = self.core.held.get(&seq).map(|held| held.account);
        let row = account.map(|account| self.read_account(account)).transpose()?.flatten();
        if let (Some(account), Some(row)) = (account, row)
            && self.release_one(account, seq, &row.tenure, true)?
        {
            return Ok(());
        }
        self.bury_held(seq, "nobody claimed the account within [held] max_age")
    }

    fn expire_letters(&mut self, class: Class) -> Result<bool, Fault> {
        let before = self.now.minus(self.bounds(class).max_age);
        for _ in 0..EVENTS {
            let Some(_) = self.oldest_letter(class)?.filter(|key| Millis(key.1) < before) else {
                return Ok(false);
            };
            self.drop_oldest_letter(class)?;
        }
        Ok(true)
    }

    /// Moves what little is left of old chunks aside, so that the log does not grow for a few stuck events. When the store
    /// gets full, also what is more than a little: what has been delivered must not make intake refuse.
    fn clean(&mut self) -> Result<bool, Fault> {
        let young = seconds(self.now).saturating_sub(CLEAN_AFTER_SECONDS);
        let from = self.core.clean_from;
        let looked_at: Vec<_> =
            self.core.chunks.range(from..).take(CHUNKS_LOOKED_AT).map(|(&first, &c)| (first, c)).collect();
        self.core.clean_from = match looked_at.last() {
            Some((last, _)) if looked_at.len() == CHUNKS_LOOKED_AT => last + 1,
            _ => 0,
        };
        let gets_full = self.core.kept_bytes() > self.shared.options.max_bytes / 4 * 3;
        let sparse = |c: &crate::store::memory::core::Chunk| {
            let little = c.live.saturating_mul(4) <= c.pairs;
            c.at < young && (little || gets_full && c.live < c.pairs)
        };
        let chosen: Vec<u64> =
            looked_at.iter().filter(|(_, c)| sparse(c)).map(|(f, _)| *f).take(CHUNKS).collect();
        for &first in &chosen {
            self.park(first)?;
        }
        if chosen.len() == CHUNKS {
            self.core.clean_from = chosen[CHUNKS - 1];
        }
        Ok(chosen.len() == CHUNKS)
    }

    fn park(&mut self, first: u64) -> Result<(), Fault> {
        let value = {
            let table = self.tables.log()?;
            table.get(first)?.ok_or(Damaged("log"))?.value().to_vec()
        };
        let head = chunk_head("log", first, &value)?;
        for (index, slot) in head.slots.iter().enumerate() {
            let seq = first + index as u64;
            let sealed = head.sealed(&value, index).ok_or(Damaged("log"))?;
            for &queue in &slot.queues {
                let waits =
                    self.shared.queues().get(&queue).is_some_and(|q| q.backlog.contains(slot.account, seq));
                if !waits || self.leaves(queue, seq) {
                    continue;
                }
                let aside = Aside {
                    seq,
                    account: slot.account,
                    user: slot.user,
                    at: head.at,
                    queues: vec![queue],
                    failures: 0,
                    detail: String::new(),
                    sealed: sealed.to_vec(),
                };
                self.put_aside((PARKED, u64::from(queue), seq, 0), &aside)?;
                self.core.parked_bytes += sealed.len() as u64;
            }
        }
        self.remove_chunk(first)
    }

    /// Takes up to `limit` waiting events out of a queue that the configuration no longer names; the queue's name
    /// goes with the last. Returns how many are left.
    pub(crate) fn remove_queue(&mut self, name: &QueueName, limit: usize) -> Result<Option<u64>, Fault> {
        let Some((queue, some, left)) = self.some_waiting(name, limit) else { return Ok(None) };
        for (account, seq, failed) in some {
            // Memory shows it until the commit, though a command before this one has taken it out.
            if self.leaves(queue, seq) {
                continue;
            }
            self.mark_done(queue, seq, failed)?;
            self.leave(queue, account, seq, Left::Dropped);
        }
        if left == 0 {
            self.retire_queue_number(queue)?;
            self.tables.attempts()?.clear((queue, 0)..=(queue, u64::MAX))?;
            self.staged.push(Staged::Forget { queue });
        }
        Ok(Some(left))
    }

    /// Letters and held events still name the number: a queue that got it later would get what is not meant for it.
    fn retire_queue_number(&mut self, queue: u16) -> Result<(), Fault> {
        let mut nameless = Vec::new();
        stamp("queues", &queue.to_be_bytes(), &mut nameless);
        self.tables.queues()?.insert(queue, nameless.as_slice())?;
        Ok(())
    }

    fn some_waiting(&self, name: &QueueName, limit: usize) -> Option<(u16, Vec<Waiting>, u64)> {
        let queues = self.shared.queues();
        let (&queue, state) = queues.iter().find(|(_, q)| q.name == *name && q.spec.is_none())?;
        let failed = |seq| state.backlog.failures(seq) > 0;
        let some: Vec<_> = state.backlog.iter().take(limit).map(|(a, seq)| (a, seq, failed(seq))).collect();
        let left = state.backlog.len() - some.len() as u64;
        Some((queue, some, left))
    }
}
