//! Short reads of the file: leased events, and lists page by page.

use std::collections::{HashMap, HashSet};

use crate::domain::backlog::Taken;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::LinkState;
use crate::store::command::{AccountView, Letter, LetterFilter, LetterId, TokensView};
use crate::store::kv::error::Fault;
use crate::store::kv::found::Found;
use crate::store::kv::view::{ReadTable, View};
use crate::store::memory::index::{NO_USER, hash};
use crate::store::memory::shared::Shared;
use crate::store::rows::account::AccountRow;
use crate::store::rows::aside::{Aside, PARKED};
use crate::store::rows::chunk::Chunk;
use crate::store::rows::facts::Disconnecting;
use crate::store::rows::journal::Entry;
use crate::store::rows::row::Table;
use crate::store::rows::small::{AccountNumber, WrappedKey};
use crate::store::rows::token::{Predecessor, TokenRow};
use crate::store::txn::claims::step_of;
use crate::store::txn::journal::{Access, TokenRecord};
use crate::store::txn::keys::unseal_event;
use crate::store::txn::letters::{behind, first_keys, letter_id, letter_key};
use crate::vault::{DataKey, Purpose, wrapped_by};

/// What became of reading a record.
#[derive(Debug)]
pub(crate) enum Read {
    Event(Event),
    /// Its key was destroyed.
    Gone,
    /// There is no record of it. That is damage where it is leased; else it may have left, because memory shows it a moment longer.
    Missing,
    /// It is not what was written.
    Damaged,
}

/// Reads events of one queue that are in memory as waiting.
pub(crate) fn fetch(shared: &Shared, queue: u16, taken: &[Taken]) -> Result<Vec<Read>, Fault> {
    let mut source = Source::of(shared, &shared.view()?)?;
    taken.iter().map(|t| source.read(queue, t.account, t.entry.seq)).collect()
}

pub(super) struct Source<'a> {
    shared: &'a Shared,
    chunks: ReadTable<Chunk>,
    off_queue: ReadTable<Aside>,
    keys: Keys<'a>,
    /// The chunk read last: leases mostly take neighbours.
    chunk: Option<(u64, Chunk)>,
}

impl<'a> Source<'a> {
    pub(super) fn of(shared: &'a Shared, view: &View) -> Result<Self, Fault> {
        let (chunks, off_queue) = (view.table()?, view.table()?);
        Ok(Self { shared, chunks, off_queue, keys: Keys::new(shared, view)?, chunk: None })
    }

    /// What lies beside the queues; nothing when it is damaged, or its key was destroyed.
    pub(super) fn open(&mut self, aside: &Aside) -> Result<Option<Event>, Fault> {
        let opened = match self.keys.get(aside.account) {
            Ok(key) => key.map(|key| unseal_event(key, aside.seq, aside.account, &aside.sealed)),
            Err(fault) => fault.of_one_record().map(|_| None)?,
        };
        Ok(opened.and_then(Result::ok))
    }

    pub(super) fn read(&mut self, queue: u16, account: u32, seq: u64) -> Result<Read, Fault> {
        let sealed = match self.sealed(queue, account, seq) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Ok(Read::Missing),
            Err(Fault::Damaged(_)) => return Ok(self.damaged()),
            Err(fault) => return Err(fault),
        };
        let opened = match self.keys.get(account) {
            Ok(Some(key)) => unseal_event(key, seq, account, &sealed),
            Ok(None) => return Ok(Read::Gone),
            Err(fault) => Err(fault),
        };
        match opened {
            Ok(event) => Ok(Read::Event(event)),
            Err(fault) => fault.of_one_record().map(|_| self.damaged()),
        }
    }

    fn damaged(&self) -> Read {
        crate::store::memory::shared::bump(&self.shared.stats.damaged);
        Read::Damaged
    }

    fn sealed(&mut self, queue: u16, account: u32, seq: u64) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(sealed) = self.in_chunks(account, seq)? {
            return Ok(Some(sealed));
        }
        let parked = self.off_queue.row((PARKED, u64::from(queue), seq, 0))?;
        Ok(parked.map(|aside: Aside| aside.sealed))
    }

    fn in_chunks(&mut self, account: u32, seq: u64) -> Result<Option<Vec<u8>>, Fault> {
        let holds = |first: u64, chunk: &Chunk| (first..first + chunk.slots.len() as u64).contains(&seq);
        if !self.chunk.as_ref().is_some_and(|(first, chunk)| holds(*first, chunk)) {
            let Some(found) = self.chunks.range(..=seq)?.next_back().transpose()? else { return Ok(None) };
            let (first, chunk) = (found.key()?, found.row()?);
            if !holds(first, &chunk) {
                return Ok(None);
            }
            self.chunk = Some((first, chunk));
        }
        let Some((first, chunk)) = &self.chunk else { return Ok(None) };
        let damaged = Table::Chunks.damaged();
        let index = usize::try_from(seq - first).map_err(|_| damaged)?;
        if chunk.slots.get(index).is_none_or(|slot| slot.account != account) {
            return Err(damaged.into());
        }
        Ok(Some(chunk.event(&chunk.sealed, index)?.to_vec()))
    }
}

/// Event keys of accounts, opened once for a read.
struct Keys<'a> {
    shared: &'a Shared,
    table: ReadTable<WrappedKey>,
    open: HashMap<u32, Option<DataKey>>,
}

impl<'a> Keys<'a> {
    fn new(shared: &'a Shared, view: &View) -> Result<Self, Fault> {
        Ok(Self { shared, table: view.table()?, open: HashMap::new() })
    }

    fn get(&mut self, account: u32) -> Result<Option<&DataKey>, Fault> {
        if !self.open.contains_key(&account) {
            let wrapped = self.table.get((account, Purpose::Events as u8))?;
            let key = wrapped
                .map(|value| self.shared.vault.unwrap(account, Purpose::Events, value.bytes()))
                .transpose()?;
            self.open.insert(account, key);
        }
        Ok(self.open.get(&account).and_then(Option::as_ref))
    }
}

/// Up to `limit` letters behind `after`; the second value says where to go on.
pub(crate) fn letters(
    shared: &Shared,
    filter: &LetterFilter,
    after: Option<LetterId>,
    limit: usize,
) -> Result<(Vec<Letter>, Option<LetterId>), Fault> {
    let view = shared.view()?;
    let table = view.table::<Aside>()?;
    let mut keys = Keys::new(shared, &view)?;
    let page = if filter.ids.is_empty() {
        first_keys(table.range(behind(after.map(letter_key)))?, limit)?
    } else {
        filter.ids.iter().map(|&id| letter_key(id)).collect()
    };
    let full = filter.ids.is_empty() && page.len() == limit;
    let next = page.last().filter(|_| full).and_then(|&key| letter_id(key));
    let mut out = Vec::new();
    for key in page {
        let Some(id) = letter_id(key) else { continue };
        let queue = shared.queues().get(&id.queue).map(|q| q.name.clone());
        if !filter.covers(id.class, queue.as_ref()) {
            continue;
        }
        let Some(aside) = table.row(key)? else { continue };
        let opened = match keys.get(aside.account) {
            Ok(key) => key.map(|key| unseal_event(key, aside.seq, aside.account, &aside.sealed)),
            Err(fault) => fault.of_one_record().map(|_| None)?,
        };
        out.push(Letter {
            id,
            queue,
            accepted_at: aside.at,
            failures: aside.failures,
            why: aside.detail,
            bytes: aside.sealed.len() as u64,
            event: opened.and_then(Result::ok),
        });
    }
    Ok((out, next))
}

/// Up to `limit` accounts behind number `after`; the second value says where to go on.
pub(crate) fn accounts(
    shared: &Shared,
    after: u32,
    limit: usize,
) -> Result<(Vec<AccountView>, Option<u32>), Fault> {
    let view = shared.view()?;
    let beside = Beside::read(&view)?;
    let (mut out, mut last) = (Vec::new(), None);
    for found in view.table()?.range(after.saturating_add(1)..)?.take(limit) {
        let found = found?;
        let number = found.key()?;
        out.extend(account_view(shared, &view, &beside, number, found.row()?)?);
        last = Some(number);
    }
    let more = out.len() >= limit || last.is_some_and(|l| (l - after) as usize >= limit);
    Ok((out, last.filter(|_| more)))
}

/// What an account's view has from beside its row.
struct Beside {
    tokens: ReadTable<TokenRow>,
    disconnecting: Disconnecting,
}

impl Beside {
    fn read(view: &View) -> Result<Self, Fault> {
        let disconnecting = view.row(Disconnecting::NAME)?.unwrap_or_default();
        Ok(Self { tokens: view.table()?, disconnecting })
    }
}

fn account_view(
    shared: &Shared,
    view: &View,
    beside: &Beside,
    number: u32,
    AccountRow { id, created_at, tenure, .. }: AccountRow,
) -> Result<Option<AccountView>, Fault> {
    let holder = tenure.holder();
    let claim = match tenure.state {
        LinkState::Claiming | LinkState::Refused => step_of(view, number)?,
        _ => None,
    };
    let Some(account) = id else { return Ok(None) };
    let name = |user| shared.users().name(user).and_then(|name| UserId::new(name).ok());
    Ok(Some(AccountView {
        number,
        account,
        user: name(holder),
        former_user: if holder == NO_USER { name(tenure.former()) } else { None },
        state: tenure.state,
        claim,
        created_at,
        linked_at: Some(tenure.linked_at).filter(|at| at.0 != 0),
        disconnecting_since: beside.disconnecting.0.get(&number).copied(),
        tokens: beside.tokens.get(number)?.and_then(|found| found.row().ok()).map(tokens_view),
    }))
}

fn tokens_view(TokenRow { generation, span, told, proof, .. }: TokenRow) -> TokensView {
    TokensView { generation, span, state: told, proof }
}

/// The number of an account.
pub(crate) fn number_of(shared: &Shared, account: &AccountId) -> Result<Option<u32>, Fault> {
    let row = shared.view()?.row(hash(account))?;
    Ok(row.map(|AccountNumber(number)| number))
}

/// The numbers of those among `accounts` that there are.
pub(crate) fn numbers_of(shared: &Shared, accounts: &[AccountId]) -> Result<HashSet<u32>, Fault> {
    let table = shared.view()?.table()?;
    let find = |account| Ok(table.row(hash(account))?.map(|AccountNumber(number)| number));
    accounts.iter().filter_map(|account| find(account).transpose()).collect()
}

/// The numbers of accounts whose own id is not known yet.
pub(crate) fn arriving(shared: &Shared) -> Result<Vec<u32>, Fault> {
    let mut numbers = Vec::new();
    for found in shared.view()?.table::<AccountRow>()?.range(..)? {
        let found = found?;
        if found.row()?.tenure.state == LinkState::Arriving {
            numbers.push(found.key()?);
        }
    }
    Ok(numbers)
}

/// One account, by its number.
pub(crate) fn account(shared: &Shared, number: u32) -> Result<Option<AccountView>, Fault> {
    let view = shared.view()?;
    let Some(row) = view.row(number)? else { return Ok(None) };
    account_view(shared, &view, &Beside::read(&view)?, number, row)
}

/// The access token of an account, opened.
pub(crate) fn access(shared: &Shared, number: u32, account: &AccountId) -> Result<Option<Access>, Fault> {
    let view = shared.view()?;
    let Some(row) = view.row::<TokenRow>(number)? else { return Ok(None) };
    let wrapped = view.row((number, Purpose::Tokens as u8))?;
    let Some(WrappedKey(wrapped)) = wrapped else { return Ok(None) };
    let key = shared.vault.unwrap(number, Purpose::Tokens, &wrapped)?;
    let (pair, _) = row.open(&key, account)?;
    let (generation, span, end) = (row.generation, row.span, row.end);
    Ok(Some(Access { number, generation, token: pair.access_token, span, end }))
}

/// Up to `limit` accounts with tokens behind number `after`.
pub(crate) fn token_records(shared: &Shared, after: u32, limit: usize) -> Result<Vec<TokenRecord>, Fault> {
    let view = shared.view()?;
    let (tokens, journal) = (view.table::<TokenRow>()?, view.table::<Entry>()?);
    let mut entries = journal.range(after.saturating_add(1)..)?.peekable();
    let mut records = Vec::new();
    for found in tokens.range(after.saturating_add(1)..)? {
        if records.len() == limit {
            break;
        }
        let found = found?;
        let number = found.key()?;
        let mut unsettled = false;
        let is_due = |entry: &Found<'_, Entry>| entry.key().map_or(true, |of| of <= number);
        while let Some(entry) = entries.next_if(|entry| entry.as_ref().map_or(true, is_due)) {
            let entry = entry?;
            if entry.key()? == number {
                // One that can't be read may be of a request that was sent.
                unsettled = entry.row().map_or(true, |entry| entry.unsettled);
            }
        }
        let Ok(row) = found.row() else {
            crate::store::memory::shared::bump(&shared.stats.damaged);
            tracing::error!(
                account_number = number,
                "an account's tokens are damaged: they are not refreshed"
            );
            continue;
        };
        let predecessor = row.predecessor.may_be_tried();
        let rival = row.predecessor == Predecessor::Rival;
        records.push(TokenRecord { number, record: row.record(unsettled), predecessor, rival });
    }
    Ok(records)
}

/// Data keys by the master key they are under.
pub(crate) fn keys_by_master(shared: &Shared) -> Result<Vec<(String, u64)>, Fault> {
    let mut counts = std::collections::BTreeMap::new();
    for found in shared.view()?.table::<WrappedKey>()?.range(..)? {
        let master = wrapped_by(found?.bytes()).map_or_else(|_| "damaged".to_owned(), |id| id.to_string());
        *counts.entry(master).or_insert(0) += 1;
    }
    Ok(counts.into_iter().collect())
}
