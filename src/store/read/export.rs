//! Reads what is kept of one user's events of one account, page by page: first held ones, then those in queues, then letters, which is the
//! way that events go. One that moves on meanwhile is met later, and perhaps twice.

use std::collections::HashMap;

use super::reader::{Read, Source};
use crate::domain::event::Event;
use crate::domain::ids::QueueName;
use crate::domain::time::Millis;
use crate::store::command::{Class, LetterId};
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_USER;
use crate::store::memory::shared::Shared;
use crate::store::rows::account::AccountRow;
use crate::store::rows::aside::{Aside, AsideKey, HELD};
use crate::store::rows::device_log::{DeviceHash, DeviceLogRow};
use crate::store::rows::small::DeviceRow;
use crate::store::txn::letters::{behind, letter_id, letter_key};

/// Rows that one page looks at, and events and bytes that it gives; one event is given whatever its size.
const LOOKED_AT: usize = 2_000;
const EVENTS: usize = 100;
const BYTES: usize = 1 << 20;

/// Whose events, by number: 0 is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose {
    pub account: u32,
    pub user: u32,
}

/// Where an export goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFrom {
    /// Behind this sequence.
    Held(u64),
    /// In the first queue with at least this number, behind this sequence.
    Queue(u16, u64),
    Letters(Option<LetterId>),
}

/// The beginning.
pub const EXPORT_START: ExportFrom = ExportFrom::Held(0);

/// Where a kept event lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptAt {
    Held { since: Millis },
    Queue { name: QueueName },
    Letter { id: LetterId, queue: Option<QueueName>, why: String },
}

/// A kept event; nothing of it where its record is damaged.
#[derive(Debug, Clone)]
pub struct KeptEvent {
    pub seq: u64,
    pub at: KeptAt,
    pub event: Option<Event>,
}

/// A page, and where to go on.
pub(crate) fn page(
    shared: &Shared,
    whose: Whose,
    from: ExportFrom,
) -> Result<(Vec<KeptEvent>, Option<ExportFrom>), Fault> {
    let mut page = Page { found: Vec::new(), bytes: 0 };
    let next = match from {
        ExportFrom::Held(after) => held(shared, whose, after, &mut page)?,
        ExportFrom::Queue(queue, after) => in_queue(shared, whose, (queue, after), &mut page)?,
        ExportFrom::Letters(after) => letters(shared, whose, after, &mut page)?,
    };
    Ok((page.found, next))
}

/// The devices that are known as the account's; of each a hash of its id is kept.
pub(crate) fn devices(shared: &Shared, account: u32) -> Result<u64, Fault> {
    let view = shared.view()?;
    // What is not in the table yet, or is there otherwise: the last entry of a device counts.
    let mut logged: HashMap<DeviceHash, u32> = HashMap::new();
    for found in view.table::<DeviceLogRow>()?.range(..)? {
        let entries = found?.row()?.entries;
        logged.extend(entries.into_iter().map(|(device, row)| (device, row.account)));
    }
    let mut devices = logged.values().filter(|&&of| of == account).count() as u64;
    for found in view.table::<DeviceRow>()?.range(..)? {
        let found = found?;
        let is_theirs = found.row().is_ok_and(|row| row.account == account);
        devices += u64::from(is_theirs && !logged.contains_key(&found.key()?));
    }
    Ok(devices)
}

struct Page {
    found: Vec<KeptEvent>,
    bytes: usize,
}

impl Page {
    /// Whether it is full.
    fn add(&mut self, kept: KeptEvent) -> bool {
        self.bytes += kept.event.as_ref().map_or(0, |event| event.body.len());
        self.found.push(kept);
        self.found.len() >= EVENTS || self.bytes >= BYTES
    }
}

/// A held event is nobody's, until its account is claimed.
fn held(shared: &Shared, whose: Whose, after: u64, page: &mut Page) -> Result<Option<ExportFrom>, Fault> {
    let view = shared.view()?;
    let (mut source, account) = (Source::of(shared, &view)?, u64::from(whose.account));
    let rows = (HELD, account, after.saturating_add(1), 0)..=(HELD, account, u64::MAX, u32::MAX);
    for (looked_at, found) in view.table::<Aside>()?.range(rows)?.enumerate() {
        let found = found?;
        let (_, _, seq, _) = found.key()?;
        let Ok(aside) = found.row() else { continue };
        let is_theirs = aside.user == whose.user;
        let full = is_theirs && {
            let event = source.open(&aside)?;
            page.add(KeptEvent { seq, at: KeptAt::Held { since: aside.at }, event })
        };
        if full || looked_at + 1 == LOOKED_AT {
            return Ok(Some(ExportFrom::Held(seq)));
        }
    }
    Ok(Some(ExportFrom::Queue(0, 0)))
}

fn in_queue(
    shared: &Shared,
    whose: Whose,
    (queue, after): (u16, u64),
    page: &mut Page,
) -> Result<Option<ExportFrom>, Fault> {
    let (number, name, seqs, mut after) = {
        let queues = shared.queues();
        let Some((&number, state)) = queues.range(queue..).next() else {
            return Ok(Some(ExportFrom::Letters(None)));
        };
        let after = if number == queue { after } else { 0 };
        let lane = state.backlog.lane(whose.account);
        let theirs = lane.filter(|entry| entry.seq > after && entry.user == whose.user);
        let seqs: Vec<u64> = theirs.take(EVENTS).map(|entry| entry.seq).collect();
        (number, state.name.clone(), seqs, after)
    };
    let is_last = seqs.len() < EVENTS;
    let mut source = Source::of(shared, &shared.view()?)?;
    for seq in seqs {
        after = seq;
        let event = match source.read(number, whose.account, seq)? {
            Read::Event(event) => Some(event),
            Read::Damaged => None,
            // It has left meanwhile, with its account or by itself.
            Read::Gone | Read::Missing => continue,
        };
        if page.add(KeptEvent { seq, at: KeptAt::Queue { name: name.clone() }, event }) {
            return Ok(Some(ExportFrom::Queue(number, seq)));
        }
    }
    let next = number.checked_add(1).filter(|_| is_last);
    Ok(Some(match next {
        Some(next) => ExportFrom::Queue(next, 0),
        None if is_last => ExportFrom::Letters(None),
        None => ExportFrom::Queue(number, after),
    }))
}

fn letters(
    shared: &Shared,
    whose: Whose,
    after: Option<LetterId>,
    page: &mut Page,
) -> Result<Option<ExportFrom>, Fault> {
    let view = shared.view()?;
    let mut source = Source::of(shared, &view)?;
    let table = view.table::<Aside>()?;
    let (row, now) = (view.row::<AccountRow>(whose.account)?, shared.ring_clock.now());
    // As a replay would find it.
    let user_of = |event: &Event| {
        row.as_ref().map_or(NO_USER, |AccountRow { tenure, .. }| {
            tenure.whose(&event.kind, now.plausible(event.time, tenure.newest())).user()
        })
    };
    for (looked_at, found) in table.range(behind(after.map(letter_key)))?.enumerate() {
        let found = found?;
        let key: AsideKey = found.key()?;
        let Some(id) = letter_id(key) else { continue };
        // Whose it is may be known only when it is replayed, as of a held event that passed its bounds before the claim.
        let is_open = |aside: &Aside| id.queue == 0 && aside.user == NO_USER;
        let theirs = found.row().ok().filter(|aside| aside.account == whose.account);
        let full = match theirs.filter(|aside| aside.user == whose.user || is_open(aside)) {
            None => false,
            Some(aside) => {
                let event = source.open(&aside)?;
                let user = event.as_ref().filter(|_| is_open(&aside)).map_or(aside.user, user_of);
                let queue = shared.queues().get(&id.queue).map(|queue| queue.name.clone());
                let queue = queue.filter(|_| id.class == Class::Dead);
                let at = KeptAt::Letter { id, queue, why: aside.detail };
                user == whose.user && page.add(KeptEvent { seq: aside.seq, at, event })
            }
        };
        if full || looked_at + 1 == LOOKED_AT {
            return Ok(Some(ExportFrom::Letters(Some(id))));
        }
    }
    Ok(None)
}
