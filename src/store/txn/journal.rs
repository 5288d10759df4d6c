//! The refresh journal: rows of refreshes that are under way, and the epoch that numbers them.

use crate::store::rows::facts::EPOCH;
use bytes::{Buf, BufMut};
use redb::ReadableTable;

use super::transaction::Txn;
use crate::domain::ids::AccountId;
use crate::domain::refresh::{End, Record};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::Span;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::rows::codec::{Damaged, stamp, stamped};
use crate::vault::DataKey;

const VERSION: u8 = 1;

/// Which token of an account is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Which {
    Current = 0,
    /// The one that the current one replaced.
    Predecessor = 1,
}

/// The right to send one refresh token, once, which is noted on disk.
#[derive(Debug)]
pub struct RefreshIntent {
    pub number: u32,
    pub account: AccountId,
    /// Of this attempt alone. It is the store's epoch since it began.
    pub fence: u64,
    /// What was sent before is sent again until it is answered, whatever was asked for.
    pub which: Which,
    /// It was sent before, and nobody knows what came of that.
    pub again: bool,
    pub token: Secret<String>,
    /// An answer to an earlier attempt that nobody could read, with the time of its request.
    pub kept: Option<(Secret<Vec<u8>>, Millis)>,
    pub(crate) key: DataKey,
}

impl RefreshIntent {
    /// An answer as it may lie outside the store until [`crate::store::Outbox::take_back_answer`].
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal_answer(&self, answer: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(seal_answer(&self.key, self.fence, &self.account, answer)?)
    }
}

/// Why nothing may be sent for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRefresh {
    /// It has no such token, or none that opens.
    NoToken,
    /// Somebody else's attempt has not ended.
    Taken,
}

/// What the schedule has to know of an account's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRecord {
    pub number: u32,
    pub record: Record,
    /// The token that the present one replaced was never tried in its place.
    pub predecessor: bool,
    /// Which of two that OAuth gave at about the same time lives is not known.
    pub rival: bool,
}

/// What a worker may be given.
#[derive(Debug)]
pub struct Access {
    pub number: u32,
    pub generation: u64,
    pub token: Option<Secret<String>>,
    pub span: Span,
    pub end: Option<End>,
}

/// A row of `journal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub fence: u64,
    /// Of the pair whose token was sent.
    pub generation: u64,
    pub which: Which,
    pub sent_at: Millis,
    /// What came of the attempt before is not known either.
    pub again: bool,
    /// What came of it is not known.
    pub unsettled: bool,
    /// The attempt that the kept answer is to, and when its request was sent.
    pub answer_fence: u64,
    pub answered_for: Millis,
    pub answer: Option<Vec<u8>>,
}

impl Entry {
    fn encode(&self, number: u32) -> Vec<u8> {
        let answer = self.answer.as_deref();
        let mut out = Vec::with_capacity(64 + answer.map_or(0, <[u8]>::len));
        out.put_u8(VERSION);
        out.put_u64(self.fence);
        out.put_u64(self.generation);
        out.put_u8(self.which as u8);
        out.put_u64(self.sent_at.0);
        out.put_u8(u8::from(self.again) | u8::from(self.unsettled) << 1 | u8::from(answer.is_some()) << 2);
        out.put_u64(self.answer_fence);
        out.put_u64(self.answered_for.0);
        out.extend_from_slice(answer.unwrap_or_default());
        stamp("journal", &number.to_be_bytes(), &mut out);
        out
    }

    pub(crate) fn decode(number: u32, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("journal", &number.to_be_bytes(), value)?;
        Self::read(body).ok_or(Damaged("journal"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let (fence, generation) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
        let which = match from.try_get_u8().ok()? {
            0 => Which::Current,
            1 => Which::Predecessor,
            _ => return None,
        };
        let sent_at = Millis(from.try_get_u64().ok()?);
        let bits = from.try_get_u8().ok()?;
        let (answer_fence, answered_for) = (from.try_get_u64().ok()?, Millis(from.try_get_u64().ok()?));
        let answer = (bits & 4 != 0).then(|| from.to_vec());
        let (again, unsettled) = (bits & 1 != 0, bits & 2 != 0);
        Some(Self { fence, generation, which, sent_at, again, unsettled, answer_fence, answered_for, answer })
    }
}

pub(crate) fn seal_answer(
    key: &DataKey,
    fence: u64,
    account: &AccountId,
    answer: &[u8],
) -> Result<Vec<u8>, Fault> {
    let mut sealed = Vec::new();
    key.seal(&answer_aad(fence, account), answer, &mut sealed)?;
    Ok(sealed)
}

pub(crate) fn open_answer(
    key: &DataKey,
    fence: u64,
    account: &AccountId,
    sealed: &[u8],
) -> Option<Secret<Vec<u8>>> {
    key.open(&answer_aad(fence, account), sealed).ok().map(Secret::new)
}

/// What an answer is sealed together with: its account and its attempt.
fn answer_aad(fence: u64, account: &AccountId) -> Vec<u8> {
    let mut aad = b"ringhookd/answer/v1\0".to_vec();
    aad.put_u64(fence);
    aad.extend_from_slice(account.as_str().as_bytes());
    aad
}

/// The next number of the epoch.
pub(crate) fn raise_epoch(txn: &mut Txn<'_>) -> Result<u64, Fault> {
    txn.core.epoch += 1;
    let epoch = txn.core.epoch;
    txn.note_fact(EPOCH, &epoch.to_be_bytes())?;
    Ok(epoch)
}

/// Whether a refresh is under way, or its outcome unknown.
pub(crate) fn is_unsettled(txn: &mut Txn<'_>, number: u32) -> Result<bool, Fault> {
    Ok(txn.core.refreshing.contains_key(&number) || journal(txn, number)?.is_some())
}

/// Forgets what is under way with an account's tokens.
pub(crate) fn drop_refresh(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    txn.core.refreshing.remove(&number);
    txn.tables.journal()?.remove(number)?;
    Ok(())
}

pub(crate) fn close_entry(txn: &mut Txn<'_>, number: u32, entry: &Entry) -> Result<(), Fault> {
    if entry.unsettled || entry.answer.is_some() {
        return write_journal(txn, number, entry);
    }
    txn.tables.journal()?.remove(number)?;
    Ok(())
}

pub(crate) fn journal(txn: &mut Txn<'_>, number: u32) -> Result<Option<Entry>, Fault> {
    let table = txn.tables.journal()?;
    let Some(value) = table.get(number)? else { return Ok(None) };
    // One that can't be read says no more than that something may have been sent.
    Ok(Entry::decode(number, value.value()).ok())
}

pub(crate) fn write_journal(txn: &mut Txn<'_>, number: u32, entry: &Entry) -> Result<(), Fault> {
    let value = entry.encode(number);
    txn.tables.journal()?.insert(number, value.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_whole() {
        for answer in [None, Some(vec![]), Some(vec![1, 2, 3])] {
            for bits in 0..4 {
                let entry = Entry {
                    fence: 3,
                    generation: 2,
                    which: if bits == 0 { Which::Current } else { Which::Predecessor },
                    sent_at: Millis(5),
                    again: bits & 1 != 0,
                    unsettled: bits & 2 != 0,
                    answer_fence: 1,
                    answered_for: Millis(4),
                    answer: answer.clone(),
                };
                let value = entry.encode(9);
                assert_eq!(Entry::decode(9, &value), Ok(entry));
                assert!(Entry::decode(8, &value).is_err());
            }
        }
    }
}
