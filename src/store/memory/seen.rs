//! The memory of request ids: a fingerprint of each tells in which row on disk it may be. The row is read before anything is
//! called a duplicate.

use hashbrown::HashTable;

use crate::domain::dedup::IdHash;

const SHARDS: usize = 256;

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
