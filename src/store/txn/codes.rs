//! Authorization codes at rest: on disk before Ring has its 200, sealed until their minute is over, remembered longer than
//! they live, since one that comes again must not be exchanged again.

use std::time::Duration;

use bytes::{Buf, BufMut};
use redb::ReadableTable;
use sha2::{Digest, Sha256};

use super::tokens::{fields, read_fields};
use super::transaction::Txn;
use super::{keys, unidentified};
use crate::domain::code::{CodeEnd, Grant};
use crate::domain::refresh;
use crate::domain::ring_time::RingTime;
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::store::kv::error::Fault;
use crate::store::kv::tables::{CODES, begin_read};
use crate::store::memory::index::NO_ACCOUNT;
use crate::store::memory::shared::Shared;
use crate::store::rows::codec::{Damaged, stamp, stamped};
use crate::vault::{DataKey, Purpose};

const VERSION: u8 = 1;
/// How long one is remembered that was exchanged: an OAuth that sees it again may revoke what it gave for it (RFC 6749 §4.1.2).
const EXCHANGED_FOR: Duration = refresh::LIFE;
/// And any other, which may be made up.
const OTHERS_FOR: Duration = Duration::from_hours(1);
/// A code that is older got its answer, or will get none.
const LONGEST_WAY: Duration = Duration::from_mins(10);
/// Between two looks for what is too old.
const CLEANING: Duration = Duration::from_mins(1);

/// Names a code without telling it: the start of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeId([u8; 16]);

/// What a code was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptCode {
    New(CodeId),
    /// It came before, and is on its way, or should be.
    Waiting(WaitingCode),
    /// It came before, and is at its end.
    Known,
}

/// A code that is not at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingCode {
    pub id: CodeId,
    pub received_at: Millis,
    /// How often it may have been sent.
    pub tries: u8,
}

/// Tokens that OAuth gave for a code.
#[derive(Debug)]
pub struct Exchanged {
    pub pair: Pair,
    pub span: Span,
    /// When the code came, at Ring.
    pub came: RingTime,
}

/// Codes that are not at their end.
pub(crate) fn waiting(shared: &Shared) -> Result<Vec<WaitingCode>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let mut waiting = Vec::new();
    for row in txn.open_table(CODES)?.iter()? {
        let (key, value) = row?;
        let Ok(id) = key.value().try_into().map(CodeId) else { continue };
        // One that does not read can't be exchanged either.
        let Ok(CodeRow { received_at, tries, end: None, .. }) = CodeRow::decode(&id, value.value()) else {
            continue;
        };
        waiting.push(WaitingCode { id, received_at, tries });
    }
    Ok(waiting)
}

impl CodeId {
    fn of(code: &Secret<String>) -> Self {
        let digest = Sha256::digest(code.expose().as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// A row of `codes`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CodeRow {
    received_at: Millis,
    tries: u8,
    /// Nothing while it is on its way.
    end: Option<CodeEnd>,
    /// Empty at its end.
    sealed: Vec<u8>,
}

impl CodeRow {
    fn waiting(&self, id: CodeId) -> WaitingCode {
        WaitingCode { id, received_at: self.received_at, tries: self.tries }
    }

    fn encode(&self, id: CodeId) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.sealed.len());
        out.put_u8(VERSION);
        out.put_u64(self.received_at.0);
        out.put_u8(self.tries);
        out.put_u8(self.end.map_or(0, |end| end as u8));
        out.extend_from_slice(&self.sealed);
        stamp("codes", &id.0, &mut out);
        out
    }

    fn decode(id: &CodeId, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("codes", &id.0, value)?;
        Self::read(body).ok_or(Damaged("codes"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let received_at = Millis(from.try_get_u64().ok()?);
        let tries = from.try_get_u8().ok()?;
        let end = match from.try_get_u8().ok()? {
            0 => None,
            byte => Some(CodeEnd::from_u8(byte)?),
        };
        Some(Self { received_at, tries, end, sealed: from.to_vec() })
    }
}

fn open_code(key: &DataKey, id: CodeId, sealed: &[u8]) -> Option<Grant> {
    let plain = zeroize::Zeroizing::new(key.open(&code_aad(id), sealed).ok()?);
    let [code, verifier] = read_fields(&plain)?;
    Some(Grant { code: Secret::new(code?), verifier: verifier.map(Secret::new) })
}

/// What a code is sealed together with: its own name.
fn code_aad(id: CodeId) -> Vec<u8> {
    [b"ringhookd/code/v1\0", &id.0[..]].concat()
}

pub(crate) fn keep_code(txn: &mut Txn<'_>, grant: &Grant) -> Result<KeptCode, Fault> {
    let id = CodeId::of(&grant.code);
    if let Some(value) = txn.tables.codes()?.get(&id.0[..])? {
        let row = CodeRow::decode(&id, value.value());
        let waiting = row.ok().filter(|row| row.end.is_none());
        return Ok(waiting.map_or(KeptCode::Known, |row| KeptCode::Waiting(row.waiting(id))));
    }
    if txn.now.since(txn.core.codes_cleaned_at) >= CLEANING || txn.now < txn.core.codes_cleaned_at {
        txn.core.codes_cleaned_at = txn.now;
        forget_old_codes(txn)?;
    }
    let key = match codes_key(txn)? {
        Some(key) => key,
        None => keys::fresh_key(txn, NO_ACCOUNT, Purpose::Tokens)?,
    };
    let plain = fields(&[Some(grant.code.expose()), grant.verifier.as_ref().map(|v| v.expose().as_str())]);
    let mut sealed = Vec::new();
    key.seal(&code_aad(id), &plain, &mut sealed)?;
    let row = CodeRow { received_at: txn.now, tries: 0, end: None, sealed };
    write_code(txn, id, &row)?;
    Ok(KeptCode::New(id))
}

pub(crate) fn send_code(txn: &mut Txn<'_>, id: CodeId) -> Result<Option<Grant>, Fault> {
    let Some(row) = code(txn, id)?.filter(|row| row.end.is_none()) else { return Ok(None) };
    let Some(grant) = codes_key(txn)?.and_then(|key| open_code(&key, id, &row.sealed)) else {
        end_code(txn, id, CodeEnd::Lost)?;
        return Ok(None);
    };
    let tries = row.tries.saturating_add(1);
    write_code(txn, id, &CodeRow { tries, ..row })?;
    Ok(Some(grant))
}

pub(crate) fn unsend_code(txn: &mut Txn<'_>, id: CodeId) -> Result<(), Fault> {
    let Some(row) = code(txn, id)?.filter(|row| row.end.is_none()) else { return Ok(()) };
    let tries = row.tries.saturating_sub(1);
    write_code(txn, id, &CodeRow { tries, ..row })
}

pub(crate) fn end_code(txn: &mut Txn<'_>, id: CodeId, end: CodeEnd) -> Result<(), Fault> {
    let Some(row) = code(txn, id)?.filter(|row| row.end.is_none()) else { return Ok(()) };
    write_code(txn, id, &CodeRow { end: Some(end), sealed: Vec::new(), ..row })
}

pub(crate) fn exchanged_code(txn: &mut Txn<'_>, id: CodeId, exchanged: &Exchanged) -> Result<u32, Fault> {
    end_code(txn, id, CodeEnd::Exchanged)?;
    unidentified::arrive_by_code(txn, &exchanged.pair, exchanged.span, exchanged.came)
}

/// Whether a code may be on its way to OAuth.
pub(crate) fn any_waiting(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let now = txn.now;
    for row in txn.tables.codes()?.iter()? {
        let (key, value) = row?;
        let Ok(id) = key.value().try_into().map(CodeId) else { continue };
        let row = CodeRow::decode(&id, value.value());
        if row.is_ok_and(|row| row.end.is_none() && now.since(row.received_at) <= LONGEST_WAY) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Codes are nobody's yet: they are sealed under the key of "no account".
fn codes_key(txn: &mut Txn<'_>) -> Result<Option<DataKey>, Fault> {
    keys::token_key(txn, NO_ACCOUNT).or_else(|fault| {
        let error = fault.of_one_record()?;
        tracing::error!(%error, "the key of authorization codes does not open; a new one is made");
        Ok(None)
    })
}

fn forget_old_codes(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let now = txn.now;
    let keep = |key: &[u8], value: &[u8]| {
        let id = key.try_into().map(CodeId).ok()?;
        let CodeRow { received_at, end, .. } = CodeRow::decode(&id, value).ok()?;
        let long = if end == Some(CodeEnd::Exchanged) { EXCHANGED_FOR } else { OTHERS_FOR };
        // One without an end has somebody who will tell it.
        Some(end.is_none() || now.since(received_at) <= long)
    };
    txn.tables.codes()?.retain(|key, value| keep(key, value).unwrap_or(false))?;
    Ok(())
}

fn code(txn: &mut Txn<'_>, id: CodeId) -> Result<Option<CodeRow>, Fault> {
    let table = txn.tables.codes()?;
    let Some(value) = table.get(&id.0[..])? else { return Ok(None) };
    Ok(CodeRow::decode(&id, value.value()).ok())
}

fn write_code(txn: &mut Txn<'_>, id: CodeId, row: &CodeRow) -> Result<(), Fault> {
    let value = row.encode(id);
    txn.tables.codes()?.insert(&id.0[..], value.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Vault;

    #[test]
    fn rows_come_back_and_a_code_opens_only_under_its_name() {
        let (id, other) = (CodeId([7; 16]), CodeId([8; 16]));
        for end in CodeEnd::ALL.map(Some).into_iter().chain([None]) {
            let row = CodeRow { received_at: Millis(5), tries: 1, end, sealed: vec![1, 2] };
            let value = row.encode(id);
            assert_eq!(CodeRow::decode(&id, &value), Ok(row));
            assert!(CodeRow::decode(&other, &value).is_err());
        }
        let vault = Vault::from_hex("a1".repeat(32).as_bytes(), None).unwrap();
        let (key, _) = vault.fresh_key(0, Purpose::Tokens).unwrap();
        let mut sealed = Vec::new();
        key.seal(&code_aad(id), &fields(&[Some("code"), None]), &mut sealed).unwrap();
        let grant = open_code(&key, id, &sealed).unwrap();
        assert!(grant.code.expose() == "code" && grant.verifier.is_none());
        assert!(open_code(&key, other, &sealed).is_none());
    }
}
