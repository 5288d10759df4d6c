//! Makes a new file of rows that come in order from another store's snapshot.

use redb::WriteTransaction;

use super::changes::Changes;
use super::db::Db;
use super::disk::{Disk, Pages, START};
use super::error::Fault;
use super::tables::Tables;

/// What may gather before a commit, which bounds what redb has to remember of it, and how long others wait for the disk.
const COMMIT_BYTES: usize = 16 << 20;

/// A file that is being filled.
pub(crate) struct Copy {
    db: Db,
    /// Of what is not committed yet.
    txn: Option<WriteTransaction>,
    uncommitted: usize,
    rows: u64,
}

impl Copy {
    /// Begins in an empty file, behind the room of the log.
    pub(crate) fn begin(disk: Disk, cache_bytes: usize) -> Result<Self, Fault> {
        disk.file()?.set_len(START)?;
        let db = Db::open(Pages::of(disk), cache_bytes, false)?;
        let txn = db.begin_in_bulk()?;
        Tables::new(&txn, Changes::new()).create_all()?;
        Ok(Self { db, txn: Some(txn), uncommitted: 0, rows: 0 })
    }

    /// How many rows were put in.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Puts in a run of rows, in the form of changes.
    pub(crate) fn put(&mut self, changes: &[u8]) -> Result<(), Fault> {
        let txn = match self.txn.take() {
            Some(txn) => txn,
            None => self.db.begin_in_bulk()?,
        };
        self.rows += Tables::new(&txn, Changes::new()).replay(changes, "snapshot")?;
        self.uncommitted += changes.len();
        if self.uncommitted < COMMIT_BYTES {
            self.txn = Some(txn);
        } else {
            txn.commit()?;
            self.uncommitted = 0;
        }
        Ok(())
    }

    /// Makes it durable, so that it opens quickly.
    pub(crate) fn finish(mut self) -> Result<Db, Fault> {
        if let Some(txn) = self.txn.take() {
            txn.commit()?;
        }
        self.db.begin()?.commit()?;
        Ok(self.db)
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::super::changes::HEAD;
    use super::super::disk::Device;
    use super::*;
    use crate::domain::time::Millis;
    use crate::store::rows::aside::Aside;
    use crate::store::rows::facts::Fact;
    use crate::store::rows::ids::IdRow;
    use crate::store::rows::row::Table;
    use crate::store::rows::small::{DeviceRow, Progress, WrappedKey};

    type Rows = Vec<(&'static str, Vec<u8>, Vec<u8>)>;

    fn rows(db: &Db) -> Rows {
        let mut rows = Vec::new();
        let view = db.view().unwrap();
        let tell = |table: Table, key: &[u8], value: &[u8]| {
            rows.push((table.name(), key.to_vec(), value.to_vec()));
            Ok(())
        };
        view.each_row(tell).unwrap();
        assert_eq!(view.row_count().unwrap(), rows.len() as u64);
        rows
    }

    fn empty() -> Copy {
        Copy::begin(Device::new(InMemoryBackend::new()), 1 << 20).unwrap()
    }

    #[test]
    fn a_copy_has_every_row_of_every_kind_of_key() {
        let db = empty().finish().unwrap();
        db.write(|tables| {
            tables.put(Fact::EPOCH, &Fact(vec![7; 5000]))?;
            for n in 0..1000_u32 {
                let (seq, value) = (u64::from(n), vec![7; n as usize]);
                tables.put(seq, &IdRow { next_seq: seq, ..IdRow::default() })?;
                tables.put((seq, 3), &Progress(value.clone()))?;
                tables.put((5, 1, seq, n), &aside(value.clone()))?;
                tables.put((n, 2), &WrappedKey(value))?;
                let hash = u128::from(n).to_be_bytes();
                tables.put(hash, &DeviceRow { account: n, since: Millis(seq) })?;
            }
            Ok(())
        })
        .unwrap();
        let told = rows(&db);
        assert_eq!(told.len(), 5001);
        let mut copy = empty();
        for some in told.chunks(700) {
            let mut changes = Changes::new();
            for (table, key, value) in some {
                changes.put(table, key, value);
            }
            copy.put(&changes.0[HEAD..]).unwrap();
        }
        assert_eq!(copy.rows(), 5001);
        assert_eq!(rows(&copy.finish().unwrap()), told);
        assert!(empty().put(b"no change").is_err());
    }

    fn aside(sealed: Vec<u8>) -> Aside {
        Aside {
            seq: 1,
            account: 2,
            user: 3,
            at: Millis(4),
            queues: vec![5],
            failures: 6,
            detail: String::new(),
            sealed,
        }
    }
}
