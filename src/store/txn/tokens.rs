//! Token pairs at rest: what the schedule needs in the clear, the tokens themselves sealed for their account.

use std::time::Duration;

use super::transaction::{Staged, Txn};
use super::{accounts, journal, keys};
use crate::domain::ids::AccountId;
use crate::domain::refresh::{Notice, Proof};
use crate::domain::secret::Secret;
use crate::domain::tokens::{Pair, Span};
use crate::store::kv::error::Fault;
use crate::store::rows::row::Table;
use crate::store::rows::small::WrappedKey;
use crate::store::rows::token::{Others, Predecessor, TokenRow, seal_pair};
use crate::vault::{DataKey, Purpose};

pub(crate) struct Opened {
    pub row: TokenRow,
    pub key: DataKey,
    pub account: AccountId,
    pub pair: Pair,
    pub others: Others,
}

/// So many of them are kept.
const MOST_OTHERS: usize = 4;
/// Codes of one link are exchanged within so long of each other.
pub(crate) const AT_ONCE: Duration = Duration::from_mins(2);

/// A pair that takes the place of another.
struct New<'p> {
    pair: &'p Pair,
    span: Span,
    proof: Proof,
}

/// What a token is to another of its account that is put in place of it.
fn beside(one: Span, other: Span) -> Predecessor {
    let apart = one.renewed_at.since(other.renewed_at).max(other.renewed_at.since(one.renewed_at));
    if apart <= AT_ONCE { Predecessor::Rival } else { Predecessor::PutAside }
}

fn copy(token: &Secret<String>) -> Secret<String> {
    Secret::new(token.expose().clone())
}

/// The account's tokens; none where they do not open, which is no reason to give up everybody else's commit.
pub(crate) fn sound_tokens(txn: &mut Txn<'_>, number: u32) -> Result<Option<Opened>, Fault> {
    open_tokens(txn, number).or_else(|fault| {
        let error = fault.of_one_record()?;
        tracing::error!(account_number = number, %error, "the account's tokens do not open");
        crate::store::memory::shared::bump(&txn.shared.stats.damaged);
        Ok(None)
    })
}

fn open_tokens(txn: &mut Txn<'_>, number: u32) -> Result<Option<Opened>, Fault> {
    let Some(row) = txn.tables.row::<TokenRow>(number)? else { return Ok(None) };
    let Some(account) = accounts::read_account(txn, number)?.and_then(|row| row.id) else { return Ok(None) };
    let Some(key) = keys::token_key(txn, number)? else { return Err(Table::Keys.damaged().into()) };
    let (pair, others) = row.open(&key, &account)?;
    Ok(Some(Opened { row, key, account, pair, others }))
}

/// Gives an account tokens that somebody put in. Whether they are others than it has.
pub(crate) fn put_tokens(
    txn: &mut Txn<'_>,
    number: u32,
    account: &AccountId,
    pair: &Pair,
    span: Span,
    proof: Proof,
) -> Result<bool, Fault> {
    // What does not open is of no use any more, and is replaced here.
    let before = txn.tables.row::<TokenRow>(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
    let present = sound_tokens(txn, number)?;
    let is_same = |known: &Secret<String>| known.expose() == pair.refresh_token.expose();
    let lives = before.as_ref().is_some_and(|row| row.end.is_none());
    if let Some(present) = present.as_ref().filter(|_| lives) {
        let was_exchanged = !present.row.predecessor.was_put_aside();
        let previous = present.others.first().filter(|_| was_exchanged);
        if is_same(&present.pair.refresh_token) || previous.is_some_and(is_same) {
            // Put in again, after it may have been exchanged: what OAuth gave for it is what lives.
            return Ok(false);
        }
    }
    replace_tokens(txn, number, account, New { pair, span, proof }, before.as_ref(), present)?;
    Ok(true)
}

/// Gives an account tokens that OAuth gave for it elsewhere in the store. What it gave last is tried first, and nothing is thrown
/// away that may live, until OAuth has said so. Whether they are its tokens now.
pub(crate) fn add_tokens(
    txn: &mut Txn<'_>,
    number: u32,
    account: &AccountId,
    given: Opened,
) -> Result<bool, Fault> {
    let present = sound_tokens(txn, number)?;
    let Some(older) =
        present.as_ref().filter(|present| present.row.span.renewed_at > given.row.span.renewed_at)
    else {
        let before =
            txn.tables.row::<TokenRow>(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
        replace_tokens(
            txn,
            number,
            account,
            New { pair: &given.pair, span: given.row.span, proof: Proof::Honoured },
            before.as_ref(),
            present,
        )?;
        return Ok(true);
    };
    let row = &older.row;
    let mut others: Others = older.others.iter().map(copy).collect();
    let mut predecessor = row.predecessor;
    if predecessor.may_be_tried() {
        others.push(given.pair.refresh_token);
    } else {
        others = vec![given.pair.refresh_token];
        predecessor = beside(row.span, given.row.span);
    }
    others.truncate(MOST_OTHERS);
    let Some(key) = keys::token_key(txn, number)? else { return Ok(false) };
    let sealed = seal_pair(&key, account, row.generation, &older.pair, &others)?;
    txn.tables.put(number, &TokenRow { predecessor, sealed, ..row.clone() })?;
    Ok(false)
}

fn replace_tokens(
    txn: &mut Txn<'_>,
    number: u32,
    account: &AccountId,
    New { pair, span, proof }: New<'_>,
    before: Option<&TokenRow>,
    present: Option<Opened>,
) -> Result<(), Fault> {
    let key = match keys::token_key(txn, number) {
        Ok(Some(key)) => key,
        Ok(None) => keys::fresh_key(txn, number, Purpose::Tokens)?,
        Err(fault) => fault.of_one_record().and_then(|_| keys::fresh_key(txn, number, Purpose::Tokens))?,
    };
    let (mut others, mut predecessor) = (Others::new(), Predecessor::None);
    if let Some(Opened { row, pair, others: aside, .. }) = present {
        predecessor = beside(row.span, span);
        others.push(pair.refresh_token);
        // Where it was exchanged, the one before it is dead.
        let exchanged = usize::from(!row.predecessor.was_put_aside());
        others.extend(aside.into_iter().skip(exchanged));
        others.truncate(MOST_OTHERS);
    }
    let generation = next_generation(txn, before)?;
    let sealed = seal_pair(&key, account, generation, pair, &others)?;
    let told = before.map_or(Notice::Fresh, |row| row.told);
    let row = TokenRow { generation, span, end: None, told, predecessor, proof, sealed };
    txn.tables.put(number, &row)?;
    journal::drop_refresh(txn, number)?;
    txn.staged.push(Staged::Tokens { account: number });
    Ok(())
}

/// OAuth refuses the first of the others: the next one is tried in its place.
pub(crate) fn drop_other(txn: &mut Txn<'_>, number: u32, opened: Opened) -> Result<(), Fault> {
    let Opened { row, key, account, pair, mut others } = opened;
    others.drain(..others.len().min(1));
    let next = if row.predecessor == Predecessor::Rival { Predecessor::Rival } else { Predecessor::PutAside };
    let predecessor = if others.is_empty() { Predecessor::Tried } else { next };
    let sealed = seal_pair(&key, &account, row.generation, &pair, &others)?;
    txn.tables.put(number, &TokenRow { predecessor, sealed, ..row })
}

/// Destroys tokens and their key, and what was under way with them.
pub(crate) fn destroy_tokens(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    txn.tables.remove::<TokenRow>(number)?;
    txn.tables.remove::<WrappedKey>((number, Purpose::Tokens as u8))?;
    journal::drop_refresh(txn, number)?;
    txn.staged.push(Staged::Tokens { account: number });
    Ok(())
}

/// Never one that the account had before: the epoch grows over all accounts, also past tokens that were destroyed.
pub(crate) fn next_generation(txn: &mut Txn<'_>, before: Option<&TokenRow>) -> Result<u64, Fault> {
    let epoch = journal::raise_epoch(txn)?;
    Ok(before.map_or(epoch, |row| epoch.max(row.generation + 1)))
}
