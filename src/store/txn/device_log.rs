//! Rows of devices inside a transaction: found where they are, written into the log, and merged into their table.

use crate::store::kv::error::Fault;
use crate::store::kv::tables::Tables;
use crate::store::memory::device_log::DeviceLog;
use crate::store::rows::device_log::{DeviceHash, DeviceLogRow};
use crate::store::rows::row::Damaged;
use crate::store::rows::small::DeviceRow;

/// The newest row of a device. One in the table may be damaged, those in the log were looked at when the store was opened.
pub(crate) fn get(
    log: &DeviceLog,
    tables: &mut Tables<'_>,
    device: &DeviceHash,
) -> Result<Option<Result<DeviceRow, Damaged>>, Fault> {
    if let Some(row) = log.get(device) {
        return Ok(Some(Ok(row)));
    }
    Ok(tables.get::<DeviceRow>(*device)?.map(|found| found.row()))
}

pub(crate) fn put(
    log: &mut DeviceLog,
    tables: &mut Tables<'_>,
    (device, row): (DeviceHash, DeviceRow),
    most: usize,
) -> Result<(), Fault> {
    if log.put(device, row) { flush(log, tables, most) } else { Ok(()) }
}

/// Writes what the transaction has of devices into the log, and merges some of those before.
pub(crate) fn flush(log: &mut DeviceLog, tables: &mut Tables<'_>, most: usize) -> Result<(), Fault> {
    if log.is_logged() {
        return Ok(());
    }
    let due = log.due(most);
    let (mut merged, mut removed) = (0, 0);
    while merged < due
        && let Some((device, row)) = log.merge_next()
    {
        tables.put(device, &row)?;
        merged += 1;
    }
    while removed < due
        && let Some(number) = log.remove_next()
    {
        let row = tables.remove::<DeviceLogRow>(number)?;
        removed += row.map_or(1, |row| DeviceLogRow::entries_of(row.bytes().len()));
    }
    let (number, row) = log.next_row(most);
    tables.put(number, &row)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::Millis;
    use crate::store::kv::db::Db;
    use crate::store::memory::load::load_device_log;

    /// Devices that a commit writes at most.
    const COMMIT: usize = 6;

    /// Writes of one transaction: a device, and its new account.
    type Writes = Vec<(u8, u32)>;

    #[derive(Debug, Clone)]
    enum Op {
        Commit(Writes),
        /// The transaction fails behind its last write.
        Fail(Writes),
        Restart,
    }

    fn op() -> impl Strategy<Value = Op> {
        let writes = || prop::collection::vec((any::<u8>(), 0..5u32), 1..=COMMIT);
        prop_oneof![
            12 => writes().prop_map(Op::Commit),
            1 => writes().prop_map(Op::Fail),
            2 => Just(Op::Restart),
        ]
    }

    /// In another order than that of the devices.
    fn hash(device: u8) -> DeviceHash {
        [device.reverse_bits(); 16]
    }

    fn row(account: u32) -> DeviceRow {
        DeviceRow { account, since: Millis(u64::from(account)) }
    }

    fn write(
        log: &mut DeviceLog,
        tables: &mut Tables<'_>,
        writes: &Writes,
        most: usize,
    ) -> Result<(), Fault> {
        writes
            .iter()
            .try_for_each(|&(device, account)| put(log, tables, (hash(device), row(account)), most))?;
        flush(log, tables, most)
    }

    fn loaded(db: &Db) -> DeviceLog {
        load_device_log(&db.view().unwrap()).unwrap()
    }

    /// The row of every device, wherever it lies.
    fn all(log: &DeviceLog, db: &Db) -> BTreeMap<u8, u32> {
        let read = |tables: &mut Tables<'_>| {
            let found =
                (0..=u8::MAX).map(|device| Ok(get(log, tables, &hash(device))?.map(|row| (device, row))));
            found.filter_map(Result::transpose).collect::<Result<Vec<_>, Fault>>()
        };
        let rows = db.write(read).unwrap();
        rows.into_iter().map(|(device, row)| (device, row.unwrap().account)).collect()
    }

    proptest! {
        #[test]
        fn both_levels_together_are_one_map(ops in prop::collection::vec(op(), 1..120), most in 1..24usize) {
            let (db, mut log, mut model) = (Db::in_memory(), DeviceLog::default(), BTreeMap::new());
            for op in ops {
                match op {
                    Op::Commit(writes) => {
                        db.write(|tables| write(&mut log, tables, &writes, most)).unwrap();
                        model.extend(writes);
                    }
                    Op::Fail(writes) => {
                        let fail = |tables: &mut Tables<'_>| {
                            write(&mut log, tables, &writes, most).and(Err::<(), _>(Fault::Closed))
                        };
                        prop_assert!(db.write(fail).is_err());
                        log = loaded(&db);
                    }
                    Op::Restart => {
                        let waiting = log.waiting();
                        log = loaded(&db);
                        prop_assert_eq!(log.waiting(), waiting, "a start finds it as it was");
                    }
                }
                prop_assert_eq!(&all(&log, &db), &model);
                prop_assert!(log.waiting() <= 2 * (most + 2 * COMMIT));
            }
        }
    }

    #[test]
    fn neither_memory_nor_the_log_grows_with_what_is_written() {
        let (db, most) = (Db::in_memory(), 16);
        let mut log = DeviceLog::default();
        for n in 0..2000_u32 {
            // One that is written again and again is in memory once, and in the log each time.
            let writes = vec![(u8::try_from(n % 7).unwrap(), n), (7, n)];
            db.write(|tables| write(&mut log, tables, &writes, most)).unwrap();
            let rows = db.view().unwrap().table::<DeviceLogRow>().unwrap().len().unwrap();
            assert!(rows <= 40, "{rows} after {n}");
            if n % 3 == 0 {
                log = loaded(&db);
            }
        }
        assert_eq!(all(&log, &db).len(), 8);
    }

    #[test]
    fn many_of_one_transaction_are_several_rows() {
        let (db, most) = (Db::in_memory(), 1 << 17);
        let mut log = DeviceLog::default();
        let device = |n: u32| u128::from(n).to_be_bytes();
        db.write(|tables| {
            (0..5000).try_for_each(|n| put(&mut log, tables, (device(n), row(n)), most))?;
            flush(&mut log, tables, most)
        })
        .unwrap();
        let lengths = || {
            let view = db.view().unwrap();
            let rows = view.table::<DeviceLogRow>().unwrap();
            rows.range(..).unwrap().map(|row| row.unwrap().row().unwrap().entries.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(), [1024, 1024, 1024, 1024, 904]);
        assert_eq!(loaded(&db).get(&device(4999)), Some(row(4999)));
    }

    #[test]
    fn a_log_that_lacks_a_row_is_damaged() {
        let (db, most) = (Db::in_memory(), 100);
        let mut log = DeviceLog::default();
        for n in 0..3 {
            db.write(|tables| write(&mut log, tables, &vec![(n, 1)], most)).unwrap();
        }
        db.write(|tables| tables.remove::<DeviceLogRow>(1).map(drop)).unwrap();
        assert!(matches!(load_device_log(&db.view().unwrap()), Err(Fault::Damaged(_))));
    }
}
