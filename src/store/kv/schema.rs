//! The schema of a store file: which one it has, and the steps from an older one to ours.

use bytes::BufMut;

#[cfg(feature = "testing")]
use super::changes::Changes;
use super::db::Db;
use super::error::{Fault, StoreError};
#[cfg(feature = "testing")]
use super::found::definition;
use super::tables::Tables;
use super::view::View;
use crate::store::rows::row::{Damaged, Row, Table};
use crate::store::rows::text::to_u32;

/// The oldest schema that is brought up to ours; those before it were never released.
const OLDEST: u32 = 5;
/// The schema that this program writes.
/// A raised one needs a fixture, so that every later program is seen to open it: `fixtures/stores/make.sh`.
pub const SCHEMA: u32 = 8;
const SCHEMA_KEY: &str = "schema";

/// Brings a file from its schema to the next one.
type Migration = fn(&mut Tables<'_>) -> Result<(), Fault>;
/// From [`OLDEST`] on.
const MIGRATIONS: &[Migration] = &[
    // 6: the table `freshness`.
    |tables| tables.create_all(),
    // 7: the tables `receipts` and `audit`.
    |tables| tables.create_all(),
    // 8: the table `device_log`.
    |tables| tables.create_all(),
];

/// The row of `meta` that says which schema a file has. It has no checksum, so that whatever has another one can still read it.
struct Schema(u32);

impl Row for Schema {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let schema = std::mem::take(from).try_into().ok()?;
        Some(Self(u32::from_be_bytes(schema)))
    }

    fn encode(&self, _: &'static str, out: &mut Vec<u8>) {
        self.write(out);
    }

    fn decode(_: &'static str, mut value: &[u8]) -> Result<Self, Damaged> {
        Self::read(&mut value).ok_or(Self::TABLE.damaged())
    }
}

/// Notes that the file has our schema.
pub(crate) fn note(tables: &mut Tables<'_>) -> Result<(), Fault> {
    tables.put(SCHEMA_KEY, &Schema(SCHEMA))
}

/// For tests: makes the file one of the next program's.
#[cfg(feature = "testing")]
pub(crate) fn raise(db: &Db) -> Result<(), Fault> {
    db.write(|tables| tables.put(SCHEMA_KEY, &Schema(SCHEMA + 1)))
}

/// For tests: makes the file one of an older program's.
#[cfg(feature = "testing")]
pub(crate) fn lower(db: &Db, schema: u32) -> Result<(), Fault> {
    let added = [(6, Table::Freshness), (7, Table::Receipts), (7, Table::Audit), (8, Table::DeviceLog)];
    let txn = db.begin()?;
    for (_, table) in added.into_iter().filter(|(since, _)| *since > schema) {
        txn.delete_table(definition(table))?;
    }
    let mut tables = Tables::new(&txn, Changes::new());
    tables.put(SCHEMA_KEY, &Schema(schema))?;
    drop(tables);
    Ok(txn.commit()?)
}

/// Refuses a file whose schema we do not know.
pub(crate) fn is_known(view: &View) -> Result<(), StoreError> {
    match read(view)? {
        found if found > SCHEMA => Err(StoreError::Newer { found, known: SCHEMA }),
        found if found < OLDEST => Err(StoreError::Older { found, known: OLDEST }),
        _ => Ok(()),
    }
}

/// The schema of a file.
pub(crate) fn of(db: &Db) -> Result<u32, Fault> {
    read(&db.view()?)
}

/// Brings the file up to our schema, in one transaction.
pub(crate) fn migrate(db: &Db) -> Result<(), StoreError> {
    is_known(&db.view()?)?;
    Ok(migrate_by(db, MIGRATIONS)?)
}

fn migrate_by(db: &Db, migrations: &[Migration]) -> Result<(), Fault> {
    let done = read(&db.view()?)?.saturating_sub(OLDEST) as usize;
    let steps = migrations.get(done..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let schema = OLDEST + to_u32(migrations.len());
    tracing::info!(schema, "the store is being brought to this version's schema");
    db.write(|tables| {
        steps.iter().try_for_each(|step| step(tables))?;
        tables.put(SCHEMA_KEY, &Schema(schema))
    })?;
    tracing::info!(schema, "the store was brought to this version's schema");
    Ok(())
}

fn read(view: &View) -> Result<u32, Fault> {
    match view.row(SCHEMA_KEY) {
        Ok(row) => Ok(row.map(|Schema(schema)| schema).ok_or(Table::Meta.damaged())?),
        // Keys were of other types before.
        Err(fault) if fault.is_other_type() => Ok(OLDEST - 1),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::disk::{Device, Pages};
    use crate::store::rows::facts::Fact;

    fn database(schema: u32) -> Db {
        let db = empty();
        db.write(|tables| tables.create_all().and_then(|()| tables.put(SCHEMA_KEY, &Schema(schema))))
            .unwrap();
        db
    }

    fn empty() -> Db {
        let pages = Pages::of(Device::new(redb::backends::InMemoryBackend::new()));
        Db::open(pages, 1 << 20, false).unwrap()
    }

    fn marked(db: &Db) -> bool {
        db.view().unwrap().row::<Fact>("marked").unwrap().is_some()
    }

    fn mark(tables: &mut Tables<'_>) -> Result<(), Fault> {
        tables.put("marked", &Fact(b"yes".to_vec()))
    }

    fn read(db: &Db) -> Result<u32, Fault> {
        super::read(&db.view()?)
    }

    #[test]
    fn every_schema_but_the_oldest_has_its_step() {
        assert_eq!(OLDEST as usize + MIGRATIONS.len(), SCHEMA as usize);
    }

    #[test]
    fn an_older_schema_is_migrated_and_one_that_we_do_not_know_refused() {
        let db = database(OLDEST);
        migrate_by(&db, &[|tables| tables.create_all(), mark]).unwrap();
        assert!(marked(&db));
        assert_eq!(read(&db).unwrap(), OLDEST + 2);
        let db = database(SCHEMA + 1);
        assert_eq!(migrate(&db), Err(StoreError::Newer { found: SCHEMA + 1, known: SCHEMA }));
        let db = database(OLDEST - 1);
        assert_eq!(migrate(&db), Err(StoreError::Older { found: OLDEST - 1, known: OLDEST }));
        let db = database(OLDEST + 2);
        migrate_by(&db, &[|tables| tables.create_all(), mark]).unwrap();
        assert!(!marked(&db), "nothing is done twice");
    }

    #[test]
    fn a_file_with_keys_of_other_types_is_of_an_older_schema() {
        let db = empty();
        let txn = db.begin().unwrap();
        let meta = redb::TableDefinition::<&str, &[u8]>::new(Table::Meta.name());
        txn.open_table(meta).unwrap().insert(SCHEMA_KEY, &4u32.to_be_bytes()[..]).unwrap();
        txn.commit().unwrap();
        assert_eq!(migrate(&db), Err(StoreError::Older { found: OLDEST - 1, known: OLDEST }));
    }

    #[test]
    fn a_migration_is_all_or_nothing() {
        let db = database(OLDEST);
        assert!(migrate_by(&db, &[|tables| tables.create_all(), mark, |_| Err(Fault::Closed)]).is_err());
        assert_eq!((marked(&db), read(&db).unwrap()), (false, OLDEST));
    }
}
