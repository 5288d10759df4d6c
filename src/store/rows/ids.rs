//! Remembered request ids as they lie on disk. A row fills a page, so that the newest is rewritten at the cost of the one page
//! that a commit writes anyway.

use bytes::{Buf, BufMut};

use super::row::{Damaged, Row, Table, stamped, version};
use super::text::millis;
use crate::domain::content::ContentHash;
use crate::domain::dedup::{IdHash, Identity};
use crate::domain::time::Millis;

const VERSION: u8 = 1;
/// Bytes before the ids.
const HEAD: usize = 25;
const IDS_PER_ROW: usize = 160;

/// A row of `ids`: ids that were accepted together or nearly so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdRow {
    /// The sequence that follows everything accepted until this row was written.
    pub next_seq: u64,
    pub first_at: Millis,
    pub last_at: Millis,
    pub ids: Vec<(IdHash, ContentHash)>,
}

impl IdRow {
    /// Ids in a full row.
    pub(crate) const MOST: u64 = IDS_PER_ROW as u64;

    pub(crate) fn is_full(&self) -> bool {
        self.ids.len() >= IDS_PER_ROW
    }

    pub(crate) fn find(&self, id: &IdHash) -> Option<ContentHash> {
        self.ids.iter().find(|(known, _)| known == id).map(|&(_, body)| body)
    }

    pub(crate) fn add(&mut self, identity: &Identity, now: Millis) {
        if self.ids.is_empty() {
            self.first_at = now;
        }
        self.last_at = self.last_at.max(now);
        self.ids.push((identity.id, identity.content));
    }

    /// The hash that came with `id`, if the row that is encoded in `value` has it: as decoding and [`IdRow::find`] tell.
    pub(crate) fn find_in(number: u64, value: &[u8], id: &IdHash) -> Result<Option<ContentHash>, Damaged> {
        let body = stamped::<Self>(number, value)?;
        let (entries, rest) = body.get(HEAD..).unwrap_or_default().as_chunks::<24>();
        if body.first() != Some(&VERSION) || !rest.is_empty() {
            return Err(Self::TABLE.damaged());
        }
        let found = entries.iter().find(|entry| entry[..16] == *id);
        Ok(found.and_then(|entry| entry[16..].try_into().ok()))
    }
}

impl Row for IdRow {
    const TABLE: Table = Table::Ids;
    /// The row's number.
    type Key = u64;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u64(self.next_seq);
        out.put_u64(self.first_at.0);
        out.put_u64(self.last_at.0);
        for (id, body) in &self.ids {
            out.extend_from_slice(id);
            out.extend_from_slice(body);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let next_seq = from.try_get_u64().ok()?;
        let (first_at, last_at) = (millis(from)?, millis(from)?);
        let (ids, rest) = from.as_chunks::<24>();
        *from = rest;
        let split = |entry: &[u8; 24]| {
            let (mut id, mut body) = (IdHash::default(), ContentHash::default());
            id.copy_from_slice(&entry[..16]);
            body.copy_from_slice(&entry[16..]);
            (id, body)
        };
        Some(Self { next_seq, first_at, last_at, ids: ids.iter().map(split).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn rows_come_back_and_are_checked() {
        let mut row = IdRow { next_seq: 9, ..IdRow::default() };
        for i in 0..IDS_PER_ROW {
            assert!(!row.is_full());
            row.add(&Identity::of(Some(&format!("r{i}")), b"").1, Millis(i as u64 + 1));
        }
        assert!(row.is_full());
        is_checked(&row, 3, 4);
        let mut value = Vec::new();
        row.encode(3, &mut value);
        assert!(value.len() < 4096 - 100, "a row fits a page: {}", value.len());
        assert!(IdRow::find_in(4, &value, &row.ids[0].0).is_err());
        for (id, content) in &row.ids {
            assert_eq!(IdRow::find_in(3, &value, id).unwrap(), Some(*content));
        }
        assert_eq!(IdRow::find_in(3, &value, &[9; 16]).unwrap(), None);
        assert_eq!(row.find(&Identity::of(Some("r5"), b"").1.id), Some(Identity::of(None, b"").1.content));
    }
}
