//! Makes a store of a backup, in a folder where none is.

use std::fs::{File, OpenOptions};
use std::path::Path;

use super::inspect;
use crate::failpoint;
use crate::store::kv::backup_head::{self, BackupHead};
use crate::store::kv::error::StoreError;
use crate::store::kv::file;
use crate::store::kv::folder::{Folder, Identity, unavailable};
use crate::vault::Vault;

/// Checks the backup, copies it, and looks at the store that it makes as `check` does.
pub(crate) fn restore(
    folder: &Path,
    backup: &File,
    name: &str,
    environment: &str,
    vault: &Vault,
) -> Result<BackupHead, StoreError> {
    let bad = |why: String| StoreError::BadBackup { file: name.to_owned(), why };
    let head = backup_head::read(backup).map_err(|e| bad(e.to_string()))?.map_err(bad)?;
    let identity = &head.snapshot.identity;
    if identity.environment != environment {
        let (found, configured) = (identity.environment.clone(), environment.to_owned());
        return Err(StoreError::Environment { found, configured });
    }
    let mut begun = false;
    let fill = |made: &Folder| {
        begun = true;
        put(made, backup, identity, vault)
    };
    let made = Folder::create(folder, identity, fill).map(drop);
    if made.is_err() && begun {
        Folder::abandon(folder)?;
    }
    match made {
        Ok(()) => Ok(head),
        // Its pages are what `ringhookd backup` wrote, and contradict each other all the same.
        Err(StoreError::Damaged(why)) => Err(bad(why)),
        Err(error) => Err(error),
    }
}

fn put(made: &Folder, backup: &File, identity: &Identity, vault: &Vault) -> Result<(), StoreError> {
    let data = made.data();
    let said = |e: std::io::Error| unavailable(&data, &e);
    file::create(&data)?;
    let to = OpenOptions::new().write(true).open(&data).map_err(said)?;
    backup_head::copy_pages(backup, &to).map_err(said)?;
    failpoint!("restore.copied");
    to.sync_all().map_err(said)?;
    inspect::look(&data, identity, vault).map(drop)
}
