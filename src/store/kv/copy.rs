//! Makes a new file of rows that come in order from another store's snapshot.

use redb::{Database, WriteTransaction};

use super::changes::{Changes, next_change};
use super::disk::Disk;
use super::error::Fault;
use super::file::{Pages, START, database};
use super::tables::{Tables, begin_write, create_all};
use crate::store::rows::codec::Damaged;

/// What may gather before a commit, which bounds what redb has to remember of it, and how long others wait for the disk.
const COMMIT_BYTES: usize = 16 << 20;

/// A file that is being filled.
pub(crate) struct Copy {
    db: Database,
    /// Of what is not committed yet.
    txn: Option<WriteTransaction>,
    uncommitted: usize,
    rows: u64,
}

impl Copy {
    /// Begins in an empty file, behind the room of the log.
    pub(crate) fn begin(disk: Disk, cache_bytes: usize) -> Result<Self, Fault> {
        disk.file()?.set_len(START)?;
        let db = database(Pages::of(disk), cache_bytes, false)?;
        let txn = db.begin_write()?;
        create_all(&txn)?;
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
            None => self.db.begin_write()?,
        };
        let mut tables = Tables::new(&txn, Changes::new());
        let mut rest = changes;
        while !rest.is_empty() {
            let (table, key, value) = next_change(&mut rest).ok_or(Damaged("snapshot"))?;
            tables.restore(table, key, value)?;
            self.rows += 1;
        }
        drop(tables);
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
    pub(crate) fn finish(mut self) -> Result<Database, Fault> {
        if let Some(txn) = self.txn.take() {
            txn.commit()?;
        }
        begin_write(&self.db)?.commit()?;
        Ok(self.db)
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::super::changes::HEAD;
    use super::super::disk::Device;
    use super::super::tables::{ASIDE, DEVICES, KEYS, LOG, META, PROGRESS, begin_read, each_row, row_count};
    use super::*;

    type Row = (String, Vec<u8>, Vec<u8>);

    fn rows(db: &Database) -> Vec<Row> {
        let mut rows = Vec::new();
        let read = begin_read(db).unwrap();
        let tell = |table: &str, key: &[u8], value: &[u8]| {
            rows.push((table.to_owned(), key.to_vec(), value.to_vec()));
            Ok(())
        };
        each_row(&read, tell).unwrap();
        assert_eq!(row_count(&read).unwrap(), rows.len() as u64);
        rows
    }

    #[test]
    fn a_copy_has_every_row_of_every_kind_of_key() {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        create_all(&txn).unwrap();
        for n in 0..1000_u32 {
            let (seq, value) = (u64::from(n), vec![7; n as usize]);
            let value = value.as_slice();
            txn.open_table(META).unwrap().insert(format!("fact {n}").as_str(), value).unwrap();
            txn.open_table(LOG).unwrap().insert(seq, value).unwrap();
            txn.open_table(PROGRESS).unwrap().insert((seq, 3), value).unwrap();
            txn.open_table(ASIDE).unwrap().insert((5, 1, seq, n), value).unwrap();
            txn.open_table(KEYS).unwrap().insert((n, 2), value).unwrap();
            txn.open_table(DEVICES).unwrap().insert(&n.to_be_bytes()[..], value).unwrap();
        }
        txn.commit().unwrap();
        let told = rows(&db);
        assert_eq!(told.len(), 6000);
        let mut copy = Copy::begin(Device::new(InMemoryBackend::new()), 1 << 20).unwrap();
        for some in told.chunks(700) {
            let mut changes = Changes::new();
            for (table, key, value) in some {
                changes.put(table, key, value);
            }
            copy.put(&changes.0[HEAD..]).unwrap();
        }
        assert_eq!(copy.rows(), 6000);
        assert_eq!(rows(&copy.finish().unwrap()), told);
        let mut copy = Copy::begin(Device::new(InMemoryBackend::new()), 1 << 20).unwrap();
        assert!(copy.put(b"no change").is_err());
    }
}
