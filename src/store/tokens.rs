//! Token pairs at rest: what the schedule needs in the clear, the tokens themselves sealed for their account.

use bytes::{Buf, BufMut};
use redb::ReadableTable;
use zeroize::Zeroizing;

use super::batch::{Batch, Staged};
use super::codec::{Damaged, stamp, stamped};
use super::error::Fault;
use super::index::NO_USER;
use crate::domain::ids::AccountId;
use crate::domain::link::Change;
use crate::domain::refresh::{End, Notice, Proof, Record};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::vault::{DataKey, Purpose, SEAL_OVERHEAD};

const VERSION: u8 = 1;
/// Length that says "no such field".
const NONE: u32 = u32::MAX;

/// The token that was replaced by the present one, in case the present one turns out never to have been good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Predecessor {
    None = 0,
    Untried = 1,
    Tried = 2,
    /// Not exchanged: other tokens were put in over it.
    PutAside = 3,
}

impl Predecessor {
    pub(super) fn may_be_tried(self) -> bool {
        matches!(self, Self::Untried | Self::PutAside)
    }
}

/// A row of `tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenRow {
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
    pub(super) fn encode(&self, number: u32) -> Vec<u8> {
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

    pub(super) fn decode(number: u32, value: &[u8]) -> Result<Self, Damaged> {
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
            _ => return None,
        };
        let span = Span { renewed_at, expires_at };
        Some(Self { generation, span, end, told, predecessor, proof, sealed: from.to_vec() })
    }

    /// What the schedule goes by; `unsettled` is the journal's.
    pub(super) fn record(&self, unsettled: bool) -> Record {
        Record {
            renewed_at: self.span.renewed_at,
            expires_at: self.span.expires_at,
            end: self.end,
            unsettled,
            told: self.told,
            proof: self.proof,
        }
    }

    /// The tokens, and the refresh token before them.
    pub(super) fn open(&self, key: &DataKey, account: &AccountId) -> Result<(Pair, Previous), Fault> {
        let plain = key.open(&pair_aad(self.generation, account), &self.sealed);
        let plain = Zeroizing::new(plain.map_err(|_| Damaged("tokens"))?);
        Ok(read_pair(&plain).ok_or(Damaged("tokens"))?)
    }
}

/// Where a pair comes from that no refresh gave.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    PutIn,
    /// OAuth gave it for a code that came then.
    Code {
        at: Millis,
    },
}

/// The refresh token that a pair replaced.
pub(super) type Previous = Option<Secret<String>>;

/// The pair as it goes into a row.
pub(super) fn seal_pair(
    key: &DataKey,
    account: &AccountId,
    generation: u64,
    pair: &Pair,
    previous: Option<&Secret<String>>,
) -> Result<Vec<u8>, Fault> {
    let plain = fields(&[
        pair.access_token.as_ref().map(|token| token.expose().as_str()),
        Some(pair.refresh_token.expose().as_str()),
        pair.scope.as_deref(),
        previous.map(|token| token.expose().as_str()),
    ]);
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
    key.seal(&pair_aad(generation, account), &plain, &mut sealed)?;
    Ok(sealed)
}

fn read_pair(from: &[u8]) -> Option<(Pair, Previous)> {
    let [access, refresh, scope, previous] = read_fields(from)?;
    let (access_token, refresh_token) = (access.map(Secret::new), Secret::new(refresh?));
    Some((Pair { access_token, refresh_token, scope }, previous.map(Secret::new)))
}

/// Texts in a row, any of which may be missing.
pub(super) fn fields(fields: &[Option<&str>]) -> Zeroizing<Vec<u8>> {
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
pub(super) fn read_fields<const N: usize>(mut from: &[u8]) -> Option<[Option<String>; N]> {
    let mut found = [const { None }; N];
    for field in &mut found {
        let length = from.try_get_u32().ok()?;
        if length != NONE {
            let (text, rest) = from.split_at_checked(length as usize)?;
            from = rest;
            *field = Some(str::from_utf8(text).ok()?.to_owned());
        }
    }
    from.is_empty().then_some(found)
}

/// What a pair is sealed together with: its account and its generation.
fn pair_aad(generation: u64, account: &AccountId) -> Vec<u8> {
    let mut aad = b"ringhookd/tokens/v1\0".to_vec();
    aad.put_u64(generation);
    aad.extend_from_slice(account.as_str().as_bytes());
    aad
}

impl Batch<'_> {
    /// Gives an account tokens that no refresh brought: a new link, whatever was there before.
    pub(super) fn put_tokens(
        &mut self,
        number: u32,
        account: &AccountId,
        pair: &Pair,
        span: Span,
        origin: Origin,
    ) -> Result<(), Fault> {
        // What does not open is of no use any more, and is replaced here.
        let before = self.token_row(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
        let (present, replaced) = match self.sound_tokens(number)? {
            Some(opened) => (Some(opened.pair.refresh_token), opened.previous),
            None => (None, None),
        };
        let is_same = |known: &Option<Secret<String>>| {
            known.as_ref().is_some_and(|token| token.expose() == pair.refresh_token.expose())
        };
        let lives = before.as_ref().is_some_and(|row| row.end.is_none());
        let exchanged = before.as_ref().is_some_and(|row| row.predecessor != Predecessor::PutAside);
        if lives && (is_same(&present) || exchanged && is_same(&replaced)) {
            // Put in again, after it may have been exchanged: what OAuth gave for it is what lives.
            return Ok(());
        }
        let key = match self.token_key(number) {
            Ok(Some(key)) => key,
            Ok(None) => self.fresh_key(number, Purpose::Tokens)?,
            Err(fault) => fault.of_one_record().and_then(|_| self.fresh_key(number, Purpose::Tokens))?,
        };
        let generation = self.next_generation(before.as_ref())?;
        let sealed = seal_pair(&key, account, generation, pair, present.as_ref())?;
        let predecessor = if present.is_some() { Predecessor::PutAside } else { Predecessor::None };
        let told = before.map_or(Notice::Fresh, |row| row.told);
        let proof = match origin {
            Origin::PutIn => Proof::Untried,
            Origin::Code { .. } => Proof::Honoured,
        };
        let row = TokenRow { generation, span, end: None, told, predecessor, proof, sealed };
        self.write_token_row(number, &row)?;
        self.drop_turn(number)?;
        // New tokens are a new link: a removal from before them is old news.
        let row = self.read_account(number)?.ok_or(Damaged("accounts"))?;
        let (change, linked_at) = match origin {
            Origin::PutIn => (Change::Tokens { has_user: row.user != NO_USER }, self.now),
            Origin::Code { at } => (Change::Code, at),
        };
        let state = row.state.after(change);
        self.set_link(number, &super::accounts::AccountRow { state, linked_at, ..row })?;
        self.staged.push(Staged::Tokens { account: number });
        Ok(())
    }

    /// Destroys tokens and their key, and what was under way with them.
    pub(super) fn destroy_tokens(&mut self, number: u32) -> Result<(), Fault> {
        self.tables.tokens()?.remove(number)?;
        self.tables.keys()?.remove((number, Purpose::Tokens as u8))?;
        self.drop_turn(number)?;
        self.staged.push(Staged::Tokens { account: number });
        Ok(())
    }

    pub(super) fn token_row(&mut self, number: u32) -> Result<Option<TokenRow>, Fault> {
        let table = self.tables.tokens()?;
        let Some(value) = table.get(number)? else { return Ok(None) };
        Ok(Some(TokenRow::decode(number, value.value())?))
    }

    pub(super) fn write_token_row(&mut self, number: u32, row: &TokenRow) -> Result<(), Fault> {
        let value = row.encode(number);
        self.tables.tokens()?.insert(number, value.as_slice())?;
        Ok(())
    }

    /// The key of an account's tokens.
    pub(super) fn token_key(&mut self, number: u32) -> Result<Option<DataKey>, Fault> {
        let Some(wrapped) = self.wrapped_key(number, Purpose::Tokens)? else { return Ok(None) };
        Ok(Some(self.shared.vault.unwrap(number, Purpose::Tokens, &wrapped)?))
    }

    /// Never one that the account had before: the epoch grows over all accounts, also past tokens that were destroyed.
    pub(super) fn next_generation(&mut self, before: Option<&TokenRow>) -> Result<u64, Fault> {
        let epoch = self.raise_epoch()?;
        Ok(before.map_or(epoch, |row| epoch.max(row.generation + 1)))
    }
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
            let sealed = seal_pair(&key, &account, 7, &pair, Some(&secret("before"))).unwrap();
            let row = TokenRow { sealed, ..row() };
            let (opened, previous) = row.open(&key, &account).unwrap();
            assert_eq!(opened.access_token.map(|token| token.expose().clone()), expected);
            assert_eq!((opened.refresh_token.expose().as_str(), opened.scope.as_deref()), ("rt", Some("")));
            assert_eq!(previous.unwrap().expose(), "before");
            assert!(row.open(&key, &other).is_err());
            assert!(TokenRow { generation: 8, ..row }.open(&key, &account).is_err());
        }
    }
}
