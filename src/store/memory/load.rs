//! Brings a store file up to date and rebuilds what is kept in memory of it.

use std::collections::{BTreeSet, HashMap};

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::core::{Chunk, Core, HeldEvent};
use super::index::{NO_ACCOUNT, Users, seconds};
use super::options::{Options, QueueSpec};
use super::seen::Row;
use super::shared::{QueueState, Queues};
use crate::clock;
use crate::domain::backlog::{Backlog, Entry};
use crate::domain::ids::{QueueName, UserId};
use crate::domain::link::LinkState;
use crate::store::command::{Class, QueueTotals};
use crate::store::kv::error::Fault;
use crate::store::kv::tables::{
    ACCOUNTS, ASIDE, ATTEMPTS, IDS, LOG, META, PROGRESS, QUEUES, USERS, aside_key_bytes, begin_read,
    begin_write, progress_key_bytes,
};
use crate::store::rows::account::AccountRow;
use crate::store::rows::attempts::Attempts;
use crate::store::rows::codec::{Aside, Damaged, HELD, PARKED, chunk_head, stamp, stamped, to_u32};
use crate::store::rows::facts::{EPOCH, PAUSED, read_epoch, read_paused};

/// What is known of a file after reading it.
pub(crate) struct Loaded {
    pub core: Core,
    pub queues: Queues,
    pub users: Users,
}

/// Reads everything that is kept in memory.
pub(crate) fn load(db: &Database, options: &Options) -> Result<Loaded, Fault> {
    let mut loaded = read(db, &options.queues)?;
    number_queues(db, options, &mut loaded)?;
    Ok(loaded)
}

/// Reads it without writing anything; also what `check` looks at.
pub(crate) fn read(db: &Database, configured: &[QueueSpec]) -> Result<Loaded, Fault> {
    let read = begin_read(db)?;
    let mut loaded = Loaded { core: Core::new(), queues: Queues::new(), users: load_users(&read)? };
    load_accounts(&read, &mut loaded.core)?;
    loaded.core.epoch = load_epoch(&read)?;
    load_ids(&read, &mut loaded.core)?;
    loaded.queues = load_queues(&read, configured)?;
    load_paused(&read, &mut loaded.queues)?;
    load_log(&read, &mut loaded)?;
    load_attempts(&read, &mut loaded.queues)?;
    loaded.core.forgotten = forgotten(&loaded);
    Ok(loaded)
}

/// Accounts whose forgetting was broken off after the commit that matters.
fn forgotten(loaded: &Loaded) -> BTreeSet<u32> {
    let Loaded { core, queues, .. } = loaded;
    let waits = |number: u32| queues.values().any(|q| q.backlog.lane(number).next().is_some());
    let numbers = core.accounts.in_state(LinkState::Forgotten).filter(|&number| number != NO_ACCOUNT);
    numbers.filter(|&number| core.held_by_account.contains_key(&number) || waits(number)).collect()
}

fn load_users(read: &ReadTransaction) -> Result<Users, Fault> {
    let mut users = Users::default();
    for row in read.open_table(USERS)?.iter()? {
        let (number, value) = row?;
        let name = stamped("users", &number.value().to_be_bytes(), value.value())?;
        let name = str::from_utf8(name).ok().and_then(|name| UserId::new(name).ok());
        if name.is_none_or(|name| users.push(&name) != number.value()) {
            return Err(Damaged("users").into());
        }
    }
    users.index();
    Ok(users)
}

fn load_accounts(read: &ReadTransaction, core: &mut Core) -> Result<(), Fault> {
    let table = read.open_table(ACCOUNTS)?;
    core.accounts.reserve(usize::try_from(table.len()?).unwrap_or(0));
    for row in table.iter()? {
        let (number, value) = row?;
        let row = AccountRow::decode(number.value(), value.value())?;
        if number.value() != core.accounts.next() {
            return Err(Damaged("accounts").into());
        }
        match row.id {
            Some(ref id) => {
                let number = core.accounts.push(id, row.tenure.holder(), row.tenure.state);
                core.accounts.set_link(number, &row.tenure);
            }
            None => core.accounts.add_forgotten(),
        }
    }
    core.accounts.index();
    Ok(())
}

fn load_epoch(read: &ReadTransaction) -> Result<u64, Fault> {
    let meta = read.open_table(META)?;
    let Some(value) = meta.get(EPOCH)? else { return Ok(0) };
    Ok(read_epoch(stamped("meta", EPOCH.as_bytes(), value.value())?)?)
}

fn load_ids(read: &ReadTransaction, core: &mut Core) -> Result<(), Fault> {
    let table = read.open_table(IDS)?;
    if let Some((first, value)) = table.first()? {
        core.oldest_row = first.value();
        core.oldest_at = Row::decode(first.value(), value.value())?.first_at;
    }
    if let Some((last, value)) = table.last()? {
        core.tail_number = last.value();
        core.tail = Row::decode(last.value(), value.value())?;
        core.next_seq = core.next_seq.max(core.tail.next_seq);
    }
    core.seen.reserve(table.len()? * 160);
    for row in table.iter()? {
        let (number, value) = row?;
        let number = number.value();
        for (id, _) in Row::decode(number, value.value())?.ids {
            core.seen.insert(&id, number);
        }
    }
    Ok(())
}

fn load_queues(read: &ReadTransaction, configured: &[QueueSpec]) -> Result<Queues, Fault> {
    let mut queues = Queues::new();
    for row in read.open_table(QUEUES)?.iter()? {
        let (number, value) = row?;
        let name = stamped("queues", &number.value().to_be_bytes(), value.value())?;
        if name.is_empty() {
            // Removed; its number is never given again.
            continue;
        }
        let name = str::from_utf8(name).ok().and_then(QueueName::new).ok_or(Damaged("queues"))?;
        let spec = configured.iter().find(|spec| spec.name == name).cloned();
        queues.insert(number.value(), queue_state(name, spec));
    }
    Ok(queues)
}

fn load_paused(read: &ReadTransaction, queues: &mut Queues) -> Result<(), Fault> {
    let meta = read.open_table(META)?;
    let Some(fact) = meta.get(PAUSED)? else { return Ok(()) };
    for (number, since) in read_paused(stamped("meta", PAUSED.as_bytes(), fact.value())?)? {
        if let Some(state) = queues.get_mut(&number) {
            state.paused_since = Some(since);
        }
    }
    Ok(())
}

fn queue_state(name: QueueName, spec: Option<QueueSpec>) -> QueueState {
    QueueState {
        name,
        spec,
        backlog: Backlog::opened_at(clock::now()),
        totals: QueueTotals::default(),
        paused_since: None,
        wake: std::sync::Arc::default(),
    }
}

/// Gives queues that the configuration names for the first time their numbers, and the core its routes.
fn number_queues(db: &Database, options: &Options, loaded: &mut Loaded) -> Result<(), Fault> {
    let known = |queues: &Queues, name: &QueueName| queues.values().any(|q| q.name == *name);
    let new: Vec<_> = options.queues.iter().filter(|s| !known(&loaded.queues, &s.name)).collect();
    if !new.is_empty() {
        let txn = begin_write(db)?;
        for spec in new {
            let mut table = txn.open_table(QUEUES)?;
            let last = table.last()?.map_or(0, |(number, _)| number.value());
            let number = last.checked_add(1).ok_or(Damaged("queues"))?;
            let mut value = spec.name.as_str().as_bytes().to_vec();
            stamp("queues", &number.to_be_bytes(), &mut value);
            table.insert(number, value.as_slice())?;
            loaded.queues.insert(number, queue_state(spec.name.clone(), Some(spec.clone())));
        }
        txn.commit()?;
    }
    let route = |(&number, state): (&u16, &QueueState)| state.spec.clone().map(|spec| (number, spec));
    loaded.core.routes = loaded.queues.iter().filter_map(route).collect();
    Ok(())
}

/// Puts every event that is not done into its queues, in the order of acceptance: what was parked and what is still
/// in the log together.
fn load_log(read: &ReadTransaction, loaded: &mut Loaded) -> Result<(), Fault> {
    let mut parked = load_aside(read, &mut loaded.core)?.into_iter().peekable();
    let log = read.open_table(LOG)?;
    let progress = read.open_table(PROGRESS)?;
    for row in log.iter()? {
        let (first, value) = row?;
        let first = first.value();
        let head = chunk_head("log", first, value.value())?;
        while let Some((_, queue, account, entry)) = parked.next_if(|p| p.0 < first) {
            push(&mut loaded.queues, queue, account, entry)?;
        }
        let mut done = Done::new(&progress, first, head.slots.len());
        let (mut pairs, mut live) = (0, 0);
        for (index, slot) in head.slots.iter().enumerate() {
            let seq = first + index as u64;
            let entry = Entry { seq, at: seconds(head.at), user: slot.user, bytes: slot.len };
            for &queue in &slot.queues {
                pairs += 1;
                if !done.has(queue, index)? {
                    live += 1;
                    push(&mut loaded.queues, queue, slot.account, entry)?;
                }
            }
        }
        let count = to_u32(head.slots.len());
        let bytes = to_u32(value.value().len());
        loaded.core.chunks.insert(first, Chunk { count, pairs, live, bytes, at: seconds(head.at) });
        loaded.core.log_bytes += u64::from(bytes);
        loaded.core.next_seq = loaded.core.next_seq.max(first + u64::from(count));
    }
    for (_, queue, account, entry) in parked {
        push(&mut loaded.queues, queue, account, entry)?;
    }
    Ok(())
}

fn push(queues: &mut Queues, queue: u16, account: u32, entry: Entry) -> Result<(), Fault> {
    let state = queues.get_mut(&queue).ok_or(Damaged("queues"))?;
    state.backlog.push(account, entry);
    Ok(())
}

/// What queues have done of one chunk, read when first asked.
struct Done<'t> {
    table: &'t ReadOnlyTable<(u64, u16), &'static [u8]>,
    first: u64,
    count: usize,
    bits: HashMap<u16, Option<Vec<u8>>>,
}

impl<'t> Done<'t> {
    fn new(table: &'t ReadOnlyTable<(u64, u16), &'static [u8]>, first: u64, count: usize) -> Self {
        Self { table, first, count, bits: HashMap::new() }
    }

    fn has(&mut self, queue: u16, index: usize) -> Result<bool, Fault> {
        if !self.bits.contains_key(&queue) {
            let read = self.read(queue)?;
            self.bits.insert(queue, read);
        }
        let bits = self.bits.get(&queue).and_then(Option::as_ref);
        Ok(bits.is_some_and(|bits| bits[index / 8] & (1 << (index % 8)) != 0))
    }

    fn read(&self, queue: u16) -> Result<Option<Vec<u8>>, Fault> {
        let key = (self.first, queue);
        let Some(value) = self.table.get(key)? else { return Ok(None) };
        let bits = stamped("progress", &progress_key_bytes(key), value.value())?;
        if bits.len() == self.count.div_ceil(8) {
            Ok(Some(bits.to_vec()))
        } else {
            Err(Damaged("progress").into())
        }
    }
}

type Parked = (u64, u16, u32, Entry);

/// Counts what lies aside; returns what is parked, ascending.
fn load_aside(read: &ReadTransaction, core: &mut Core) -> Result<Vec<Parked>, Fault> {
    let mut parked = Vec::new();
    for row in read.open_table(ASIDE)?.iter()? {
        let (key, value) = row?;
        let key = key.value();
        let aside = Aside::decode("aside", &aside_key_bytes(key), value.value())?;
        let bytes = aside.sealed.len();
        core.next_seq = core.next_seq.max(aside.seq + 1);
        if key.0 == HELD {
            let held = HeldEvent { account: aside.account, bytes: to_u32(bytes), at: seconds(aside.at) };
            core.hold(aside.seq, held);
        } else if key.0 == PARKED {
            core.parked_bytes += bytes as u64;
            let queue = u16::try_from(key.1).map_err(|_| Damaged("aside"))?;
            let entry =
                Entry { seq: aside.seq, at: seconds(aside.at), user: aside.user, bytes: to_u32(bytes) };
            parked.push((aside.seq, queue, aside.account, entry));
        } else if let Some(class) = Class::ALL.into_iter().find(|c| *c as u8 == key.0) {
            core.letters[usize::from(class as u8 - Class::Dead as u8)].add(bytes as u64);
        } else {
            return Err(Damaged("aside").into());
        }
    }
    parked.sort_unstable_by_key(|p| p.0);
    Ok(parked)
}

fn load_attempts(read: &ReadTransaction, queues: &mut Queues) -> Result<(), Fault> {
    for row in read.open_table(ATTEMPTS)?.iter()? {
        let (key, value) = row?;
        let (queue, seq) = key.value();
        let attempts = Attempts::decode(queue, seq, value.value())?;
        if let Some(state) = queues.get_mut(&queue) {
            state.backlog.remember_failures(attempts.account, seq, attempts.failures, attempts.due);
        }
    }
    Ok(())
}
