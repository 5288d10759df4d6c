//! Makes stores and opens them: checked, read, and with a writer that runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::committer;
use super::group::{Command, Writer};
use super::handle::Handle;
use crate::store::kv::db::Db;
use crate::store::kv::disk::Pages;
use crate::store::kv::error::{Fault, StoreError};
use crate::store::kv::file::{OpenFn, Opened};
use crate::store::kv::folder::{Folder, Identity, unavailable};
use crate::store::kv::{caught, file, identity, schema};
use crate::store::memory::load;
use crate::store::memory::options::Options;
use crate::store::memory::shared::Shared;
use crate::store::read::readers::Readers;
use crate::vault::Vault;

/// Below this size a file is checked whole when it is opened (about 5 ms a megabyte).
const CHECK_WHOLE_BYTES: u64 = 64 << 20;

/// redb's page cache where next to nothing is read or written.
const SMALL_CACHE_BYTES: usize = 1 << 20;

/// A store that runs, and the thread of its writer.
pub(crate) type Running = (Arc<Handle>, JoinHandle<()>);

/// Makes an empty store in `folder`; never over an existing one.
pub(crate) fn create(
    folder: &Path,
    identity: &Identity,
    vault: impl FnOnce() -> Result<Vault, StoreError>,
) -> Result<(), StoreError> {
    let fill = |made: &Folder| {
        let vault = vault()?;
        file::create(&made.data())?;
        let disk = file::disk(&made.data()).map_err(Fault::from)?;
        let db = Db::open(Pages::of(disk), SMALL_CACHE_BYTES, false)?;
        identity::initialise(&db, identity, &vault)?;
        drop(db);
        std::fs::File::open(made.data())
            .and_then(|file| file.sync_all())
            .map_err(|e| unavailable(&made.data(), &e))
    };
    Folder::create(folder, identity, fill).map(drop)
}

/// Opens the store in `folder` and starts its writer.
pub(crate) fn open(
    folder: &Path,
    environment: &str,
    vault: Vault,
    options: Options,
) -> Result<Running, StoreError> {
    let (folder, identity) = Folder::open(folder)?;
    if identity.environment != environment {
        let configured = environment.to_owned();
        return Err(StoreError::Environment { found: identity.environment, configured });
    }
    look_first(&folder, &identity)?;
    let (data, cache) = (folder.data(), options.cache_bytes);
    let open = move |identity: &Identity| {
        let disk = file::disk(&data).map_err(Fault::from)?;
        let check = disk.len().map_err(Fault::from)? <= CHECK_WHOLE_BYTES;
        file::open(disk, cache, check, identity)
    };
    start(folder, identity, vault, options, Box::new(open))
}
/// redb writes into whatever it opens: what is plainly not ours to write is refused before.
pub(crate) fn look_first(folder: &Folder, identity: &Identity) -> Result<(), StoreError> {
    let look = || {
        let file = file::readable(&folder.data()).map_err(Fault::from)?;
        // Where it was not closed, or is damaged, that is for the real opening to say.
        let looked = Db::peek(Pages::of(file), SMALL_CACHE_BYTES, |view| identity::identify(view, identity));
        looked.unwrap_or(Ok(()))
    };
    match caught::reading(&folder.data(), look) {
        Err(error @ (StoreError::Newer { .. } | StoreError::Older { .. } | StoreError::Foreign { .. })) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

pub(crate) fn start(
    folder: Folder,
    identity: Identity,
    vault: Vault,
    options: Options,
    open: OpenFn,
) -> Result<Running, StoreError> {
    let (handle, writer, commands) = prepare(folder, identity, vault, options, open, Readers::start()?)?;
    let state = Arc::clone(&handle.shared);
    let healthy = move || state.unavailable().is_none();
    let thread = std::thread::Builder::new()
        .name("store".into())
        .spawn(move || committer::run(writer, &commands, healthy))
        .map_err(|e| StoreError::Unavailable(e.to_string()))?;
    Ok((handle, thread))
}

/// A store that has been read, and what runs it.
pub(crate) fn prepare(
    folder: Folder,
    identity: Identity,
    vault: Vault,
    options: Options,
    open: OpenFn,
    readers: Readers,
) -> Result<(Arc<Handle>, Writer, Receiver<Command>), StoreError> {
    let shared = Arc::new(Shared::new(open, folder, identity, vault, options));
    let read = || {
        let Opened { db, wal } = shared.opened()?;
        identity::verify(&db, &shared.identity, &shared.vault)?;
        schema::migrate(&db)?;
        identity::note_master(&db, &shared.vault)?;
        let loaded = load::load(&db, &shared.options.get())?;
        Ok((db, wal, loaded))
    };
    let (db, wal, loaded) = caught::reading(&shared.folder.data(), read)?;
    shared.set_db(Some(db));
    *shared.queues() = loaded.queues;
    *shared.users_mut() = loaded.users;
    let (levels, ready) = sync_channel(1);
    let writer = Writer::new(Arc::clone(&shared), loaded.core, wal, ready);
    writer.watch_disk();
    writer.count();
    let (commands, receiver) = sync_channel(committer::QUEUE);
    Ok((Handle::new(shared, commands, levels, readers), writer, receiver))
}
