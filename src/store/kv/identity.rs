//! What a file says of itself: whose store it is, and under which master key.

use crate::failpoint;
use crate::store::kv::db::Db;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::folder::Identity;
use crate::store::kv::schema;
use crate::store::kv::view::View;
use crate::store::rows::facts::Fact;
use crate::store::rows::row::Table;
use crate::vault::{Purpose, Vault, VaultError};

const STORE_KEY: &str = "store";

/// Writes schema, identity and canary into a file that was just made.
pub(crate) fn initialise(db: &Db, identity: &Identity, vault: &Vault) -> Result<(), Fault> {
    db.write(|tables| {
        tables.create_all()?;
        failpoint!("create.tables");
        schema::note(tables)?;
        tables.put(STORE_KEY, &Fact(identity.store.clone().into_bytes()))?;
        let (_, canary) = vault.fresh_key(0, Purpose::Canary)?;
        tables.put(Fact::CANARY, &Fact(canary))
    })
}

/// Checks that the file is this store, of a schema that we know, under a master key that we have.
pub(crate) fn verify(db: &Db, identity: &Identity, vault: &Vault) -> Result<(), StoreError> {
    let view = db.view()?;
    identify(&view, identity)?;
    canaries(&view)?.iter().try_for_each(|canary| opens(vault, canary))
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
pub(crate) fn identify(view: &View, identity: &Identity) -> Result<(), StoreError> {
    schema::is_known(view)?;
    let damaged = || Fault::from(Table::Meta.damaged());
    let Fact(name) = view.row(STORE_KEY)?.ok_or_else(damaged)?;
    let found = String::from_utf8(name).map_err(|_| damaged())?;
    if found == identity.store {
        Ok(())
    } else {
        Err(StoreError::Foreign { found, expected: identity.store.clone() })
    }
}

/// Notes the master key that data keys are made under from now on, so that a later start without it is refused.
pub(crate) fn note_master(db: &Db, vault: &Vault) -> Result<(), Fault> {
    let canaries = canaries(&db.view()?)?;
    let Some(next) = vault.rewrap(0, Purpose::Canary, &canaries[0])? else { return Ok(()) };
    db.write(|tables| tables.put(Fact::NEXT_CANARY, &Fact(next)))
}

/// The store's canaries, the older first.
fn canaries(view: &View) -> Result<Vec<Vec<u8>>, Fault> {
    let Fact(canary) = view.row(Fact::CANARY)?.ok_or(Table::Meta.damaged())?;
    let next = view.row(Fact::NEXT_CANARY)?.map(|Fact(next)| next);
    Ok([canary].into_iter().chain(next).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::disk::{Device, Pages};

    fn database() -> Db {
        let pages = Pages::of(Device::new(redb::backends::InMemoryBackend::new()));
        Db::open(pages, 1 << 20, false).unwrap()
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
