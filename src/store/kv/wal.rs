//! The write-ahead log: a group's changes are durable here, by one `fdatasync`, before anyone is told of them.
//!
//! redb gets the same changes at once, for readers, but unsynced; a durable commit of it, a checkpoint, follows within a
//! tick or when the log's room is full. It notes another generation, which makes the records before it void, and the
//! log is written from its start again. Opening puts the records of the noted generation into redb.
//!
//! A record is its head, the changes, and zeros up to a page: no synced page is ever written again in its generation,
//! so a power cut can spoil none that was acknowledged.

use bytes::{Buf, BufMut};
use redb::{Durability, WriteTransaction};
use ring::rand::SystemRandom;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::changes::{Changes, HEAD};
use super::db::Db;
use super::disk::{Disk, LOG_BYTES};
use super::error::Fault;
use super::tables::Tables;
use super::tee::Tee;
use crate::failpoint;
use crate::store::rows::facts::Fact;
use crate::store::rows::row::{Damaged, Table};
use crate::vault::VaultError;

/// The fact that names the generation whose records are not in redb yet; none in a file that never had a log.
const GENERATION: &str = "wal";
const MAGIC: u32 = 0x5748_4B01;
const PAGE: usize = 4096;
/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Of the changes, in bytes.
    len: u32,
    generation: u64,
    /// From 0 in its generation.
    number: u64,
    /// XXH3 of the changes.
    check: u128,
}

impl Head {
    fn encode(self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        let mut rest = &mut out[..];
        rest.put_u32(MAGIC);
        rest.put_u32(self.len);
        rest.put_u64(self.generation);
        rest.put_u64(self.number);
        rest.put_u128(self.check);
        let check = xxh3_64(&out[..HEAD - 8]);
        out[HEAD - 8..].copy_from_slice(&check.to_be_bytes());
        out
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let (mut rest, check) = record.get(..HEAD)?.split_last_chunk::<8>()?;
        let sound = xxh3_64(rest) == u64::from_be_bytes(*check);
        if !sound || rest.get_u32() != MAGIC {
            return None;
        }
        let len = rest.get_u32();
        Some(Self { len, generation: rest.get_u64(), number: rest.get_u64(), check: rest.get_u128() })
    }
}

/// The log of an open store.
#[derive(Debug)]
pub(crate) struct Wal {
    disk: Disk,
    generation: u64,
    /// Number and place of the next record.
    number: u64,
    end: usize,
    /// Room for the next.
    spare: Vec<u8>,
}

impl Wal {
    /// Puts what redb lacks into it, durably, and begins a log.
    pub(crate) fn recover(db: &Db, disk: Disk) -> Result<Self, Fault> {
        let noted = db.view()?.row::<Fact>(GENERATION)?.map(|fact| fact.number()).transpose()?;
        let records = noted.map_or(Ok(Vec::new()), |generation| read(&disk, generation))?;
        let mut wal = Self { disk, generation: noted.unwrap_or(0), number: 0, end: 0, spare: Vec::new() };
        if noted.is_some() && records.is_empty() {
            return Ok(wal);
        }
        let txn = db.begin()?;
        let mut tables = Tables::new(&txn, Changes::new());
        for record in &records {
            tables.replay(record, "wal")?;
        }
        drop(tables);
        if !records.is_empty() {
            tracing::info!(commits = records.len(), "what the write-ahead log had was put into place");
        }
        wal.checkpoint(txn)?;
        Ok(wal)
    }

    /// Begins a log in an empty room, with a transaction that holds all that redb lacks.
    pub(crate) fn begin(disk: Disk, txn: WriteTransaction) -> Result<Self, Fault> {
        let mut wal = Self { disk, generation: 0, number: 0, end: 0, spare: Vec::new() };
        wal.checkpoint(txn)?;
        Ok(wal)
    }

    /// Whether redb has everything durably.
    pub(crate) fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// Where a transaction notes what it changes.
    pub(crate) fn changes(&mut self) -> Changes {
        Changes::over(std::mem::take(&mut self.spare))
    }

    /// Makes the transaction durable, whose changes these are, and visible to readers.
    pub(crate) fn commit(
        &mut self,
        mut txn: WriteTransaction,
        changes: Changes,
        tee: &Tee,
    ) -> Result<(), Fault> {
        if changes.is_empty() {
            self.spare = changes.0;
            return Ok(());
        }
        let mut tee = tee.hold();
        let length = changes.0.len();
        if length > LOG_BYTES - self.end {
            self.checkpoint(txn)?;
            tee.note(&changes.0[HEAD..]);
            return Ok(());
        }
        self.append(changes)?;
        failpoint!("wal.synced");
        txn.set_durability(Durability::None).map_err(redb::Error::from)?;
        txn.commit()?;
        tee.note(&self.spare[HEAD..length]);
        Ok(())
    }

    /// Commits to redb durably, with all that went before; the log is empty then.
    pub(crate) fn checkpoint(&mut self, txn: WriteTransaction) -> Result<(), Fault> {
        // By chance, so that what lies in the room of other times, or of another copy of the file, is never taken for ours.
        let random = ring::rand::generate::<[u8; 8]>(&SystemRandom::new());
        let generation = random.map_err(|_| Fault::Vault(VaultError::NoRandom))?.expose();
        Tables::new(&txn, Changes::new()).put(GENERATION, &Fact(generation.to_vec()))?;
        failpoint!("wal.checkpoint");
        txn.commit()?;
        failpoint!("wal.restarted");
        (self.generation, self.number, self.end) = (u64::from_be_bytes(generation), 0, 0);
        Ok(())
    }

    /// What is not durable yet shall not become so: the disk is not to be believed any more.
    pub(crate) fn give_up(&self) {
        self.disk.give_up();
    }

    fn append(&mut self, changes: Changes) -> Result<(), Fault> {
        let Changes(mut record) = changes;
        let body = &record[HEAD..];
        let len = u32::try_from(body.len()).map_err(|_| Damaged("wal"))?;
        let head = Head { len, generation: self.generation, number: self.number, check: xxh3_128(body) };
        record[..HEAD].copy_from_slice(&head.encode());
        record.resize(record.len().next_multiple_of(PAGE), 0);
        self.disk.write(self.end as u64, &record)?;
        failpoint!("wal.written");
        self.disk.sync_data()?;
        self.number += 1;
        self.end += record.len();
        self.spare = record;
        Ok(())
    }
}

/// Whether a row says which records of the log count.
pub(crate) fn is_of_log(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && key == GENERATION.as_bytes()
}

/// The changes of each record of a generation, in order, up to one that was cut off.
fn read(disk: &Disk, generation: u64) -> Result<Vec<Vec<u8>>, Fault> {
    let mut room = vec![0; LOG_BYTES];
    disk.read(0, &mut room)?;
    let mut records = Vec::new();
    let mut rest = &room[..];
    while let Some(body) = record(rest, generation, records.len() as u64) {
        rest = &rest[(HEAD + body.len()).next_multiple_of(PAGE)..];
        records.push(body.to_vec());
    }
    if Head::decode(rest).is_some_and(|h| (h.generation, h.number) == (generation, records.len() as u64)) {
        tracing::warn!(
            "the write-ahead log ends in a record that was cut off, before anybody was told of it, or is damaged"
        );
    }
    // Each was synced before the next was written: only the last can have been cut off.
    let follows = |head: Head| head.generation == generation && head.number > records.len() as u64;
    if rest.chunks(PAGE).filter_map(Head::decode).any(follows) {
        return Err(Damaged("wal").into());
    }
    Ok(records)
}

fn record(rest: &[u8], generation: u64, number: u64) -> Option<&[u8]> {
    let head = Head::decode(rest).filter(|h| (h.generation, h.number) == (generation, number))?;
    let body = rest.get(HEAD..HEAD + head.len as usize)?;
    (xxh3_128(body) == head.check).then_some(body)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::store::kv::changes::next_change;
    use crate::store::kv::disk::{Device, Pages};
    use crate::store::rows::small::WrappedKey;

    type Row = (String, Vec<u8>, Option<Vec<u8>>);

    fn noted(rows: &[Row]) -> Changes {
        let mut changes = Changes::new();
        for (table, key, value) in rows {
            match value {
                Some(value) => changes.put(table, key, value),
                None => changes.remove(table, key),
            }
        }
        changes
    }

    fn rows(mut rest: &[u8]) -> Vec<Row> {
        let mut rows = Vec::new();
        while !rest.is_empty() {
            let (table, key, value) = next_change(&mut rest).unwrap();
            rows.push((table.to_owned(), key.to_vec(), value.map(<[u8]>::to_vec)));
        }
        rows
    }

    /// A log of `records`, each with a row of so many bytes.
    fn log(generation: u64, records: &[usize]) -> Wal {
        let room = InMemoryBackend::new();
        room.set_len(LOG_BYTES as u64).unwrap();
        let disk = Device::new(room);
        let mut wal = Wal { disk, generation, number: 0, end: 0, spare: Vec::new() };
        for bytes in records {
            wal.append(noted(&[("log".into(), vec![7], Some(vec![1; *bytes]))])).unwrap();
        }
        wal
    }

    fn lengths(wal: &Wal, generation: u64) -> Vec<usize> {
        let records = read(&wal.disk, generation).unwrap();
        records.iter().map(|record| rows(record)[0].2.as_ref().unwrap().len()).collect()
    }

    proptest! {
        #[test]
        fn changes_come_back_in_order(rows_ in prop::collection::vec(
            ("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..40), prop::option::of(prop::collection::vec(any::<u8>(), 0..90))), 0..20,
        )) {
            let changes = noted(&rows_);
            prop_assert_eq!(changes.is_empty(), rows_.is_empty());
            prop_assert_eq!(rows(&changes.0[HEAD..]), rows_);
        }

        #[test]
        fn what_is_no_change_is_noticed(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
            let mut rest = &bytes[..];
            // Ends, and reads nothing beyond the end.
            while next_change(&mut rest).is_some() && !rest.is_empty() {}
        }
    }

    #[test]
    fn records_come_back_and_those_of_another_generation_do_not() {
        let mut wal = log(5, &[10, 5000, 0, 4096 * 3]);
        assert_eq!(lengths(&wal, 5), [10, 5000, 0, 4096 * 3]);
        assert_eq!(lengths(&wal, 6), [0; 0]);
        // Shorter than before: what lies behind is of another time.
        (wal.generation, wal.number, wal.end) = (6, 0, 0);
        wal.append(noted(&[("log".into(), vec![7], Some(vec![1; 3]))])).unwrap();
        assert_eq!(lengths(&wal, 6), [3]);
    }

    #[test]
    fn a_record_that_was_cut_off_ends_the_log() {
        let wal = log(5, &[10, 9000]);
        for page in 1..4 {
            let cut = log(5, &[10, 9000]);
            cut.disk.write(page * PAGE as u64, &[0; PAGE]).unwrap();
            assert_eq!(lengths(&cut, 5), [10], "without page {page}");
        }
        assert_eq!(lengths(&wal, 5), [10, 9000]);
    }

    #[test]
    fn a_gap_before_the_last_record_is_damage() {
        for page in 0..4 {
            let wal = log(5, &[10, 9000, 10]);
            wal.disk.write(page * PAGE as u64, &[0; PAGE]).unwrap();
            assert!(matches!(read(&wal.disk, 5), Err(Fault::Damaged(_))), "without page {page}");
        }
    }

    #[test]
    fn what_the_log_has_is_in_redb_once_it_was_opened() {
        let pages = Pages::of(Device::new(InMemoryBackend::new()));
        let db = Db::open(pages, 1 << 20, false).unwrap();
        db.write(|tables| tables.put(GENERATION, &Fact(5u64.to_be_bytes().to_vec()))).unwrap();
        let mut wal = log(5, &[]);
        let row = |key: u8, value: Option<&[u8]>| {
            ("keys".to_owned(), vec![0, 0, 0, key, 2], value.map(<[u8]>::to_vec))
        };
        wal.append(noted(&[row(8, Some(b"gone")), row(9, Some(b"one"))])).unwrap();
        wal.append(noted(&[row(9, Some(b"two")), row(8, None)])).unwrap();

        let recovered = Wal::recover(&db, Arc::clone(&wal.disk)).unwrap();
        let table = db.view().unwrap().table::<WrappedKey>().unwrap();
        assert_eq!(table.row((9, 2)).unwrap(), Some(WrappedKey(b"two".to_vec())));
        assert!(table.row((8, 2)).unwrap().is_none());
        assert!(recovered.is_empty() && recovered.generation != 5);
        let again = Wal::recover(&db, wal.disk).unwrap();
        assert_eq!(again.generation, recovered.generation, "where nothing is to do, nothing is written");
    }
}
