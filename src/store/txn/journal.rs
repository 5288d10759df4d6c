//! The journal of refreshes: what is about to be sent is on disk before it is sent, and what came back before it is used.
//!
//! ```text
//! begin_refresh ──commit──▶ request ──▶ answer ──settle_refresh──▶ new pair, entry gone
//!      entry: sent                        │
//!                                         ├── unknown: the entry stays; the same token is sent again
//!                                         ├── unreadable: kept in the entry, sealed
//!                                         └── refused, or not sent: entry gone
//! ```
//!
//! An entry that is found when the next turn begins means that nobody knows what came of the one before.

use std::time::Duration;

use bytes::{Buf, BufMut};
use redb::ReadableTable;

use super::batch::Batch;
use super::tokens::{Others, Predecessor, TokenRow, seal_pair};
use crate::domain::heard::{Heard, Objection};
use crate::domain::ids::AccountId;
use crate::domain::refresh::{End, LIFE, Notice, Proof, Record};
use crate::domain::secret::Secret;
use crate::domain::time::Millis;
use crate::domain::tokens::{Granted, Pair, Span, TokenPair};
use crate::store::kv::error::Fault;
use crate::store::kv::error::StoreError;
use crate::store::memory::index::seconds;
use crate::store::rows::codec::{Damaged, stamp, stamped};
use crate::vault::DataKey;

const VERSION: u8 = 1;
/// Name of the epoch among the daemon's facts.
pub(crate) const EPOCH: &str = "epoch";

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
pub struct Turn {
    pub number: u32,
    pub account: AccountId,
    /// Of this turn alone. It is the store's epoch since it began.
    pub fence: u64,
    /// What was sent before is sent again until it is answered, whatever was asked for.
    pub which: Which,
    /// It was sent before, and nobody knows what came of that.
    pub again: bool,
    pub token: Secret<String>,
    /// An answer to an earlier turn that nobody could read, with the time of its request.
    pub kept: Option<(Secret<Vec<u8>>, Millis)>,
    key: DataKey,
}

impl Turn {
    /// An answer as it may lie outside the store until [`super::Outbox::take_back_answer`].
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal_answer(&self, answer: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(seal_answer(&self.key, self.fence, &self.account, answer)?)
    }
}

/// Why nothing may be sent for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTurn {
    /// It has no such token, or none that opens.
    NoToken,
    /// Somebody else's turn has not ended.
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

pub(crate) fn read_epoch(fact: &[u8]) -> Result<u64, Fault> {
    Ok(u64::from_be_bytes(fact.try_into().map_err(|_| Damaged("meta"))?))
}

impl Batch<'_> {
    pub(crate) fn begin_refresh(
        &mut self,
        number: u32,
        which: Which,
        lease: Duration,
    ) -> Result<Result<Turn, NoTurn>, Fault> {
        if let Some(&(_, until)) = self.core.turns.get(&number) {
            // Further off than it can be: the clock was set back since.
            let left = until.since(self.now);
            if !left.is_zero() && left <= lease {
                return Ok(Err(NoTurn::Taken));
            }
        }
        let Some(Opened { row, key, account, pair, others }) = self.sound_tokens(number)? else {
            return Ok(Err(NoTurn::NoToken));
        };
        let before = self.journal(number)?.filter(|entry| entry.generation == row.generation);
        // What was sent is sent again until OAuth has answered it.
        let open = before.as_ref().filter(|entry| entry.unsettled).map(|entry| entry.which);
        let which = open.unwrap_or(which);
        let token = match which {
            Which::Current => pair.refresh_token,
            Which::Predecessor => {
                match others.into_iter().next().filter(|_| row.predecessor.may_be_tried()) {
                    Some(token) => token,
                    None => return Ok(Err(NoTurn::NoToken)),
                }
            }
        };
        let answer = before.as_ref().and_then(|entry| entry.answer.clone());
        let kept = match answer.as_deref() {
            Some(sealed) => {
                open_answer(&key, before.as_ref().map_or(0, |b| b.answer_fence), &account, sealed)
            }
            None => None,
        };
        let kept = kept.map(|plain| (plain, before.as_ref().map_or(self.now, |entry| entry.answered_for)));
        let fence = self.raise_epoch()?;
        let entry = Entry {
            fence,
            generation: row.generation,
            which,
            sent_at: self.now,
            again: open.is_some(),
            unsettled: true,
            answer_fence: before.as_ref().map_or(0, |entry| entry.answer_fence),
            answered_for: before.as_ref().map_or(Millis(0), |entry| entry.answered_for),
            answer,
        };
        self.write_journal(number, &entry)?;
        self.core.turns.insert(number, (fence, self.now.plus(lease)));
        Ok(Ok(Turn { number, account, fence, which, again: open.is_some(), token, kept, key }))
    }

    pub(crate) fn settle_refresh(
        &mut self,
        number: u32,
        fence: u64,
        at: Millis,
        heard: &Heard<Granted>,
    ) -> Result<Option<u64>, Fault> {
        if self.core.turns.get(&number).is_some_and(|&(of, _)| of == fence) {
            self.core.turns.remove(&number);
        }
        if matches!(heard, Heard::Unknown(_)) {
            return Ok(None);
        }
        let Some(mut entry) = self.journal(number)?.filter(|entry| entry.fence == fence) else {
            return Ok(None);
        };
        let Some(opened) = self.sound_tokens(number)?.filter(|o| o.row.generation == entry.generation) else {
            return Ok(None);
        };
        match heard {
            Heard::Unknown(_) => {}
            Heard::Answer(Granted::Pair(pair)) => {
                return self.renew(number, entry.which, opened, pair, at).map(Some);
            }
            Heard::Answer(Granted::Unreadable(answer)) => {
                entry.answer = Some(seal_answer(&opened.key, fence, &opened.account, answer.expose())?);
                (entry.answer_fence, entry.answered_for) = (fence, entry.sent_at);
                self.write_journal(number, &entry)?;
            }
            Heard::Refused(Objection::Grant) => {
                // The present one was refused before its predecessor is tried.
                let row = TokenRow { proof: Proof::Refused, ..opened.row };
                if entry.which == Which::Predecessor {
                    self.drop_other(number, Opened { row, ..opened })?;
                } else {
                    self.write_token_row(number, &row)?;
                }
                entry.unsettled = false;
                self.close_entry(number, &entry)?;
            }
            Heard::NotSent(_) | Heard::Refused(_) => {
                entry.unsettled = entry.again;
                self.close_entry(number, &entry)?;
            }
        }
        Ok(None)
    }

    fn renew(
        &mut self,
        number: u32,
        which: Which,
        opened: Opened,
        given: &TokenPair,
        at: Millis,
    ) -> Result<u64, Fault> {
        let Opened { row, key, account, pair, others } = opened;
        let TokenPair { access_token, refresh_token, scope, expires_in, .. } = given;
        let sent = match (which, others.into_iter().next()) {
            (Which::Predecessor, Some(previous)) => previous,
            _ => pair.refresh_token,
        };
        let copy = |token: &Secret<String>| Secret::new(token.expose().clone());
        let replaced = refresh_token.as_ref().is_some_and(|new| new.expose() != sent.expose());
        let new = Pair {
            access_token: Some(copy(access_token)),
            refresh_token: copy(refresh_token.as_ref().unwrap_or(&sent)),
            scope: scope.clone().or(pair.scope),
        };
        let generation = self.next_generation(Some(&row))?;
        // It is proven: no other token of the account is needed.
        let previous = if replaced { vec![copy(&sent)] } else { Vec::new() };
        let sealed = seal_pair(&key, &account, generation, &new, &previous)?;
        let predecessor = if replaced { Predecessor::Untried } else { Predecessor::None };
        let (told, proof) = (row.told, Proof::Honoured);
        let span = Span::from_now(at, *expires_in);
        let row = TokenRow { generation, span, end: None, told, predecessor, proof, sealed };
        self.write_token_row(number, &row)?;
        self.tables.journal()?.remove(number)?;
        Ok(generation)
    }

    pub(crate) fn take_back_answer(&mut self, number: u32, fence: u64, sealed: &[u8]) -> Result<bool, Fault> {
        let Some(mut entry) = self.journal(number)?.filter(|entry| entry.fence == fence) else {
            return Ok(false);
        };
        let opened = self.sound_tokens(number)?;
        let Some(opened) = opened.filter(|o| o.row.generation == entry.generation) else { return Ok(false) };
        if open_answer(&opened.key, fence, &opened.account, sealed).is_none() {
            return Ok(false);
        }
        entry.answer = Some(sealed.to_vec());
        (entry.answer_fence, entry.answered_for) = (fence, entry.sent_at);
        self.write_journal(number, &entry)?;
        Ok(true)
    }

    pub(crate) fn tell(
        &mut self,
        number: u32,
        renewed_at: Millis,
        notice: Notice,
    ) -> Result<Option<AccountId>, Fault> {
        let row = self.token_row(number).or_else(|fault| fault.of_one_record().map(|_| None))?;
        let Some(row) = row.filter(|row| seconds(row.span.renewed_at) == seconds(renewed_at)) else {
            return Ok(None);
        };
        let (lapses_at, end) = (row.span.renewed_at.plus(LIFE), notice.end());
        if (row.told, row.end) != (notice, end) {
            self.write_token_row(number, &TokenRow { told: notice, end, ..row })?;
            self.announce(number, notice.as_str(), Some(lapses_at))?;
        }
        Ok(self.read_account(number)?.and_then(|row| row.id))
    }

    /// The next number of the epoch.
    pub(crate) fn raise_epoch(&mut self) -> Result<u64, Fault> {
        self.core.epoch += 1;
        let epoch = self.core.epoch;
        self.note_fact(EPOCH, &epoch.to_be_bytes())?;
        Ok(epoch)
    }

    /// Whether a refresh is under way, or its outcome unknown.
    pub(crate) fn is_unsettled(&mut self, number: u32) -> Result<bool, Fault> {
        Ok(self.core.turns.contains_key(&number) || self.journal(number)?.is_some())
    }

    /// Forgets what is under way with an account's tokens.
    pub(crate) fn drop_turn(&mut self, number: u32) -> Result<(), Fault> {
        self.core.turns.remove(&number);
        self.tables.journal()?.remove(number)?;
        Ok(())
    }

    fn close_entry(&mut self, number: u32, entry: &Entry) -> Result<(), Fault> {
        if entry.unsettled || entry.answer.is_some() {
            return self.write_journal(number, entry);
        }
        self.tables.journal()?.remove(number)?;
        Ok(())
    }

    fn journal(&mut self, number: u32) -> Result<Option<Entry>, Fault> {
        let table = self.tables.journal()?;
        let Some(value) = table.get(number)? else { return Ok(None) };
        // One that can't be read says no more than that something may have been sent.
        Ok(Entry::decode(number, value.value()).ok())
    }

    fn write_journal(&mut self, number: u32, entry: &Entry) -> Result<(), Fault> {
        let value = entry.encode(number);
        self.tables.journal()?.insert(number, value.as_slice())?;
        Ok(())
    }

    /// The account's tokens; none where they do not open, which is no reason to give up everybody else's commit.
    pub(crate) fn sound_tokens(&mut self, number: u32) -> Result<Option<Opened>, Fault> {
        self.open_tokens(number).or_else(|fault| {
            let error = fault.of_one_record()?;
            tracing::error!(account_number = number, %error, "the account's tokens do not open");
            crate::store::memory::shared::bump(&self.shared.stats.damaged);
            Ok(None)
        })
    }

    fn open_tokens(&mut self, number: u32) -> Result<Option<Opened>, Fault> {
        let Some(row) = self.token_row(number)? else { return Ok(None) };
        let Some(account) = self.read_account(number)?.and_then(|row| row.id) else { return Ok(None) };
        let Some(key) = self.token_key(number)? else { return Err(Damaged("keys").into()) };
        let (pair, others) = row.open(&key, &account)?;
        Ok(Some(Opened { row, key, account, pair, others }))
    }
}

pub(crate) struct Opened {
    pub row: TokenRow,
    pub key: DataKey,
    pub account: AccountId,
    pub pair: Pair,
    pub others: Others,
}

/// A row of `journal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    fence: u64,
    /// Of the pair whose token was sent.
    generation: u64,
    which: Which,
    sent_at: Millis,
    /// What came of the turn before is not known either.
    again: bool,
    /// What came of it is not known.
    pub unsettled: bool,
    /// The turn that the kept answer is to, and when its request was sent.
    answer_fence: u64,
    answered_for: Millis,
    answer: Option<Vec<u8>>,
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

fn seal_answer(key: &DataKey, fence: u64, account: &AccountId, answer: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut sealed = Vec::new();
    key.seal(&answer_aad(fence, account), answer, &mut sealed)?;
    Ok(sealed)
}

fn open_answer(key: &DataKey, fence: u64, account: &AccountId, sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
    key.open(&answer_aad(fence, account), sealed).ok().map(Secret::new)
}

/// What an answer is sealed together with: its account and its turn.
fn answer_aad(fence: u64, account: &AccountId) -> Vec<u8> {
    let mut aad = b"ringhookd/answer/v1\0".to_vec();
    aad.put_u64(fence);
    aad.extend_from_slice(account.as_str().as_bytes());
    aad
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
