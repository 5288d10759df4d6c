//! When webhooks came, as it lies on disk: 256 accounts in a row.

use super::row::{Row, Table};
use crate::domain::freshness::Rhythm;

/// A row of `freshness`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rhythms(pub Vec<Rhythm>);

impl Row for Rhythms {
    const TABLE: Table = Table::Freshness;
    /// The first account's number, in blocks.
    type Key = u32;

    fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|rhythm| out.extend_from_slice(&rhythm.to_bytes()));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let (rhythms, rest) = std::mem::take(from).as_chunks();
        let rhythms = rhythms.iter().copied().map(Rhythm::from_bytes).collect();
        rest.is_empty().then_some(Self(rhythms))
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn rows_come_back_and_belong_to_their_place() {
        let rhythm = Rhythm::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        is_checked(&Rhythms(vec![rhythm, Rhythm::default()]), 1, 2);
    }
}
