//! Looks at a store that no daemon has open, and changes nothing but what a crash left to be repaired.

use std::path::Path;

use super::open::look_first;
use crate::store::kv::disk::Device;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::folder::{Folder, Identity};
use crate::store::kv::overlay::Overlay;
use crate::store::kv::schema::{self, SCHEMA};
use crate::store::kv::{caught, file, identity};
use crate::store::memory::load;
use crate::vault::Vault;

/// redb's page cache while the file is looked at.
const CACHE_BYTES: usize = 64 << 20;

/// Checks the whole file, that it is this folder's, and that `vault` has its master key. The schema that the file has is returned.
pub(crate) fn inspect(folder: &Path, environment: &str, vault: &Vault) -> Result<u32, StoreError> {
    let (folder, identity) = Folder::open(folder)?;
    if identity.environment != environment {
        let configured = environment.to_owned();
        return Err(StoreError::Environment { found: identity.environment, configured });
    }
    look_first(&folder, &identity)?;
    look(&folder.data(), &identity, vault)
}

/// The same of a file that nobody else has. An older one is read as a start would: brought to our schema, in memory.
pub(crate) fn look(data: &Path, identity: &Identity, vault: &Vault) -> Result<u32, StoreError> {
    let look = || {
        let disk = file::disk(data).map_err(Fault::from)?;
        let mut db = file::open(disk, CACHE_BYTES, true, identity)?.db;
        identity::verify(&db, identity, vault)?;
        let found = schema::of(&db)?;
        if found != SCHEMA {
            // redb has its file alone.
            drop(db);
            let over = Overlay::over(file::readable(data).map_err(Fault::from)?).map_err(Fault::from)?;
            db = file::open(Device::new(over), CACHE_BYTES, false, identity)?.db;
            schema::migrate(&db)?;
        }
        load::read(&db, &[])?;
        Ok(found)
    };
    caught::reading(data, look)
}
