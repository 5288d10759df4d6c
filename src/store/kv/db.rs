//! redb over its part of the file: views of it, and transactions.

use redb::{Builder, Database, ReadableDatabase, WriteTransaction};

use super::changes::Changes;
use super::disk::Pages;
use super::error::Fault;
use super::tables::Tables;
use super::view::View;

/// The tables of an open file.
pub(crate) struct Db(Database);

impl Db {
    /// Opens what is in `pages`, or makes it. `check`: all of it.
    pub(crate) fn open(pages: Pages, cache_bytes: usize, check: bool) -> Result<Self, Fault> {
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check);
        Ok(Self(builder.create_with_backend(pages)?))
    }

    /// An empty one with every table, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let pages = Pages::of(super::disk::Device::new(redb::backends::InMemoryBackend::new()));
        let db = Self::open(pages, 1 << 20, false).expect("memory takes it");
        let made = db.write(|tables| {
            tables.create_all()?;
            Ok(())
        });
        made.expect("memory takes it");
        db
    }

    /// Looks into `pages` without writing, unless they were not closed or are damaged.
    pub(crate) fn peek<T>(pages: Pages, cache_bytes: usize, look: impl FnOnce(&View) -> T) -> Option<T> {
        let db = Builder::new().set_cache_size(cache_bytes).open_read_only_with_backend(pages).ok()?;
        db.begin_read().ok().map(|read| look(&View(read)))
    }

    pub(crate) fn view(&self) -> Result<View, Fault> {
        Ok(View(self.0.begin_read()?))
    }

    /// A transaction whose commit survives power cuts and failed syncs, and after which opening is quick.
    pub(crate) fn begin(&self) -> Result<WriteTransaction, Fault> {
        let mut txn = self.0.begin_write()?;
        txn.set_quick_repair(true);
        Ok(txn)
    }

    /// One of many whose last alone has to be such.
    pub(super) fn begin_in_bulk(&self) -> Result<WriteTransaction, Fault> {
        Ok(self.0.begin_write()?)
    }

    /// Changes rows in a transaction of their own, beside the log.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let txn = self.begin()?;
        let mut tables = Tables::new(&txn, Changes::new());
        let changed = change(&mut tables)?;
        drop(tables);
        txn.commit()?;
        Ok(changed)
    }
}
