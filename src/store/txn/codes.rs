//! Authorization codes at rest: on disk before Ring has its 200, sealed until their minute is over, remembered longer than
//! they live, since one that comes again must not be exchanged again.

use std::time::Duration;

use super::transaction::Txn;
use super::{keys, unidentified};
use crate::domain::code::{CodeEnd, Grant};
use crate::domain::refresh;
use crate::domain::ring_time::RingTime;
use crate::domain::time::Millis;
use crate::domain::tokens::{Pair, Span};
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_ACCOUNT;
use crate::store::memory::shared::Shared;
use crate::store::rows::code::{CodeId, CodeRow, code_aad, open_code};
use crate::store::rows::fields::fields;
use crate::vault::{DataKey, Purpose};

/// How long one is remembered that was exchanged: an OAuth that sees it again may revoke what it gave for it (RFC 6749 §4.1.2).
const EXCHANGED_FOR: Duration = refresh::LIFE;
/// And any other, which may be made up.
const OTHERS_FOR: Duration = Duration::from_hours(1);
/// A code that is older got its answer, or will get none.
const LONGEST_WAY: Duration = Duration::from_mins(10);
/// Between two looks for what is too old.
const CLEANING: Duration = Duration::from_mins(1);

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
    let mut waiting = Vec::new();
    for found in shared.view()?.table::<CodeRow>()?.range(..)? {
        let found = found?;
        // One that does not read can't be exchanged either.
        if let (Ok(id), Ok(row)) = (found.key(), found.row())
            && row.end.is_none()
        {
            waiting.push(waiting_code(id, &row));
        }
    }
    Ok(waiting)
}

fn waiting_code(id: CodeId, row: &CodeRow) -> WaitingCode {
    WaitingCode { id, received_at: row.received_at, tries: row.tries }
}

pub(crate) fn keep_code(txn: &mut Txn<'_>, grant: &Grant) -> Result<KeptCode, Fault> {
    let id = CodeId::of(&grant.code);
    if let Some(found) = txn.tables.get::<CodeRow>(id)? {
        let waiting = found.row().ok().filter(|row| row.end.is_none());
        return Ok(waiting.map_or(KeptCode::Known, |row| KeptCode::Waiting(waiting_code(id, &row))));
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
    txn.tables.put(id, &row)?;
    Ok(KeptCode::New(id))
}

pub(crate) fn send_code(txn: &mut Txn<'_>, id: CodeId) -> Result<Option<Grant>, Fault> {
    let Some(row) = code(txn, id)?.filter(|row| row.end.is_none()) else { return Ok(None) };
    let Some(grant) = codes_key(txn)?.and_then(|key| open_code(&key, id, &row.sealed)) else {
        end_code(txn, id, CodeEnd::Lost)?;
        return Ok(None);
    };
    let tries = row.tries.saturating_add(1);
    txn.tables.put(id, &CodeRow { tries, ..row })?;
    Ok(Some(grant))
}

pub(crate) fn unsend_code(txn: &mut Txn<'_>, id: CodeId) -> Result<(), Fault> {
    let Some(row) = code(txn, id)?.filter(|row| row.end.is_none()) else { return Ok(()) };
    let tries = row.tries.saturating_sub(1);
    txn.tables.put(id, &CodeRow { tries, ..row })
}

pub(crate) fn end_code(txn: &mut Txn<'_>, id: CodeId, end: CodeEnd) -> Result<(), Fault> {
    let Some(row) = code(txn, id)?.filter(|row| row.end.is_none()) else { return Ok(()) };
    txn.tables.put(id, &CodeRow { end: Some(end), sealed: Vec::new(), ..row })
}

pub(crate) fn exchanged_code(txn: &mut Txn<'_>, id: CodeId, exchanged: &Exchanged) -> Result<u32, Fault> {
    end_code(txn, id, CodeEnd::Exchanged)?;
    unidentified::arrive_by_code(txn, &exchanged.pair, exchanged.span, exchanged.came)
}

/// Whether a code may be on its way to OAuth.
pub(crate) fn any_waiting(txn: &mut Txn<'_>) -> Result<bool, Fault> {
    let now = txn.now;
    for found in txn.tables.range::<CodeRow>(..)? {
        let row = found?.row();
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
    let keep = |CodeRow { received_at, end, .. }: CodeRow| {
        let long = if end == Some(CodeEnd::Exchanged) { EXCHANGED_FOR } else { OTHERS_FOR };
        // One without an end has somebody who will tell it.
        end.is_none() || now.since(received_at) <= long
    };
    txn.tables.retain(|row| row.is_ok_and(keep))
}

fn code(txn: &mut Txn<'_>, id: CodeId) -> Result<Option<CodeRow>, Fault> {
    Ok(txn.tables.get(id)?.and_then(|found| found.row().ok()))
}
