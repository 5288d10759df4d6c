//! How a claim lies on disk: who may claim an account, and how far its last claim is.

use std::time::Duration;

use bytes::{Buf, BufMut};
use data_encoding::BASE64URL_NOPAD;

use super::codec::{Damaged, get_text, put_text, stamp, stamped};
use crate::domain::claim::ANSWERED_FOR;
use crate::domain::confirm::{Progress, Step};
use crate::domain::ids::AccountId;
use crate::domain::time::Millis;
use crate::domain::visit::Visit;

const VERSION: u8 = 1;
/// Ring tells whose a code's tokens are within seconds, and after an outage of its own.
const CODES_ARRIVE_WITHIN: Duration = Duration::from_hours(24);

/// A row of `claims`.
#[derive(Debug, Clone)]
pub(super) struct ClaimRow {
    pub account: AccountId,
    /// See [`crate::domain::claim::Standing::open`].
    pub open: bool,
    /// When Ring gave the last code for it; 0 where none came.
    pub code_at: Millis,
    /// When the link began that the code came over, while it is open; 0 where there was none.
    pub before: Millis,
    pub last: Option<LastClaim>,
}

#[derive(Debug, Clone)]
pub(super) struct LastClaim {
    pub visit: Visit,
    pub user: u32,
    pub identifier: Option<String>,
    pub progress: Progress,
    pub claimed_at: Millis,
}

impl ClaimRow {
    pub(super) fn new(account: &AccountId) -> Self {
        let never = Millis(0);
        Self { account: account.clone(), open: false, code_at: never, before: never, last: None }
    }

    pub(super) fn is_claimable(&self, now: Millis) -> bool {
        let asked_for = |last: &LastClaim| {
            let is_recent = now.since(last.claimed_at) <= ANSWERED_FOR;
            is_recent || !matches!(last.progress.step, Step::Done | Step::Undone)
        };
        self.open || self.last.as_ref().is_some_and(asked_for)
    }

    /// Nothing of it matters any more; whether a code is late that is identified now, neither.
    pub(super) fn is_stale(&self, now: Millis) -> bool {
        !self.is_claimable(now) && now.since(self.code_at) > CODES_ARRIVE_WITHIN
    }

    pub(super) fn encode(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.open));
        out.put_u64(self.code_at.0);
        out.put_u64(self.before.0);
        put_text(&mut out, Some(self.account.as_str()));
        if let Some(last) = &self.last {
            out.extend_from_slice(last.visit.nonce());
            out.put_u32(last.user);
            out.extend_from_slice(&last.progress.to_bytes());
            out.put_u64(last.claimed_at.0);
            put_text(&mut out, Some(last.visit.time()));
            put_text(&mut out, last.identifier.as_deref());
        }
        stamp("claims", &number.to_be_bytes(), &mut out);
        out
    }

    pub(super) fn decode(number: u32, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("claims", &number.to_be_bytes(), value)?;
        Self::read(body).ok_or(Damaged("claims"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let open = from.try_get_u8().ok()? != 0;
        let (code_at, before) = (Millis(from.try_get_u64().ok()?), Millis(from.try_get_u64().ok()?));
        let account = AccountId::new(&get_text(&mut from)??).ok()?;
        let last = if from.is_empty() { None } else { Some(LastClaim::read(from)?) };
        Some(Self { account, open, code_at, before, last })
    }
}

impl LastClaim {
    /// What only Ring needs to be told goes with the last step.
    pub(super) fn forget_if_over(&mut self) {
        if self.progress.call().is_none() {
            self.identifier = None;
        }
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        let nonce: [u8; 32] = *from.first_chunk()?;
        from.advance(nonce.len());
        let user = from.try_get_u32().ok()?;
        let progress = Progress::from_bytes([from.try_get_u8().ok()?, from.try_get_u8().ok()?])?;
        let claimed_at = Millis(from.try_get_u64().ok()?);
        let visit = Visit::new(&BASE64URL_NOPAD.encode(&nonce), &get_text(&mut from)??).ok()?;
        let identifier = get_text(&mut from)?;
        Some(Self { visit, user, identifier, progress, claimed_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(time: &str) -> Visit {
        Visit::new(&BASE64URL_NOPAD.encode(&[7; 32]), time).unwrap()
    }

    fn rows() -> Vec<ClaimRow> {
        let account = AccountId::new("a").unwrap();
        let claim = |identifier: Option<&str>| LastClaim {
            visit: visit("1700000000000"),
            user: 3,
            identifier: identifier.map(str::to_owned),
            progress: Progress { step: Step::Patching { posted: true, again: false }, posts: 2 },
            claimed_at: Millis(9),
        };
        [None, Some(claim(None)), Some(claim(Some("a***@example.com")))]
            .map(|last| ClaimRow { open: true, code_at: Millis(1), last, ..ClaimRow::new(&account) })
            .into()
    }

    #[test]
    fn rows_come_back_and_belong_to_their_account() {
        for row in rows() {
            let value = row.encode(3);
            assert_eq!(ClaimRow::decode(3, &value).unwrap().encode(3), value);
            assert!(ClaimRow::decode(4, &value).is_err());
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1;
                assert!(ClaimRow::decode(3, &changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_claim_can_be_asked_about_for_a_while_and_is_forgotten_then() {
        let row = |step, open| {
            let mut row = rows().remove(1);
            row.open = open;
            row.last.as_mut().unwrap().progress.step = step;
            row
        };
        let (soon, later) = (Millis(9).plus(ANSWERED_FOR), Millis(10).plus(ANSWERED_FOR));
        assert!(row(Step::Done, false).is_claimable(soon) && !row(Step::Done, false).is_claimable(later));
        assert!(row(Step::Done, true).is_claimable(later) && row(Step::Posting, false).is_claimable(later));
    }
}
