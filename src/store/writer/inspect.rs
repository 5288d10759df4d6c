//! Looks at a store that no daemon has open, and changes nothing but what a crash left to be repaired.

use std::path::Path;

use super::open::look_first;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::folder::{Folder, Identity};
use crate::store::kv::{caught, file, identity};
use crate::store::memory::load;
use crate::vault::Vault;

/// redb's page cache while the file is looked at.
const CACHE_BYTES: usize = 64 << 20;

/// Checks the whole file, that it is this folder's, and that `vault` has its master key.
pub(crate) fn inspect(folder: &Path, environment: &str, vault: &Vault) -> Result<Identity, StoreError> {
    let (folder, identity) = Folder::open(folder)?;
    if identity.environment != environment {
        let configured = environment.to_owned();
        return Err(StoreError::Environment { found: identity.environment, configured });
    }
    look_first(&folder, &identity)?;
    look(&folder.data(), &identity, vault)?;
    Ok(identity)
}

/// The same of a file that nobody else has.
pub(crate) fn look(data: &Path, identity: &Identity, vault: &Vault) -> Result<(), StoreError> {
    let look = || {
        let disk = file::disk(data).map_err(Fault::from)?;
        let db = file::open(disk, CACHE_BYTES, true, identity)?.db;
        identity::verify(&db, identity, vault)?;
        Ok(load::read(&db, &[])?)
    };
    caught::reading(data, look).map(drop)
}
