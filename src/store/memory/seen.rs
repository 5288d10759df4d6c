//! The memory of request ids: compact rows on disk, fingerprints in memory.
//!
//! A fingerprint tells in which row an id may be; the row is read before anything is called a duplicate. Rows fill a
//! page each (160 ids of 24 bytes), so that the newest is rewritten at the cost of the one page a commit writes anyway.

use bytes::{Buf, BufMut};
use hashbrown::HashTable;

use crate::domain::content::ContentHash;
use crate::domain::dedup::{IdHash, Identity};
use crate::domain::time::Millis;
use crate::store::rows::codec::{Damaged, stamp, stamped};

pub(crate) const TABLE: &str = "ids";
const VERSION: u8 = 1;
const IDS_PER_ROW: usize = 160;
const SHARDS: usize = 256;

/// Ids that were accepted together or nearly so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// The sequence that follows everything accepted until this row was written.
    pub next_seq: u64,
    pub first_at: Millis,
    pub last_at: Millis,
    pub ids: Vec<(IdHash, ContentHash)>,
}

impl Row {
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

    pub(crate) fn encode(&self, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + self.ids.len() * 24);
        out.put_u8(VERSION);
        out.put_u64(self.next_seq);
        out.put_u64(self.first_at.0);
        out.put_u64(self.last_at.0);
        for (id, body) in &self.ids {
            out.extend_from_slice(id);
            out.extend_from_slice(body);
        }
        stamp(TABLE, &number.to_be_bytes(), &mut out);
        out
    }

    pub(crate) fn decode(number: u64, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped(TABLE, &number.to_be_bytes(), value)?;
        Self::read(body).ok_or(Damaged(TABLE))
    }

    /// The hash that came with `id`, if the row that is encoded in `value` has it: as [`Row::decode`] and [`Row::find`] tell.
    pub(crate) fn find_in(number: u64, value: &[u8], id: &IdHash) -> Result<Option<ContentHash>, Damaged> {
        let body = stamped(TABLE, &number.to_be_bytes(), value)?;
        let (entries, rest) = body.get(25..).unwrap_or_default().as_chunks::<24>();
        if body.first() != Some(&VERSION) || !rest.is_empty() {
            return Err(Damaged(TABLE));
        }
        let found = entries.iter().find(|entry| entry[..16] == *id);
        Ok(found.and_then(|entry| entry[16..].try_into().ok()))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let next_seq = from.try_get_u64().ok()?;
        let first_at = Millis(from.try_get_u64().ok()?);
        let last_at = Millis(from.try_get_u64().ok()?);
        let (ids, rest) = from.as_chunks::<24>();
        let split = |entry: &[u8; 24]| {
            let (mut id, mut body) = (IdHash::default(), ContentHash::default());
            id.copy_from_slice(&entry[..16]);
            body.copy_from_slice(&entry[16..]);
            (id, body)
        };
        rest.is_empty().then(|| Self { next_seq, first_at, last_at, ids: ids.iter().map(split).collect() })
    }
}

/// Fingerprint to row for every remembered id: 9 bytes each over a load of 0.44 to 0.87. In shards, so that growing
/// one never takes long.
#[derive(Debug)]
pub(crate) struct SeenIndex {
    shards: Vec<HashTable<(u32, u32)>>,
    len: u64,
}

impl SeenIndex {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), len: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Makes room for about `ids` in one go.
    pub(crate) fn reserve(&mut self, ids: u64) {
        let each = usize::try_from(ids).unwrap_or(0).div_ceil(SHARDS);
        for shard in &mut self.shards {
            shard.reserve(each, |entry| spread(entry.0));
        }
    }

    pub(crate) fn insert(&mut self, id: &IdHash, row: u64) {
        let (shard, print) = place(id);
        self.shards[shard].insert_unique(spread(print), (print, row_tag(row)), |entry| spread(entry.0));
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, id: &IdHash, row: u64) {
        let (shard, print) = place(id);
        let entry = (print, row_tag(row));
        if let Ok(found) = self.shards[shard].find_entry(spread(print), |known| *known == entry) {
            found.remove();
            self.len -= 1;
        }
    }

    /// Rows that may hold the id, nearly always none or one.
    pub(crate) fn rows(&self, id: &IdHash) -> impl Iterator<Item = u64> {
        let (shard, print) = place(id);
        self.shards[shard]
            .iter_hash(spread(print))
            .filter(move |known| known.0 == print)
            .map(|known| u64::from(known.1))
    }
}

/// Row numbers fit 32 bits for 6 × 10¹¹ events.
fn row_tag(row: u64) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

fn place(id: &IdHash) -> (usize, u32) {
    let print = u32::from_be_bytes([id[1], id[2], id[3], id[4]]);
    (usize::from(id[0]), print)
}

/// The table wants entropy in the high and the low bits; the fingerprint is a hash already.
fn spread(print: u32) -> u64 {
    u64::from(print).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_come_back_and_are_checked() {
        let mut row = Row { next_seq: 9, ..Row::default() };
        for i in 0..IDS_PER_ROW {
            assert!(!row.is_full());
            row.add(&Identity::of(Some(&format!("r{i}")), b""), Millis(i as u64 + 1));
        }
        assert!(row.is_full());
        let value = row.encode(3);
        assert!(value.len() < 4096 - 100, "a row fits a page: {}", value.len());
        assert_eq!(Row::decode(3, &value).unwrap(), row);
        assert!(Row::decode(4, &value).is_err());
        assert!(Row::find_in(4, &value, &row.ids[0].0).is_err());
        for (id, content) in &row.ids {
            assert_eq!(Row::find_in(3, &value, id).unwrap(), Some(*content));
        }
        assert_eq!(Row::find_in(3, &value, &[9; 16]).unwrap(), None);
        assert_eq!(row.find(&Identity::of(Some("r5"), b"").id), Some(Identity::of(None, b"").content));
    }

    proptest! {
        #[test]
        fn the_index_never_forgets_and_removes_only_what_it_is_told(ids in prop::collection::btree_set(any::<[u8; 16]>(), 1..300)) {
            let mut index = SeenIndex::new();
            for (row, id) in ids.iter().enumerate() {
                index.insert(id, row as u64 / 7);
            }
            prop_assert_eq!(index.len(), ids.len() as u64);
            for (row, id) in ids.iter().enumerate() {
                prop_assert!(index.rows(id).any(|r| r == row as u64 / 7));
                if row % 2 == 0 {
                    index.remove(id, row as u64 / 7);
                }
            }
            for (row, id) in ids.iter().enumerate().filter(|(row, _)| row % 2 == 1) {
                prop_assert!(index.rows(id).any(|r| r == row as u64 / 7));
            }
            prop_assert_eq!(index.len(), ids.len() as u64 / 2);
        }
    }
}
