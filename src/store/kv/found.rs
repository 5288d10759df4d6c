//! Rows as redb gives them: found by key or in a range, and decoded by whoever needs them.

use std::marker::PhantomData;
use std::ops::RangeBounds;

use redb::{AccessGuard, ReadableTable, StorageError, TableDefinition};

use super::error::Fault;
use crate::store::rows::row::{Damaged, Key, Row, Table};

/// Keys and values as redb knows them: keys are in the order of their bytes.
pub(super) type Bytes = &'static [u8];

pub(super) fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// A row that is there. Whether it is what was written is known once it was read.
pub(crate) struct Found<'t, R: Row> {
    key: Option<R::Key>,
    value: AccessGuard<'t, Bytes>,
}

impl<'t, R: Row> Found<'t, R> {
    pub(super) fn at(key: R::Key, value: AccessGuard<'t, Bytes>) -> Self {
        Self { key: Some(key), value }
    }

    fn of((key, value): (AccessGuard<'t, Bytes>, AccessGuard<'t, Bytes>)) -> Self {
        Self { key: R::Key::of_bytes(key.value()), value }
    }

    pub(crate) fn key(&self) -> Result<R::Key, Damaged> {
        self.key.ok_or(R::TABLE.damaged())
    }

    pub(crate) fn row(&self) -> Result<R, Damaged> {
        R::decode(self.key()?, self.bytes())
    }

    /// The row as it is encoded.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.value.value()
    }
}

/// Rows in the order of their keys.
pub(crate) struct Range<'t, R> {
    rows: redb::Range<'t, Bytes, Bytes>,
    of: PhantomData<R>,
}

type Entry<'t> = (AccessGuard<'t, Bytes>, AccessGuard<'t, Bytes>);

impl<'t, R: Row> Range<'t, R> {
    fn found(entry: Result<Entry<'t>, StorageError>) -> Result<Found<'t, R>, Fault> {
        Ok(Found::of(entry?))
    }
}

impl<'t, R: Row> Iterator for Range<'t, R> {
    type Item = Result<Found<'t, R>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(Self::found)
    }
}

impl<R: Row> DoubleEndedIterator for Range<'_, R> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rows.next_back().map(Self::found)
    }
}

pub(super) fn get<R: Row>(
    table: &impl ReadableTable<Bytes, Bytes>,
    key: R::Key,
) -> Result<Option<Found<'_, R>>, Fault> {
    Ok(table.get(key.bytes().as_ref())?.map(|value| Found::at(key, value)))
}

pub(super) fn range<R: Row>(
    table: &impl ReadableTable<Bytes, Bytes>,
    keys: impl RangeBounds<R::Key>,
) -> Result<Range<'_, R>, Fault> {
    let bounds = (keys.start_bound().map(|key| key.bytes()), keys.end_bound().map(|key| key.bytes()));
    let bounds = (bounds.0.as_ref().map(AsRef::as_ref), bounds.1.as_ref().map(AsRef::as_ref));
    Ok(Range { rows: table.range::<&[u8]>(bounds)?, of: PhantomData })
}
