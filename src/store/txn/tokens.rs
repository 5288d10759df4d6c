//! Token pairs at rest: what the schedule needs in the clear, the tokens themselves sealed for their account.

use std::time::Duration;

use bytes::{Buf, BufMut};
use redb::ReadableTable;
use zeroize::Zeroizing;

use super::transaction::{Staged, Txn};
use super::{accounts, journal, keys};
use crate::domain::ids::AccountId;
use crate::domain::refresh::{End, Notice, Proof, Record};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::store::kv::error::Fault;
use crate::store::rows::codec::{Damaged, stamp, stamped};
use crate::vault::{DataKey, Purpose, SEAL_OVERHEAD};

pub(crate) struct Opened {
    pub row: TokenRow,
    pub key: DataKey,
    pub account: AccountId,
    pub pair: Pair,
    pub others: Others,
}

const VERSION: u8 = 1;
/// Length that says "no such field".
const NONE: u32 = u32::MAX;

/// The token that was replaced by the present one, in case the present one turns out never to have been good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Predecessor {
    None = 0,
    Untried = 1,
    Tried = 2,
    /// Not exchanged: other tokens were put in over it.
    PutAside = 3,
    /// OAuth gave it and the present one at about the same time, for two codes; which of them lives only OAuth can tell.
    Rival = 4,
}

impl Predecessor {
    pub(crate) fn may_be_tried(self) -> bool {
        matches!(self, Self::Untried | Self::PutAside | Self::Rival)
    }

    /// Whether it may live beside the present one.
    pub(crate) fn was_put_aside(self) -> bool {
        matches!(self, Self::PutAside | Self::Rival)
    }
}

/// A row of `tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRow {
    /// Grows with every pair of the account.
    pub generation: u64,
    pub span: Span,
    pub end: Option<End>,
    pub told: Notice,
    pub predecessor: Predecessor,
    /// What OAuth last said of the present one.
    pub proof: Proof,
    pub sealed: Vec<u8>,
}

impl TokenRow {
    pub(crate) fn encode(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + self.sealed.len());
        out.put_u8(VERSION);
        out.put_u64(self.generation);
        out.put_u64(self.span.renewed_at.0);
        out.put_u64(self.span.expires_at.0);
        let end = match self.end {
            None => 0,
            Some(End::Lapsed) => 1,
            Some(End::Revoked) => 2,
        };
        let proof = match self.proof {
            Proof::Honoured => 0,
            Proof::Untried => 1,
            Proof::Refused => 2,
        };
        out.put_u8(end | proof << 4);
        out.put_u8(self.told.to_u8());
        out.put_u8(self.predecessor as u8);
        out.extend_from_slice(&self.sealed);
        stamp("tokens", &number.to_be_bytes(), &mut out);
        out
    }

    pub(crate) fn decode(number: u32, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("tokens", &number.to_be_bytes(), value)?;
        Self::read(body).ok_or(Damaged("tokens"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let generation = from.try_get_u64().ok()?;
        let renewed_at = Millis(from.try_get_u64().ok()?);
        let expires_at = Millis(from.try_get_u64().ok()?);
        let byte = from.try_get_u8().ok()?;
        let proof = match byte >> 4 {
            0 => Proof::Honoured,
            1 => Proof::Untried,
            2 => Proof::Refused,
            _ => return None,
        };
        let end = match byte & 0xf {
            0 => None,
            1 => Some(End::Lapsed),
            2 => Some(End::Revoked),
            _ => return None,
        };
        let told = Notice::from_u8(from.try_get_u8().ok()?)?;
        let predecessor = match from.try_get_u8().ok()? {
            0 => Predecessor::None,
            1 => Predecessor::Untried,
            2 => Predecessor::Tried,
            3 => Predecessor::PutAside,
            4 => Predecessor::Rival,
            _ => return None,
        };
        let span = Span { renewed_at, expires_at };
        Some(Self { generation, span, end, told, predecessor, proof, sealed: from.to_vec() })
    }

    /// What the schedule goes by; `unsettled` is the journal's.
    pub(crate) fn record(&self, unsettled: bool) -> Record {
        Record {
            renewed_at: self.span.renewed_at,
            expires_at: self.span.expires_at,
            end: self.end,
            unsettled,
            told: self.told,
            proof: self.proof,
        }
    }

    /// The tokens, and other refresh tokens of the account, the next to be tried first.
    pub(crate) fn open(&self, key: &DataKey, account: &AccountId) -> Result<(Pair, Others), Fault> {
        let plain = key.open(&pair_aad(self.generation, account), &self.sealed);
        let plain = Zeroizing::new(plain.map_err(|_| Damaged("tokens"))?);
        Ok(read_pair(&plain).ok_or(Damaged("tokens"))?)
    }
}

/// Refresh tokens beside a pair: the one that it replaced, and after it any that OAuth has not said to be dead.
pub(crate) type Others = Vec<Secret<String>>;

/// So many of them are kept.
const MOST_OTHERS: usize = 4;
/// Codes of one link are exchanged within so long of each other.
pub(crate) const AT_ONCE: Duration = Duration::from_mins(2);

/// The pair as it goes into a row.
pub(crate) fn seal_pair(
    key: &DataKey,
    account: &AccountId,
    generation: u64,
    pair: &Pair,
    others: &[Secret<String>],
) -> Result<Vec<u8>, Fault> {
    let mut texts = vec![
        pair.access_token.as_ref().map(|token| token.expose().as_str()),
        Some(pair.refresh_token.expose().as_str()),
        pair.scope.as_deref(),
    ];
    texts.extend(others.iter().map(|token| Some(token.expose().as_str())));
    let plain = fields(&texts);
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
    key.seal(&pair_aad(generation, account), &plain, &mut sealed)?;
    Ok(sealed)
}

fn read_pair(mut from: &[u8]) -> Option<(Pair, Others)> {
    let from = &mut from;
    let (access, refresh, scope) = (read_field(from)?, read_field(from)?, read_field(from)?);
    let mut others = Vec::new();
    while !from.is_empty() {
        others.push(Secret::new(read_field(from)??));
    }
    let (access_token, refresh_token) = (access.map(Secret::new), Secret::new(refresh?));
    Some((Pair { access_token, refresh_token, scope }, others))
}

/// Texts in a row, any of which may be missing.
pub(crate) fn fields(fields: &[Option<&str>]) -> Zeroizing<Vec<u8>> {
    let length: usize = fields.iter().flatten().map(|field| field.len()).sum();
    // One buffer of the full size: growing would leave copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length + 4 * fields.len()));
    for field in fields {
        let length = field.map_or(NONE, |field| u32::try_from(field.len()).unwrap_or(NONE));
        plain.put_u32(length);
        plain.extend_from_slice(field.unwrap_or_default().as_bytes());
    }
    plain
}

/// The same again; nothing when it is something else.
pub(crate) fn read_fields<const N: usize>(mut from: &[u8]) -> Option<[Option<String>; N]> {
    let mut found = [const { None }; N];
    for field in &mut found {
        *field = read_field(&mut from)?;
    }
    from.is_empty().then_some(found)
}

#[expect(clippy::option_option, reason = "cut short, absent, or there")]
fn read_field(from: &mut &[u8]) -> Option<Option<String>> {
    let length = from.try_get_u32().ok()?;
    if length == NONE {
        return Some(None);
    }
    let (text, rest) = from.split_at_checked(length as usize)?;
    *from = rest;
    Some(Some(str::from_utf8(text).ok()?.to_owned()))
}

/// What a pair is sealed together with: its account and its generation.
fn pair_aad(generation: u64, account: &AccountId) -> Vec<u8> {
    let mut aad = b"ringhookd/tokens/v1\0".to_vec();
    aad.put_u64(generation);
    aad.extend_from_slice(account.as_str().as_bytes());
    aad
}

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
    let Some(row) = token_row(txn, number)? else { return Ok(None) };
    let Some(account) = accounts::read_account(txn, number)?.and_then(|row| row.id) else { return Ok(None) };
    let Some(key) = keys::token_key(txn, number)? else { return Err(Damaged("keys").into()) };
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
    let before = token_row(txn, number).or_else(|fault| fault.of_one_record().map(|_| None))?;
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
        let before = token_row(txn, number).or_else(|fault| fault.of_one_record().map(|_| None))?;
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
    write_token_row(txn, number, &TokenRow { predecessor, sealed, ..row.clone() })?;
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
    write_token_row(txn, number, &row)?;
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
    write_token_row(txn, number, &TokenRow { predecessor, sealed, ..row })
}

/// Destroys tokens and their key, and what was under way with them.
pub(crate) fn destroy_tokens(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    txn.tables.tokens()?.remove(number)?;
    txn.tables.keys()?.remove((number, Purpose::Tokens as u8))?;
    journal::drop_refresh(txn, number)?;
    txn.staged.push(Staged::Tokens { account: number });
    Ok(())
}

pub(crate) fn token_row(txn: &mut Txn<'_>, number: u32) -> Result<Option<TokenRow>, Fault> {
    let table = txn.tables.tokens()?;
    let Some(value) = table.get(number)? else { return Ok(None) };
    Ok(Some(TokenRow::decode(number, value.value())?))
}

pub(crate) fn write_token_row(txn: &mut Txn<'_>, number: u32, row: &TokenRow) -> Result<(), Fault> {
    let value = row.encode(number);
    txn.tables.tokens()?.insert(number, value.as_slice())?;
    Ok(())
}

/// Never one that the account had before: the epoch grows over all accounts, also past tokens that were destroyed.
pub(crate) fn next_generation(txn: &mut Txn<'_>, before: Option<&TokenRow>) -> Result<u64, Fault> {
    let epoch = journal::raise_epoch(txn)?;
    Ok(before.map_or(epoch, |row| epoch.max(row.generation + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Vault;

    fn row() -> TokenRow {
        TokenRow {
            generation: 7,
            span: Span { renewed_at: Millis(1), expires_at: Millis(2) },
            end: Some(End::Revoked),
            told: Notice::Lapsing(2),
            predecessor: Predecessor::Untried,
            proof: Proof::Refused,
            sealed: vec![9; 40],
        }
    }

    #[test]
    fn rows_come_back_and_belong_to_their_account() {
        let value = row().encode(3);
        assert_eq!(TokenRow::decode(3, &value), Ok(row()));
        assert!(TokenRow::decode(4, &value).is_err());
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(TokenRow::decode(3, &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_pair_opens_only_for_its_account_and_generation() {
        let vault = Vault::from_hex("a1".repeat(32).as_bytes(), None).unwrap();
        let (key, _) = vault.fresh_key(1, Purpose::Tokens).unwrap();
        let (account, other) = (AccountId::new("a").unwrap(), AccountId::new("b").unwrap());
        let secret = |text: &str| Secret::new(text.to_owned());
        for access_token in [None, Some(secret("at"))] {
            let expected = access_token.as_ref().map(|token| token.expose().clone());
            let pair = Pair { access_token, refresh_token: secret("rt"), scope: Some(String::new()) };
            let sealed = seal_pair(&key, &account, 7, &pair, &[secret("before"), secret("other")]).unwrap();
            let row = TokenRow { sealed, ..row() };
            let (opened, others) = row.open(&key, &account).unwrap();
            assert_eq!(opened.access_token.map(|token| token.expose().clone()), expected);
            assert_eq!((opened.refresh_token.expose().as_str(), opened.scope.as_deref()), ("rt", Some("")));
            let others: Vec<_> = others.iter().map(|token| token.expose().as_str()).collect();
            assert_eq!(others, ["before", "other"]);
            assert!(row.open(&key, &other).is_err());
            assert!(TokenRow { generation: 8, ..row }.open(&key, &account).is_err());
        }
    }
}
