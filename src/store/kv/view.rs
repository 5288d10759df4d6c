//! The tables as they stand at one moment, for reads.

use std::marker::PhantomData;
use std::ops::RangeBounds;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::error::Fault;
use super::found::{Bytes, Found, Range, definition, get, range};
use crate::store::rows::row::{Row, Table};

/// Everything that was committed until it was made. Short ones only: a long one makes the file grow.
pub(crate) struct View(pub(super) ReadTransaction);

impl View {
    pub(crate) fn table<R: Row>(&self) -> Result<ReadTable<R>, Fault> {
        Ok(ReadTable { table: self.open(R::TABLE)?, of: PhantomData })
    }

    /// One row.
    pub(crate) fn row<R: Row>(&self, key: R::Key) -> Result<Option<R>, Fault> {
        self.table()?.row(key)
    }

    /// How many rows there are in all tables.
    pub(crate) fn row_count(&self) -> Result<u64, Fault> {
        Table::ALL.into_iter().map(|(table, _)| Ok(self.open(table)?.len()?)).sum()
    }

    /// Tells table, key and value of every row, in order.
    pub(crate) fn each_row(
        &self,
        mut tell: impl FnMut(Table, &[u8], &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for (table, _) in Table::ALL {
            for row in self.open(table)?.iter()? {
                let (key, value) = row?;
                tell(table, key.value(), value.value())?;
            }
        }
        Ok(())
    }

    fn open(&self, table: Table) -> Result<ReadOnlyTable<Bytes, Bytes>, Fault> {
        Ok(self.0.open_table(definition(table))?)
    }
}

/// A table of a view.
pub(crate) struct ReadTable<R> {
    table: ReadOnlyTable<Bytes, Bytes>,
    of: PhantomData<R>,
}

impl<R: Row> ReadTable<R> {
    pub(crate) fn get(&self, key: R::Key) -> Result<Option<Found<'_, R>>, Fault> {
        get(&self.table, key)
    }

    /// A row that has to be what was written.
    pub(crate) fn row(&self, key: R::Key) -> Result<Option<R>, Fault> {
        Ok(self.get(key)?.map(|found| found.row()).transpose()?)
    }

    pub(crate) fn range(&self, keys: impl RangeBounds<R::Key>) -> Result<Range<'_, R>, Fault> {
        range(&self.table, keys)
    }

    pub(crate) fn len(&self) -> Result<u64, Fault> {
        Ok(self.table.len()?)
    }
}
