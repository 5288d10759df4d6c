//! How a claim lies on disk: who may claim an account, and how far its last claim is.

use bytes::{Buf, BufMut};
use data_encoding::BASE64URL_NOPAD;

use super::row::{Row, Table, version};
use super::text::{get_text, millis, put_text};
use crate::domain::confirm::Progress;
use crate::domain::ids::AccountId;
use crate::domain::link::{Claiming, LastClaim};
use crate::domain::visit::Visit;

const VERSION: u8 = 2;

/// A row of `claims`.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRow {
    pub account: AccountId,
    pub claiming: Claiming,
}

impl ClaimRow {
    /// Whether it is the same as another.
    pub(crate) fn says(&self, other: &Self) -> bool {
        let written = |row: &Self| {
            let mut out = Vec::with_capacity(192);
            row.write(&mut out);
            out
        };
        written(self) == written(other)
    }
}

impl Row for ClaimRow {
    const TABLE: Table = Table::Claims;
    /// The account's number.
    type Key = u32;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.claiming.open));
        put_text(out, Some(self.account.as_str()));
        if let Some(last) = &self.claiming.last {
            out.extend_from_slice(last.visit.nonce());
            out.put_u32(last.user);
            out.extend_from_slice(&last.progress.to_bytes());
            out.put_u64(last.claimed_at.0);
            put_text(out, Some(last.visit.time()));
            put_text(out, last.identifier.as_deref());
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let open = from.try_get_u8().ok()? != 0;
        let account = AccountId::new(&get_text(from)??).ok()?;
        let last = if from.is_empty() { None } else { Some(read_last(from)?) };
        Some(Self { account, claiming: Claiming { open, last } })
    }
}

fn read_last(from: &mut &[u8]) -> Option<LastClaim> {
    let nonce: [u8; 32] = *from.first_chunk()?;
    from.advance(nonce.len());
    let user = from.try_get_u32().ok()?;
    let progress = Progress::from_bytes([from.try_get_u8().ok()?, from.try_get_u8().ok()?])?;
    let claimed_at = millis(from)?;
    let visit = Visit::new(&BASE64URL_NOPAD.encode(&nonce), &get_text(from)??).ok()?;
    let identifier = get_text(from)?;
    Some(LastClaim { visit, user, identifier, progress, claimed_at })
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;
    use crate::domain::confirm::Step;
    use crate::domain::time::Millis;

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
            .map(|last| ClaimRow { account: account.clone(), claiming: Claiming { open: true, last } })
            .into()
    }

    #[test]
    fn rows_come_back_and_belong_to_their_account() {
        for row in rows() {
            is_checked(&row, 3, 4);
        }
    }
}
