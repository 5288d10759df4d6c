//! One group commit under way: what every command does to the file goes through here.
//!
//! Core memory is changed as the commands run; what readers see (queues, followers) only after the commit, from
//! `staged`. When anything fails the whole core is thrown away and loaded again, so nothing here undoes anything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::actor::Actor;
use crate::domain::backlog;
use crate::domain::ids::UserId;
use crate::domain::link::Now;
use crate::domain::released::Released;
use crate::domain::ring_time::RingTime;
use crate::domain::time::Millis;
use crate::logging::audit::{Entry, PER_MINUTE, What};
use crate::store::command::Published;
use crate::store::kv::changes::Changes;
use crate::store::kv::error::Fault;
use crate::store::kv::tables::Tables;
use crate::store::memory::core::Core;
use crate::store::memory::options::Options;
use crate::store::memory::shared::{Counts, Shared};
use crate::store::rows::text::to_u32;

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
    /// The queue is paused since then, or no longer.
    Paused {
        queue: u16,
        since: Option<Millis>,
    },
    /// Bounds and queues are others. Each configured queue has its number.
    Options {
        options: Arc<Options>,
        numbers: Vec<u16>,
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
        why: String,
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
    pub names: Vec<UserId>,
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

pub(crate) struct Txn<'a> {
    pub core: &'a mut Core,
    pub shared: &'a Shared,
    /// As they hold at this command.
    pub options: Arc<Options>,
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
    pub left: HashSet<(u16, u64)>,
    /// The same of what failed in this batch: a second answer in it comes too late.
    pub failed: HashSet<(u16, u64)>,
    pub published: Vec<Published>,
    /// Who causes what the present command does.
    pub by: Actor,
    /// For the log, once it is durable.
    pub notes: Vec<Entry>,
    pub chunk_first: u64,
    /// Whether the newest row of ids must be written: with an id, or with the next sequence.
    pub tail_changed: bool,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(core: &'a mut Core, shared: &'a Shared, tables: Tables<'a>, now: Millis) -> Self {
        Self {
            core,
            shared,
            options: shared.options.get(),
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

    /// The clocks as this transaction reads them.
    pub(crate) fn link_now(&self) -> Now {
        Now { ring: self.ring, wall: self.now }
    }
}
