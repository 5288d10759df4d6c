//! A refresh that is under way, as it lies on disk, and an answer that nobody could read, sealed.

use bytes::{Buf, BufMut};

use super::row::{Row, Table, rest, version};
use super::text::millis;
use crate::domain::ids::AccountId;
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::vault::{DataKey, VaultError};

const VERSION: u8 = 1;

/// Which token of an account is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Which {
    Current = 0,
    /// The one that the current one replaced.
    Predecessor = 1,
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

impl Row for Entry {
    const TABLE: Table = Table::Journal;
    /// The account's number.
    type Key = u32;

    fn write(&self, out: &mut Vec<u8>) {
        let answer = self.answer.as_deref();
        out.put_u8(VERSION);
        out.put_u64(self.fence);
        out.put_u64(self.generation);
        out.put_u8(self.which as u8);
        out.put_u64(self.sent_at.0);
        out.put_u8(u8::from(self.again) | u8::from(self.unsettled) << 1 | u8::from(answer.is_some()) << 2);
        out.put_u64(self.answer_fence);
        out.put_u64(self.answered_for.0);
        out.extend_from_slice(answer.unwrap_or_default());
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let (fence, generation) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
        let which = match from.try_get_u8().ok()? {
            0 => Which::Current,
            1 => Which::Predecessor,
            _ => return None,
        };
        let sent_at = millis(from)?;
        let bits = from.try_get_u8().ok()?;
        let (answer_fence, answered_for) = (from.try_get_u64().ok()?, millis(from)?);
        let answer = (bits & 4 != 0).then(|| rest(from));
        let (again, unsettled) = (bits & 1 != 0, bits & 2 != 0);
        Some(Self { fence, generation, which, sent_at, again, unsettled, answer_fence, answered_for, answer })
    }
}

pub(crate) fn seal_answer(
    key: &DataKey,
    fence: u64,
    account: &AccountId,
    answer: &[u8],
) -> Result<Vec<u8>, VaultError> {
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

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
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
                is_checked(&entry, 9, 8);
            }
        }
    }
}
