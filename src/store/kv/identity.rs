//! What a file says of itself: whose store it is, and under which master key.

use redb::{Database, ReadableDatabase};

use crate::failpoint;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::folder::Identity;
use crate::store::kv::schema;
use crate::store::kv::tables::{META, begin_read, begin_write, create_all};
use crate::store::rows::codec::{Damaged, stamp, stamped};
use crate::vault::{Purpose, Vault, VaultError};

const STORE_KEY: &str = "store";
pub(crate) const CANARY: &str = "canary";
/// The same under the newer master key while keys are being put under it: from the first start with both, data keys
/// are made that only the newer one opens.
pub(crate) const NEXT_CANARY: &str = "next_canary";

/// Writes schema, identity and canary into a file that was just made.
pub(crate) fn initialise(db: &Database, identity: &Identity, vault: &Vault) -> Result<(), Fault> {
    let txn = begin_write(db)?;
    create_all(&txn)?;
    failpoint!("create.tables");
    schema::note(&txn)?;
    {
        let mut meta = txn.open_table(META)?;
        let mut name = identity.store.as_bytes().to_vec();
        stamp("meta", STORE_KEY.as_bytes(), &mut name);
        meta.insert(STORE_KEY, name.as_slice())?;
        let (_, canary) = vault.fresh_key(0, Purpose::Canary)?;
        meta.insert(CANARY, canary.as_slice())?;
    }
    Ok(txn.commit()?)
}

/// Checks that the file is this store, of a schema that we know, under a master key that we have.
pub(crate) fn verify(db: &Database, identity: &Identity, vault: &Vault) -> Result<(), StoreError> {
    schema::is_known(db)?;
    let (name, canaries) = read_meta(db)?;
    if name != identity.store {
        return Err(StoreError::Foreign { found: name, expected: identity.store.clone() });
    }
    canaries.iter().try_for_each(|canary| opens(vault, canary))
}

fn opens(vault: &Vault, canary: &[u8]) -> Result<(), StoreError> {
    match vault.unwrap(0, Purpose::Canary, canary) {
        Ok(_) => Ok(()),
        Err(VaultError::UnknownMaster(sealed)) => {
            let configured: Vec<_> = vault.known().map(|id| id.to_string()).collect();
            Err(StoreError::WrongKey { sealed: sealed.to_string(), configured: configured.join(", ") })
        }
        Err(_) => Err(StoreError::Damaged("the proof of the master key does not open".into())),
    }
}

/// Checks without writing that the file is this store, of a schema that we know.
pub(crate) fn identify(db: &impl ReadableDatabase, identity: &Identity) -> Result<(), StoreError> {
    schema::is_known(db)?;
    let (name, _) = read_meta(db)?;
    if name == identity.store {
        Ok(())
    } else {
        Err(StoreError::Foreign { found: name, expected: identity.store.clone() })
    }
}

/// Notes the master key that data keys are made under from now on, so that a later start without it is refused.
pub(crate) fn note_master(db: &Database, vault: &Vault) -> Result<(), Fault> {
    let (_, canaries) = read_meta(db)?;
    let Some(next) = vault.rewrap(0, Purpose::Canary, &canaries[0])? else { return Ok(()) };
    let txn = begin_write(db)?;
    txn.open_table(META)?.insert(NEXT_CANARY, next.as_slice())?;
    Ok(txn.commit()?)
}

/// The store's name, and its canaries, the older first.
fn read_meta(db: &impl ReadableDatabase) -> Result<(String, Vec<Vec<u8>>), Fault> {
    let meta = begin_read(db)?.open_table(META)?;
    let damaged = || Fault::Damaged(Damaged("meta"));
    let name = meta.get(STORE_KEY)?.ok_or_else(damaged)?;
    let name = stamped("meta", STORE_KEY.as_bytes(), name.value())?.to_vec();
    let mut canaries = vec![meta.get(CANARY)?.ok_or_else(damaged)?.value().to_vec()];
    canaries.extend(meta.get(NEXT_CANARY)?.map(|next| next.value().to_vec()));
    Ok((String::from_utf8(name).map_err(|_| damaged())?, canaries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        Database::builder().create_with_backend(backend).unwrap()
    }

    fn vault() -> Vault {
        Vault::from_hex("ab".repeat(32).as_bytes(), None).unwrap()
    }

    fn identity() -> Identity {
        Identity { store: "one".into(), environment: "test".into(), created: "now".into() }
    }

    #[test]
    fn a_wrong_master_key_and_a_foreign_file_are_named() {
        let db = database();
        initialise(&db, &identity(), &vault()).unwrap();
        let other = Vault::from_hex("cd".repeat(32).as_bytes(), None).unwrap();
        let StoreError::WrongKey { sealed, configured } = verify(&db, &identity(), &other).unwrap_err()
        else {
            panic!("must name the keys")
        };
        assert_eq!((sealed, configured), (vault().current().to_string(), other.current().to_string()));
        let foreign = Identity { store: "two".into(), ..identity() };
        assert!(matches!(verify(&db, &foreign, &vault()), Err(StoreError::Foreign { .. })));
    }
}
