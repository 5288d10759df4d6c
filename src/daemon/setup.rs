//! Store and vault from the configuration: made once, opened at every start.

use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use super::Error;
use crate::clock;
use crate::config::{self, Config, SecretSource};
use crate::failpoint;
use crate::store::{
    Bounds, Folder, HeldBounds, Identity, Options, QueueSpec, Store, StoreError, Unclaimed, sync_folder,
    write_new,
};
use crate::vault::{Vault, VaultError};

/// Attempts and size are what bounds these, not their number.
const ANY_NUMBER: u64 = u64::MAX;

/// Makes identity, store and, when it is a file, the master key; only if none of them exists.
///
/// # Errors
/// [`StoreError::Partial`] when any of them is there.
pub fn create_store(config: &Config) -> Result<Identity, Error> {
    let folder = &config.store.folder;
    let identity = Identity {
        store: random_name()?,
        environment: config.store.environment.clone(),
        created: clock::now().rfc3339(),
    };
    if !Folder::is_empty(folder) && Folder::is_whole(folder) {
        return Err(StoreError::Exists { folder: folder.clone() }.into());
    }
    let fresh = !Folder::is_being_made(folder);
    if let SecretSource::File(key) = &config.keys.master
        && fresh
        && key.exists()
    {
        return Err(StoreError::Partial {
            folder: folder.clone(),
            present: format!("the master key {}", key.display()),
            absent: "the store".into(),
        }
        .into());
    }
    let mut secret = None;
    let vault = || {
        if let SecretSource::File(key) = &config.keys.master
            && !key.exists()
        {
            make_master_key(key)?;
            failpoint!("create.key");
        }
        match config.keys.master.read() {
            Ok(text) => Ok(Vault::from_hex(text.expose(), None)?),
            Err(error) => {
                let said = StoreError::Unavailable(error.to_string());
                secret = Some(error);
                Err(said)
            }
        }
    };
    let created = Store::create(folder, &identity, vault);
    match (created, secret) {
        (Ok(()), _) => Ok(identity),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(error), None) => Err(error.into()),
    }
}

/// Opens the store; makes it first when the configuration says so and nothing of it is there.
pub(super) fn open_store(config: &Config) -> Result<Store, Error> {
    if config.store.create && Folder::is_empty(&config.store.folder) {
        let identity = create_store(config)?;
        tracing::info!(folder = %config.store.folder.display(), store = identity.store, "made a new store");
    }
    if !Folder::is_empty(&config.store.folder) || config.keys.previous.is_some() {
        let current = config.keys.master.read()?;
        let previous = config.keys.previous.as_ref().map(SecretSource::read).transpose()?;
        let vault = Vault::from_hex(current.expose(), previous.as_ref().map(|key| key.expose().as_slice()))
            .map_err(StoreError::from)?;
        return Ok(Store::open(&config.store.folder, &config.store.environment, vault, options(config))?);
    }
    Err(StoreError::Missing { folder: config.store.folder.clone() }.into())
}

/// The store's bounds, retention and queues.
pub fn options(config: &Config) -> Options {
    Options {
        max_bytes: config.store.max_bytes,
        cache_bytes: config.store.cache,
        reserve_bytes: config.store.reserve,
        min_free_bytes: config.store.min_free,
        seen_for: config.seen.retention,
        max_ids: config.seen.max_ids,
        held: HeldBounds {
            max_age: config.held.max_age,
            max_events: config.held.max_events,
            max_bytes: config.held.max_bytes,
            total_bytes: config.held.total_bytes,
        },
        dead: Bounds {
            max_age: config.dead_letters.max_age,
            max_events: ANY_NUMBER,
            max_bytes: config.dead_letters.max_bytes,
        },
        unrouted: Bounds {
            max_age: config.unrouted.max_age,
            max_events: ANY_NUMBER,
            max_bytes: config.unrouted.max_bytes,
        },
        quarantined: Bounds {
            max_age: config.quarantine.max_age,
            max_events: config.quarantine.max_events,
            max_bytes: config.quarantine.max_bytes,
        },
        queues: config.queues.iter().map(queue_spec).collect(),
    }
}

fn queue_spec(queue: &config::Queue) -> QueueSpec {
    QueueSpec {
        name: queue.name.clone(),
        filter: queue.filter.clone(),
        unclaimed: match queue.unclaimed {
            config::Unclaimed::Hold => Unclaimed::Hold,
            config::Unclaimed::Deliver => Unclaimed::Deliver,
        },
        max_age: queue.max_age,
        max_bytes: queue.max_bytes,
        max_attempts: queue.max_attempts,
    }
}

fn make_master_key(path: &Path) -> Result<(), StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|e| StoreError::Unavailable(format!("{}: {e}", parent.display())))?;
    }
    // Whole or not there: half a key would be refused for ever.
    let unfinished = path.with_extension("unfinished");
    let said = |e: std::io::Error| StoreError::Unavailable(format!("{}: {e}", path.display()));
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(said(error)),
        _ => {}
    }
    write_new(&unfinished, Vault::generate_hex()?.as_bytes())?;
    failpoint!("create.half_a_key");
    std::fs::rename(&unfinished, path).map_err(said)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(folder)
}

fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Vault(VaultError::NoRandom))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
