//! The schema of a store file: which one it has, and the steps from an older one to ours.

use redb::{Database, ReadableDatabase, WriteTransaction};

use super::error::{Fault, StoreError};
use super::tables::{META, begin_read, begin_write};
use crate::store::rows::codec::Damaged;
use crate::store::rows::codec::to_u32;

/// The oldest schema that is brought up to ours; those before it were never released.
const OLDEST: u32 = 4;
/// The schema that this program writes.
pub(crate) const SCHEMA: u32 = OLDEST;
const SCHEMA_KEY: &str = "schema";

/// Brings a file from its schema to the next one.
type Migration = fn(&WriteTransaction) -> Result<(), Fault>;
/// From [`OLDEST`] on.
const MIGRATIONS: &[Migration] = &[];

/// Notes that the file has our schema.
pub(crate) fn note(txn: &WriteTransaction) -> Result<(), Fault> {
    txn.open_table(META)?.insert(SCHEMA_KEY, &SCHEMA.to_be_bytes()[..])?;
    Ok(())
}

/// Refuses a file whose schema we do not know.
pub(crate) fn is_known(db: &impl ReadableDatabase) -> Result<(), StoreError> {
    match read(db)? {
        found if found > SCHEMA => Err(StoreError::Newer { found, known: SCHEMA }),
        found if found < OLDEST => Err(StoreError::Older { found, known: OLDEST }),
        _ => Ok(()),
    }
}

/// Brings the file up to our schema, in one transaction.
pub(crate) fn migrate(db: &Database) -> Result<(), StoreError> {
    is_known(db)?;
    Ok(migrate_by(db, MIGRATIONS)?)
}

fn migrate_by(db: &Database, migrations: &[Migration]) -> Result<(), Fault> {
    let done = read(db)?.saturating_sub(OLDEST) as usize;
    let steps = migrations.get(done..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let txn = begin_write(db)?;
    steps.iter().try_for_each(|step| step(&txn))?;
    let schema = OLDEST + to_u32(migrations.len());
    txn.open_table(META)?.insert(SCHEMA_KEY, &schema.to_be_bytes()[..])?;
    tracing::info!(schema, "the store was brought to this version's schema");
    Ok(txn.commit()?)
}

fn read(db: &impl ReadableDatabase) -> Result<u32, Fault> {
    let damaged = || Fault::Damaged(Damaged("meta"));
    let meta = begin_read(db)?.open_table(META)?;
    let value = meta.get(SCHEMA_KEY)?.ok_or_else(damaged)?;
    Ok(u32::from_be_bytes(value.value().try_into().map_err(|_| damaged())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::tables::create_all;

    fn database(schema: u32) -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        let db = Database::builder().create_with_backend(backend).unwrap();
        let txn = begin_write(&db).unwrap();
        create_all(&txn).unwrap();
        txn.open_table(META).unwrap().insert(SCHEMA_KEY, &schema.to_be_bytes()[..]).unwrap();
        txn.commit().unwrap();
        db
    }

    fn marked(db: &Database) -> bool {
        begin_read(db).unwrap().open_table(META).unwrap().get("marked").unwrap().is_some()
    }

    fn mark(txn: &WriteTransaction) -> Result<(), Fault> {
        txn.open_table(META)?.insert("marked", &b"yes"[..])?;
        Ok(())
    }

    #[test]
    fn every_schema_but_the_oldest_has_its_step() {
        assert_eq!(OLDEST as usize + MIGRATIONS.len(), SCHEMA as usize);
    }

    #[test]
    fn an_older_schema_is_migrated_and_one_that_we_do_not_know_refused() {
        let db = database(OLDEST);
        migrate_by(&db, &[create_all, mark]).unwrap();
        assert!(marked(&db));
        assert_eq!(read(&db).unwrap(), OLDEST + 2);
        let db = database(SCHEMA + 1);
        assert_eq!(migrate(&db), Err(StoreError::Newer { found: SCHEMA + 1, known: SCHEMA }));
        let db = database(OLDEST - 1);
        assert_eq!(migrate(&db), Err(StoreError::Older { found: OLDEST - 1, known: OLDEST }));
        let db = database(OLDEST + 2);
        migrate_by(&db, &[create_all, mark]).unwrap();
        assert!(!marked(&db), "nothing is done twice");
    }

    #[test]
    fn a_migration_is_all_or_nothing() {
        let db = database(OLDEST);
        assert!(migrate_by(&db, &[create_all, mark, |_| Err(Fault::Closed)]).is_err());
        assert_eq!((marked(&db), read(&db).unwrap()), (false, OLDEST));
    }
}
