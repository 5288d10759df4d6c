//! The tables inside a write transaction, opened when it first needs them; what it changes in them is noted for the log.

use std::ops::{RangeBounds, RangeInclusive};

use redb::WriteTransaction;

use super::changes::{Changes, next_change};
use super::error::Fault;
use super::found::{Bytes, Found, Range, definition, get, range};
use crate::store::rows::row::{Damaged, Key, Row, Table};

type Raw<'t> = redb::Table<'t, Bytes, Bytes>;

/// Open tables of one write transaction, and what it changes in them.
pub(crate) struct Tables<'t> {
    txn: &'t WriteTransaction,
    open: [Option<Raw<'t>>; Table::ALL.len()],
    changes: Changes,
    /// Room for a row as it is encoded.
    room: Vec<u8>,
}

impl<'t> Tables<'t> {
    pub(crate) fn new(txn: &'t WriteTransaction, changes: Changes) -> Self {
        Self { txn, open: [const { None }; Table::ALL.len()], changes, room: Vec::new() }
    }

    /// Makes every table, so that readers of a new store find them.
    pub(crate) fn create_all(&mut self) -> Result<(), Fault> {
        let Self { txn, open, .. } = self;
        Table::ALL.into_iter().try_for_each(|(table, _)| opened(txn, open, table).map(drop))
    }

    /// Closes the tables; what was changed in them.
    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    pub(crate) fn get<R: Row>(&mut self, key: R::Key) -> Result<Option<Found<'_, R>>, Fault> {
        get(opened(self.txn, &mut self.open, R::TABLE)?, key)
    }

    /// A row that has to be what was written.
    pub(crate) fn row<R: Row>(&mut self, key: R::Key) -> Result<Option<R>, Fault> {
        Ok(self.get(key)?.map(|found| found.row()).transpose()?)
    }

    pub(crate) fn range<R: Row>(&mut self, keys: impl RangeBounds<R::Key>) -> Result<Range<'_, R>, Fault> {
        range(opened(self.txn, &mut self.open, R::TABLE)?, keys)
    }

    pub(crate) fn put<R: Row>(&mut self, key: R::Key, row: &R) -> Result<(), Fault> {
        self.put_sized(key, row).map(drop)
    }

    /// The same; how many bytes the row has on disk.
    pub(crate) fn put_sized<R: Row>(&mut self, key: R::Key, row: &R) -> Result<usize, Fault> {
        let Self { txn, open, changes, room } = self;
        room.clear();
        row.encode(key, room);
        let key = key.bytes();
        changes.put(R::TABLE.name(), key.as_ref(), room);
        opened(txn, open, R::TABLE)?.insert(key.as_ref(), room.as_slice())?;
        Ok(room.len())
    }

    /// Removes a row, and gives back what it was.
    pub(crate) fn remove<R: Row>(&mut self, key: R::Key) -> Result<Option<Found<'_, R>>, Fault> {
        let Self { txn, open, changes, .. } = self;
        let bytes = key.bytes();
        let removed = opened(txn, open, R::TABLE)?.remove(bytes.as_ref())?;
        if removed.is_some() {
            changes.remove(R::TABLE.name(), bytes.as_ref());
        }
        Ok(removed.map(|value| Found::at(key, value)))
    }

    /// Removes the rows that are not to be kept.
    pub(crate) fn retain<R: Row>(
        &mut self,
        mut keep: impl FnMut(Result<R, Damaged>) -> bool,
    ) -> Result<(), Fault> {
        self.keep(R::TABLE, .., |key, value| {
            let key = R::Key::of_bytes(key).ok_or(R::TABLE.damaged());
            keep(key.and_then(|key| R::decode(key, value)))
        })
    }

    /// Removes the rows of a range of keys.
    pub(crate) fn clear<R: Row>(&mut self, keys: RangeInclusive<R::Key>) -> Result<(), Fault> {
        let (first, last) = (keys.start().bytes(), keys.end().bytes());
        self.keep(R::TABLE, first.as_ref()..=last.as_ref(), |_, _| false)
    }

    fn keep<'k>(
        &mut self,
        table: Table,
        range: impl RangeBounds<&'k [u8]> + 'k,
        mut keep: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Fault> {
        let Self { txn, open, changes, .. } = self;
        opened(txn, open, table)?.retain_in(range, |key, value| {
            let kept = keep(key, value);
            if !kept {
                changes.remove(table.name(), key);
            }
            kept
        })?;
        Ok(())
    }

    /// Does changes again that were noted before, and does not note them. How many they were; `from` names them where they are none.
    pub(crate) fn replay(&mut self, changes: &[u8], from: &'static str) -> Result<u64, Fault> {
        let (mut rest, mut count) = (changes, 0);
        while !rest.is_empty() {
            let (table, key, value) = next_change(&mut rest).ok_or(Damaged(from))?;
            let table = opened(self.txn, &mut self.open, Table::named(table).ok_or(Damaged(from))?)?;
            match value {
                Some(value) => drop(table.insert(key, value)?),
                None => drop(table.remove(key)?),
            }
            count += 1;
        }
        Ok(count)
    }
}

fn opened<'o, 't>(
    txn: &'t WriteTransaction,
    open: &'o mut [Option<Raw<'t>>],
    table: Table,
) -> Result<&'o mut Raw<'t>, Fault> {
    let open = &mut open[table as usize];
    if open.is_none() {
        *open = Some(txn.open_table(definition(table))?);
    }
    // Filled just above.
    open.as_mut().ok_or(Fault::Closed)
}
