//! Looks at a store that no daemon has open, and changes nothing but what a crash left to be repaired.

use std::path::Path;

use redb::Database;

use super::error::Fault;
use super::open::look_first;
use super::{Folder, Identity, Store, StoreError, load};
use crate::vault::Vault;

impl Store {
    /// Checks the whole file, that it is this folder's, and that `vault` has its master key.
    ///
    /// # Errors
    /// Each variant of [`StoreError`] says what is wrong and what helps. Blocks, for seconds where the file is large.
    pub fn inspect(folder: &Path, environment: &str, vault: &Vault) -> Result<Identity, StoreError> {
        let (folder, identity) = Folder::open(folder)?;
        if identity.environment != environment {
            let configured = environment.to_owned();
            return Err(StoreError::Environment { found: identity.environment, configured });
        }
        let data = folder.data();
        if std::fs::metadata(&data).is_ok_and(|file| file.len() == 0) {
            return Err(StoreError::Damaged("the file is empty".into()));
        }
        look_first(&folder, &identity)?;
        let look = std::panic::AssertUnwindSafe(|| {
            let builder = &mut Database::builder();
            let db = builder.set_check_integrity_on_open(true).open(&data).map_err(Fault::from)?;
            load::verify(&db, &identity, vault)?;
            Ok(load::read(&db, &[]).map(drop)?)
        });
        // redb may panic over a damaged file.
        let refused = |_| Err(StoreError::Damaged("reading it ended in a panic".into()));
        std::panic::catch_unwind(look).unwrap_or_else(refused).map(|()| identity)
    }
}
