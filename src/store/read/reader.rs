//! Short reads of the file: leased events, and lists page by page.

use std::collections::{HashMap, HashSet};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::domain::backlog::Taken;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::LinkState;
use crate::store::command::{AccountView, Letter, LetterFilter, LetterId, TokensView};
use crate::store::kv::error::Fault;
use crate::store::kv::tables::{
    ACCOUNT_IDS, ACCOUNTS, ASIDE, AsideKey, JOURNAL, KEYS, LOG, META, TOKENS, aside_key_bytes, begin_read,
};
use crate::store::memory::index::{NO_USER, hash};
use crate::store::memory::shared::Shared;
use crate::store::rows::account::AccountRow;
use crate::store::rows::codec::PARKED;
use crate::store::rows::codec::{Aside, ChunkHead, Damaged, chunk_head, stamped};
use crate::store::txn::claims::step_of;
use crate::store::txn::journal::{Access, Entry, TokenRecord};
use crate::store::txn::keys::unseal_event;
use crate::store::txn::letters::{letter_id, letter_key, letter_keys};
use crate::store::txn::tokens::{Predecessor, TokenRow};
use crate::vault::{DataKey, Purpose, wrapped_by};

/// What became of reading a record.
#[derive(Debug)]
pub(crate) enum Read {
    Event(Event),
    /// Its key was destroyed.
    Gone,
    /// It is not what was written.
    Damaged,
}

/// Reads events of one queue that are in memory as waiting.
pub(crate) fn fetch(shared: &Shared, queue: u16, taken: &[Taken]) -> Result<Vec<Read>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let mut source = Source {
        shared,
        log: txn.open_table(LOG)?,
        aside: txn.open_table(ASIDE)?,
        keys: Keys::new(shared, &txn)?,
        chunk: None,
    };
    taken.iter().map(|t| source.read(queue, t.account, t.entry.seq)).collect()
}

struct Source<'a> {
    shared: &'a Shared,
    log: ReadOnlyTable<u64, &'static [u8]>,
    aside: ReadOnlyTable<AsideKey, &'static [u8]>,
    keys: Keys<'a>,
    /// The chunk read last: leases mostly take neighbours.
    chunk: Option<(u64, ChunkHead, Vec<u8>)>,
}

impl Source<'_> {
    fn read(&mut self, queue: u16, account: u32, seq: u64) -> Result<Read, Fault> {
        let sealed = match self.sealed(queue, account, seq) {
            Ok(sealed) => sealed,
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

    fn sealed(&mut self, queue: u16, account: u32, seq: u64) -> Result<Vec<u8>, Fault> {
        if let Some(sealed) = self.in_log(account, seq)? {
            return Ok(sealed);
        }
        let key = (PARKED, u64::from(queue), seq, 0);
        let value = self.aside.get(key)?.ok_or(Damaged("aside"))?;
        Ok(Aside::decode("aside", &aside_key_bytes(key), value.value())?.sealed)
    }

    fn in_log(&mut self, account: u32, seq: u64) -> Result<Option<Vec<u8>>, Fault> {
        let holds = |first: u64, head: &ChunkHead| (first..first + head.slots.len() as u64).contains(&seq);
        if !self.chunk.as_ref().is_some_and(|(first, head, _)| holds(*first, head)) {
            let Some(row) = self.log.range(..=seq)?.next_back() else { return Ok(None) };
            let (first, value) = row?;
            let (first, value) = (first.value(), value.value().to_vec());
            let head = chunk_head("log", first, &value)?;
            if !holds(first, &head) {
                return Ok(None);
            }
            self.chunk = Some((first, head, value));
        }
        let Some((first, head, value)) = &self.chunk else { return Ok(None) };
        let index = usize::try_from(seq - first).map_err(|_| Damaged("log"))?;
        if head.slots.get(index).is_none_or(|slot| slot.account != account) {
            return Err(Damaged("log").into());
        }
        Ok(head.sealed(value, index).map(<[u8]>::to_vec))
    }
}

/// Event keys of accounts, opened once for a read.
struct Keys<'a> {
    shared: &'a Shared,
    table: ReadOnlyTable<(u32, u8), &'static [u8]>,
    open: HashMap<u32, Option<DataKey>>,
}

impl<'a> Keys<'a> {
    fn new(shared: &'a Shared, txn: &ReadTransaction) -> Result<Self, Fault> {
        Ok(Self { shared, table: txn.open_table(KEYS)?, open: HashMap::new() })
    }

    fn get(&mut self, account: u32) -> Result<Option<&DataKey>, Fault> {
        if !self.open.contains_key(&account) {
            let wrapped = self.table.get((account, Purpose::Events as u8))?;
            let key = wrapped
                .map(|value| self.shared.vault.unwrap(account, Purpose::Events, value.value()))
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
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(ASIDE)?;
    let mut keys = Keys::new(shared, &txn)?;
    let page = if filter.ids.is_empty() {
        letter_keys(&table, after, limit)?
    } else {
        filter.ids.iter().map(|&id| letter_key(id)).collect()
    };
    let full = filter.ids.is_empty() && page.len() == limit;
    let next = page.last().filter(|_| full).and_then(|&key| letter_id(key));
    let mut out = Vec::new();
    for key in page {
        let Some(id) = letter_id(key) else { continue };
        let queue = shared.queues().get(&id.queue).map(|q| q.name.clone());
        let Some(value) = table.get(key)?.filter(|_| filter.covers(id.class, queue.as_ref())) else {
            continue;
        };
        let aside = Aside::decode("aside", &aside_key_bytes(key), value.value())?;
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
    let txn = shared.with_db(begin_read)?;
    let tokens = txn.open_table(TOKENS)?;
    let (mut out, mut last) = (Vec::new(), None);
    for row in txn.open_table(ACCOUNTS)?.range(after.saturating_add(1)..)?.take(limit) {
        let (number, value) = row?;
        let row = AccountRow::decode(number.value(), value.value())?;
        out.extend(account_view(shared, &txn, &tokens, number.value(), row)?);
        last = Some(number.value());
    }
    let more = out.len() >= limit || last.is_some_and(|l| (l - after) as usize >= limit);
    Ok((out, last.filter(|_| more)))
}

fn account_view(
    shared: &Shared,
    txn: &ReadTransaction,
    tokens: &ReadOnlyTable<u32, &'static [u8]>,
    number: u32,
    AccountRow { id, created_at, tenure, .. }: AccountRow,
) -> Result<Option<AccountView>, Fault> {
    let holder = tenure.holder();
    let claim = match tenure.state {
        LinkState::Claiming | LinkState::Refused => step_of(txn, number)?,
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
        tokens: tokens.get(number)?.and_then(|value| tokens_view(number, value.value()).ok()),
    }))
}

fn tokens_view(number: u32, value: &[u8]) -> Result<TokensView, Fault> {
    let TokenRow { generation, span, told, proof, .. } = TokenRow::decode(number, value)?;
    Ok(TokensView { generation, span, state: told, proof })
}

/// The number of an account.
pub(crate) fn number_of(shared: &Shared, account: &AccountId) -> Result<Option<u32>, Fault> {
    let txn = shared.with_db(begin_read)?;
    find_number(&txn.open_table(ACCOUNT_IDS)?, account)
}

/// The numbers of those among `accounts` that there are.
pub(crate) fn numbers_of(shared: &Shared, accounts: &[AccountId]) -> Result<HashSet<u32>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(ACCOUNT_IDS)?;
    accounts.iter().filter_map(|account| find_number(&table, account).transpose()).collect()
}

fn find_number(
    table: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    account: &AccountId,
) -> Result<Option<u32>, Fault> {
    let key = hash(account);
    let Some(value) = table.get(&key[..])? else { return Ok(None) };
    let number = stamped("account_ids", &key, value.value())?.try_into();
    Ok(Some(u32::from_be_bytes(number.map_err(|_| Damaged("account_ids"))?)))
}

/// The numbers of accounts whose own id is not known yet.
pub(crate) fn arriving(shared: &Shared) -> Result<Vec<u32>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let mut numbers = Vec::new();
    for row in txn.open_table(ACCOUNTS)?.iter()? {
        let (number, value) = row?;
        let row = AccountRow::decode(number.value(), value.value())?;
        numbers.extend((row.tenure.state == LinkState::Arriving).then(|| number.value()));
    }
    Ok(numbers)
}

/// One account, by its number.
pub(crate) fn account(shared: &Shared, number: u32) -> Result<Option<AccountView>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(ACCOUNTS)?;
    let Some(value) = table.get(number)? else { return Ok(None) };
    let row = AccountRow::decode(number, value.value())?;
    account_view(shared, &txn, &txn.open_table(TOKENS)?, number, row)
}

/// The access token of an account, opened.
pub(crate) fn access(shared: &Shared, number: u32, account: &AccountId) -> Result<Option<Access>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(TOKENS)?;
    let Some(value) = table.get(number)? else { return Ok(None) };
    let row = TokenRow::decode(number, value.value())?;
    let keys = txn.open_table(KEYS)?;
    let Some(wrapped) = keys.get((number, Purpose::Tokens as u8))? else { return Ok(None) };
    let key = shared.vault.unwrap(number, Purpose::Tokens, wrapped.value())?;
    let (pair, _) = row.open(&key, account)?;
    let (generation, span, end) = (row.generation, row.span, row.end);
    Ok(Some(Access { number, generation, token: pair.access_token, span, end }))
}

/// Up to `limit` accounts with tokens behind number `after`.
pub(crate) fn token_records(shared: &Shared, after: u32, limit: usize) -> Result<Vec<TokenRecord>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let (tokens, journal) = (txn.open_table(TOKENS)?, txn.open_table(JOURNAL)?);
    let mut entries = journal.range(after.saturating_add(1)..)?.peekable();
    let mut records = Vec::new();
    for row in tokens.range(after.saturating_add(1)..)? {
        if records.len() == limit {
            break;
        }
        let (number, value) = row?;
        let number = number.value();
        let mut unsettled = false;
        while let Some(entry) =
            entries.next_if(|entry| entry.as_ref().map_or(true, |e| e.0.value() <= number))
        {
            let (of, value) = entry?;
            if of.value() == number {
                // One that can't be read may be of a request that was sent.
                unsettled = Entry::decode(number, value.value()).map_or(true, |entry| entry.unsettled);
            }
        }
        let Ok(row) = TokenRow::decode(number, value.value()) else {
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
    let txn = shared.with_db(begin_read)?;
    let mut counts = std::collections::BTreeMap::new();
    for row in txn.open_table(KEYS)?.iter()? {
        let master = wrapped_by(row?.1.value()).map_or_else(|_| "damaged".to_owned(), |id| id.to_string());
        *counts.entry(master).or_insert(0) += 1;
    }
    Ok(counts.into_iter().collect())
}

/// A small fact of the daemon's, kept by name.
pub(crate) fn fact(shared: &Shared, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let meta = txn.open_table(META)?;
    let Some(value) = meta.get(name)? else { return Ok(None) };
    Ok(Some(stamped("meta", name.as_bytes(), value.value())?.to_vec()))
}
