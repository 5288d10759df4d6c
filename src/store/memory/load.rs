//! Brings a store file up to date and rebuilds what is kept in memory of it.

use std::collections::{BTreeMap, HashMap};

use super::core::{ChunkState, Core, HeldEvent, Leaving};
use super::device_log::DeviceLog;
use super::freshness::BLOCK;
use super::index::{NO_ACCOUNT, Users, seconds};
use super::options::{Options, QueueSpec};
use super::shared::{Lately, QueueState, Queues};
use crate::clock;
use crate::domain::backlog::{Backlog, Entry};
use crate::domain::ids::QueueName;
use crate::domain::link::LinkState;
use crate::store::command::{Class, QueueTotals};
use crate::store::kv::db::Db;
use crate::store::kv::error::Fault;
use crate::store::kv::view::{ReadTable, View};
use crate::store::rows::account::AccountRow;
use crate::store::rows::act::ActRow;
use crate::store::rows::aside::{Aside, HELD, PARKED};
use crate::store::rows::attempts::Attempts;
use crate::store::rows::chunk::Chunk;
use crate::store::rows::device_log::DeviceLogRow;
use crate::store::rows::facts::{Fact, Paused};
use crate::store::rows::freshness::Rhythms;
use crate::store::rows::ids::IdRow;
use crate::store::rows::receipt::{Erasing, ReceiptRow};
use crate::store::rows::row::Table;
use crate::store::rows::small::{Progress, QueueRow, UserRow};
use crate::store::rows::text::to_u32;

/// What is known of a file after reading it.
pub(crate) struct Loaded {
    pub core: Core,
    pub queues: Queues,
    pub users: Users,
}

/// Reads everything that is kept in memory.
pub(crate) fn load(db: &Db, options: &Options) -> Result<Loaded, Fault> {
    let mut loaded = read(db, &options.queues)?;
    number_queues(db, options, &mut loaded)?;
    Ok(loaded)
}

/// Reads it without writing anything; also what `check` looks at.
pub(crate) fn read(db: &Db, configured: &[QueueSpec]) -> Result<Loaded, Fault> {
    let read = db.view()?;
    let mut loaded = Loaded { core: Core::new(), queues: Queues::new(), users: load_users(&read)? };
    load_accounts(&read, &mut loaded.core)?;
    loaded.core.epoch = epoch(&read)?;
    load_ids(&read, &mut loaded.core)?;
    loaded.core.device_log = load_device_log(&read)?;
    load_freshness(&read, &mut loaded.core)?;
    loaded.queues = load_queues(&read, configured)?;
    load_paused(&read, &mut loaded.queues)?;
    load_log(&read, &mut loaded)?;
    load_attempts(&read, &mut loaded.queues)?;
    load_receipts(&read, &mut loaded.core)?;
    load_acts(&read, &mut loaded.core)?;
    let forgotten = forgotten(&loaded);
    loaded.core.forgotten.extend(forgotten);
    Ok(loaded)
}

/// Accounts whose forgetting was broken off after the commit that matters.
fn forgotten(loaded: &Loaded) -> BTreeMap<u32, Leaving> {
    let Loaded { core, queues, .. } = loaded;
    let waits = |number: u32| queues.values().any(|q| q.backlog.lane(number).next().is_some());
    let is_left = |number: u32| core.held_by_account.contains_key(&number) || waits(number);
    let numbers = core.accounts.in_state(LinkState::Forgotten).filter(|&number| number != NO_ACCOUNT);
    numbers.filter(|&number| is_left(number)).map(|number| (number, Leaving::default())).collect()
}

fn load_users(read: &View) -> Result<Users, Fault> {
    let mut users = Users::default();
    for found in read.table()?.range(..)? {
        let found = found?;
        let UserRow(name) = found.row()?;
        if users.push(&name) != found.key()? {
            return Err(Table::Users.damaged().into());
        }
    }
    users.index();
    Ok(users)
}

fn load_accounts(read: &View, core: &mut Core) -> Result<(), Fault> {
    let table = read.table::<AccountRow>()?;
    core.accounts.reserve(usize::try_from(table.len()?).unwrap_or(0));
    for found in table.range(..)? {
        let found = found?;
        let row = found.row()?;
        if found.key()? != core.accounts.next() {
            return Err(Table::Accounts.damaged().into());
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

/// How many intents were ever noted.
pub(crate) fn epoch(read: &View) -> Result<u64, Fault> {
    Ok(read.row::<Fact>(Fact::EPOCH)?.map_or(Ok(0), |fact| fact.number())?)
}

fn load_ids(read: &View, core: &mut Core) -> Result<(), Fault> {
    let table = read.table::<IdRow>()?;
    if let Some(first) = table.range(..)?.next().transpose()? {
        core.oldest_row = first.key()?;
        core.oldest_at = first.row()?.first_at;
    }
    if let Some(last) = table.range(..)?.next_back().transpose()? {
        core.tail_number = last.key()?;
        core.tail = last.row()?;
        core.next_seq = core.next_seq.max(core.tail.next_seq);
    }
    core.seen.reserve(table.len()? * IdRow::MOST);
    for found in table.range(..)? {
        let found = found?;
        let number = found.key()?;
        for (id, _) in found.row()?.ids {
            core.seen.insert(&id, number);
        }
    }
    Ok(())
}

/// What of the log of devices is not in their table.
pub(crate) fn load_device_log(read: &View) -> Result<DeviceLog, Fault> {
    let table = read.table::<DeviceLogRow>()?;
    let ends = (table.range(..)?.next().transpose()?, table.range(..)?.next_back().transpose()?);
    let (Some(first), Some(newest)) = ends else { return Ok(DeviceLog::default()) };
    let (first, number, newest) = (first.key()?, newest.key()?, newest.row()?);
    let mut log = DeviceLog::of(first, (number, &newest))?;
    let unmerged = log.unmerged();
    for (expected, found) in (unmerged..).zip(table.range(unmerged..)?) {
        let found = found?;
        if found.key()? != expected {
            return Err(Table::DeviceLog.damaged().into());
        }
        log.load(expected, found.row()?, &newest.from);
    }
    Ok(log)
}

fn load_freshness(read: &View, core: &mut Core) -> Result<(), Fault> {
    for found in read.table()?.range(..)? {
        let found = found?;
        let Rhythms(rhythms) = found.row()?;
        if rhythms.len() > BLOCK {
            return Err(Table::Freshness.damaged().into());
        }
        core.freshness.load(found.key()? as usize, &rhythms);
    }
    // The ids know it to the commit.
    core.freshness.intake_came(core.tail.last_at);
    Ok(())
}

fn load_queues(read: &View, configured: &[QueueSpec]) -> Result<Queues, Fault> {
    let mut queues = Queues::new();
    for found in read.table()?.range(..)? {
        let found = found?;
        let QueueRow(Some(name)) = found.row()? else { continue };
        let spec = configured.iter().find(|spec| spec.name == name).cloned();
        queues.insert(found.key()?, queue_state(name, spec));
    }
    Ok(queues)
}

fn load_paused(read: &View, queues: &mut Queues) -> Result<(), Fault> {
    let Paused(paused) = read.row(Paused::NAME)?.unwrap_or_default();
    for (number, since) in paused {
        if let Some(state) = queues.get_mut(&number) {
            state.paused_since = Some(since);
        }
    }
    Ok(())
}

/// A queue of which nothing waits.
pub(crate) fn queue_state(name: QueueName, spec: Option<QueueSpec>) -> QueueState {
    QueueState {
        name,
        spec,
        backlog: Backlog::opened_at(clock::now()),
        totals: QueueTotals::default(),
        lately: Lately::default(),
        paused_since: None,
        wake: std::sync::Arc::default(),
    }
}

/// Gives queues that the configuration names for the first time their numbers, and the core its routes.
fn number_queues(db: &Db, options: &Options, loaded: &mut Loaded) -> Result<(), Fault> {
    let known = |queues: &Queues, name: &QueueName| queues.values().any(|q| q.name == *name);
    let new: Vec<_> = options.queues.iter().filter(|s| !known(&loaded.queues, &s.name)).collect();
    if !new.is_empty() {
        db.write(|tables| {
            for spec in new {
                let last = tables.range::<QueueRow>(..)?.next_back().transpose()?;
                let last = last.map_or(Ok(0), |found| found.key())?;
                let number = last.checked_add(1).ok_or(Table::Queues.damaged())?;
                tables.put(number, &QueueRow(Some(spec.name.clone())))?;
                loaded.queues.insert(number, queue_state(spec.name.clone(), Some(spec.clone())));
            }
            Ok(())
        })?;
    }
    let route = |(&number, state): (&u16, &QueueState)| state.spec.clone().map(|spec| (number, spec));
    loaded.core.routes = loaded.queues.iter().filter_map(route).collect();
    Ok(())
}

/// Puts every event that is not done into its queues, in the order of acceptance: what was parked and what is still
/// in the log together.
fn load_log(read: &View, loaded: &mut Loaded) -> Result<(), Fault> {
    let mut parked = load_aside(read, &mut loaded.core)?.into_iter().peekable();
    let progress = read.table()?;
    for found in read.table::<Chunk>()?.range(..)? {
        let found = found?;
        let first = found.key()?;
        let (head, _) = Chunk::head(first, found.bytes())?;
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
        let bytes = to_u32(found.bytes().len());
        loaded.core.chunks.insert(first, ChunkState { count, pairs, live, bytes, at: seconds(head.at) });
        loaded.core.log_bytes += u64::from(bytes);
        loaded.core.next_seq = loaded.core.next_seq.max(first + u64::from(count));
    }
    for (_, queue, account, entry) in parked {
        push(&mut loaded.queues, queue, account, entry)?;
    }
    Ok(())
}

fn push(queues: &mut Queues, queue: u16, account: u32, entry: Entry) -> Result<(), Fault> {
    let state = queues.get_mut(&queue).ok_or(Table::Queues.damaged())?;
    state.backlog.push(account, entry);
    Ok(())
}

/// What queues have done of one chunk, read when first asked.
struct Done<'t> {
    table: &'t ReadTable<Progress>,
    first: u64,
    count: usize,
    bits: HashMap<u16, Option<Vec<u8>>>,
}

impl<'t> Done<'t> {
    fn new(table: &'t ReadTable<Progress>, first: u64, count: usize) -> Self {
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
        let Some(Progress(bits)) = self.table.row((self.first, queue))? else { return Ok(None) };
        if bits.len() == self.count.div_ceil(8) {
            Ok(Some(bits))
        } else {
            Err(Table::Progress.damaged().into())
        }
    }
}

type Parked = (u64, u16, u32, Entry);

/// Counts what lies aside; returns what is parked, ascending.
fn load_aside(read: &View, core: &mut Core) -> Result<Vec<Parked>, Fault> {
    let mut parked = Vec::new();
    for found in read.table::<Aside>()?.range(..)? {
        let found = found?;
        let (key, aside) = (found.key()?, found.row()?);
        let bytes = aside.sealed.len();
        core.next_seq = core.next_seq.max(aside.seq + 1);
        if key.0 == HELD {
            let held = HeldEvent { account: aside.account, bytes: to_u32(bytes), at: seconds(aside.at) };
            core.hold(aside.seq, held);
        } else if key.0 == PARKED {
            core.parked_bytes += bytes as u64;
            let queue = u16::try_from(key.1).map_err(|_| Table::OffQueue.damaged())?;
            let entry =
                Entry { seq: aside.seq, at: seconds(aside.at), user: aside.user, bytes: to_u32(bytes) };
            parked.push((aside.seq, queue, aside.account, entry));
        } else if let Some(class) = Class::ALL.into_iter().find(|c| *c as u8 == key.0) {
            core.letters[usize::from(class as u8 - Class::Dead as u8)].add(bytes as u64);
            let slot = core.accounts.get(aside.account).filter(|_| aside.account != NO_ACCOUNT);
            if slot.is_some_and(|slot| slot.state == LinkState::Forgotten) {
                core.forgotten.insert(aside.account, Leaving::default());
            }
        } else {
            return Err(Table::OffQueue.damaged().into());
        }
    }
    parked.sort_unstable_by_key(|p| p.0);
    Ok(parked)
}

/// Only where they lie and what they take: what they say is read when somebody asks.
fn load_receipts(read: &View, core: &mut Core) -> Result<(), Fault> {
    let receipts = &mut core.receipts;
    for found in read.table::<ReceiptRow>()?.range(..)? {
        let found = found?;
        let number = found.key()?;
        if receipts.bytes == 0 {
            receipts.first = number;
        }
        receipts.next = number.saturating_add(1);
        receipts.bytes += found.bytes().len() as u64;
    }
    Erasing(receipts.erasing) = read.row(Erasing::NAME)?.unwrap_or_default();
    Ok(())
}

fn load_acts(read: &View, core: &mut Core) -> Result<(), Fault> {
    for found in read.table::<ActRow>()?.range(..)? {
        let found = found?;
        let (kind, number) = found.key()?;
        let bytes = usize::from(kind).checked_sub(1).and_then(|kind| core.acts.bytes.get_mut(kind));
        *bytes.ok_or(Table::Audit.damaged())? += found.bytes().len() as u64;
        core.acts.next = core.acts.next.max(number.saturating_add(1));
    }
    Ok(())
}

fn load_attempts(read: &View, queues: &mut Queues) -> Result<(), Fault> {
    for found in read.table::<Attempts>()?.range(..)? {
        let found = found?;
        let ((queue, seq), attempts) = (found.key()?, found.row()?);
        if let Some(state) = queues.get_mut(&queue) {
            state.backlog.remember_failures(attempts.account, seq, attempts.failures, attempts.due);
        }
    }
    Ok(())
}
