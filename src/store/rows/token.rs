//! A pair of tokens as it lies on disk: what the schedule needs in the clear, the tokens themselves sealed for their account.

use bytes::{Buf, BufMut};
use zeroize::Zeroizing;

use super::fields::{fields, read_field};
use super::row::{Damaged, Row, Table, rest, version};
use super::text::millis;
use crate::domain::ids::AccountId;
use crate::domain::refresh::{End, Notice, Proof, Record};
use crate::domain::secret::Secret;
use crate::domain::tokens::{Pair, Span};
use crate::vault::{DataKey, SEAL_OVERHEAD, VaultError};

const VERSION: u8 = 1;

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

impl Row for TokenRow {
    const TABLE: Table = Table::Tokens;
    /// The account's number.
    type Key = u32;

    fn write(&self, out: &mut Vec<u8>) {
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
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let generation = from.try_get_u64().ok()?;
        let renewed_at = millis(from)?;
        let expires_at = millis(from)?;
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
        Some(Self { generation, span, end, told, predecessor, proof, sealed: rest(from) })
    }
}

impl TokenRow {
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
    pub(crate) fn open(&self, key: &DataKey, account: &AccountId) -> Result<(Pair, Others), Damaged> {
        let plain = key.open(&pair_aad(self.generation, account), &self.sealed);
        let plain = Zeroizing::new(plain.map_err(|_| Self::TABLE.damaged())?);
        read_pair(&plain).ok_or(Self::TABLE.damaged())
    }
}

/// Refresh tokens beside a pair: the one that it replaced, and after it any that OAuth has not said to be dead.
pub(crate) type Others = Vec<Secret<String>>;

/// The pair as it goes into a row.
pub(crate) fn seal_pair(
    key: &DataKey,
    account: &AccountId,
    generation: u64,
    pair: &Pair,
    others: &[Secret<String>],
) -> Result<Vec<u8>, VaultError> {
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

/// What a pair is sealed together with: its account and its generation.
fn pair_aad(generation: u64, account: &AccountId) -> Vec<u8> {
    let mut aad = b"ringhookd/tokens/v1\0".to_vec();
    aad.put_u64(generation);
    aad.extend_from_slice(account.as_str().as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;
    use crate::domain::time::Millis;
    use crate::vault::{Purpose, Vault};

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
        is_checked(&row(), 3, 4);
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
