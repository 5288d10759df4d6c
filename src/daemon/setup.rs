//! Store and vault from the configuration: made once, opened at every start.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use super::error::Error;
use crate::clock;
use crate::config::{self, Config, ConfigError, Examined, MasterKey, SecretSource, Secrets, StoreKeys};
use crate::domain::secret::Secret;
use crate::failpoint;
use crate::store::{
    BackupHead, Bounds, DEVICES_WAITING, Folder, HeldBounds, Identity, Options, QueueSpec, ReceiptBounds,
    Silence, Store, StoreError, sync_folder, write_new,
};
use crate::vault::{Vault, VaultError};

/// Attempts and size are what bounds these, not their number.
const ANY_NUMBER: u64 = u64::MAX;

/// Reads the configuration and all that it names, as `serve` needs it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    config::load(file, is_made_by_serve)
}

/// The same, for a look at as much as can be looked at.
///
/// # Errors
/// When the file can't be read.
pub fn examine(file: &Path) -> Result<Examined, ConfigError> {
    config::examine(file, is_made_by_serve)
}

/// The same, as `init` and `restore` need it: with the keys of the store alone, which they read themselves.
///
/// # Errors
/// Everything that is wrong with its text.
pub fn load_text(file: &Path) -> Result<Config, ConfigError> {
    config::load_text(file)
}

/// The same as [`load`], without a master key, which is made later.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_to_create(file: &Path) -> Result<Config, ConfigError> {
    config::load(file, |_| true)
}

/// Where it can't be told, opening the store says why.
fn is_made_by_serve(store: &config::Store) -> bool {
    store.create && Folder::is_empty(&store.folder).unwrap_or(true)
}

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
    if !Folder::is_empty(folder)? && Folder::is_whole(folder)? {
        return Err(StoreError::Exists { folder: folder.clone() }.into());
    }
    if !Folder::is_being_made(folder)? {
        master_key_to_make(config)?;
    }
    let master = &config.sources.master.source;
    let mut refused = None;
    let make_vault = || {
        if let SecretSource::File(key) = master
            && !key.exists()
        {
            make_master_key(key)?;
            failpoint!("create.key");
        }
        vault_alone(config).map_err(|error| {
            let said = StoreError::Unavailable(error.to_string());
            refused = Some(error);
            said
        })
    };
    let created = Store::create(folder, &identity, make_vault);
    match (created, refused) {
        (Ok(()), _) => Ok(identity),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(error.into()),
    }
}

/// The file in which the master key of a new store is made; none where it is a credential.
///
/// # Errors
/// [`StoreError::Partial`] when it is there: it is the key of a store that is not where it should be.
pub fn master_key_to_make(config: &Config) -> Result<Option<&Path>, StoreError> {
    let SecretSource::File(key) = &config.sources.master.source else { return Ok(None) };
    if key.exists() {
        return Err(StoreError::Partial {
            folder: config.store.folder.clone(),
            present: format!("the master key {}", key.display()),
            absent: "the store".into(),
        });
    }
    Ok(Some(key))
}

/// Makes sure that the store's folder is there, because sockets may be bound in it before the store is opened, or made.
///
/// # Errors
/// [`StoreError::Missing`] when there is no store and none is to be made.
pub(super) fn make_folder(config: &Config) -> Result<(), Error> {
    let folder = &config.store.folder;
    if folder.exists() {
        // Before a socket is bound in it, because the store's error says more than the socket's.
        Folder::is_empty(folder)?;
        return Ok(());
    }
    if !config.store.create {
        return Err(StoreError::Missing { folder: folder.clone() }.into());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    Ok(made.map_err(|e| StoreError::Unavailable(format!("{}: {e}", folder.display())))?)
}

/// Opens the store; makes it first when the configuration says so and nothing of it is there.
pub(super) fn open_store(config: &Config) -> Result<(Store, Secrets), Error> {
    let folder = &config.store.folder;
    if Folder::is_empty(folder)? {
        if !config.store.create {
            return Err(StoreError::Missing { folder: folder.clone() }.into());
        }
        let identity = create_store(config)?;
        let master_key = config.sources.master.source.to_string();
        tracing::info!(
            folder = %folder.display(),
            store = identity.store,
            master_key,
            "made a new store; keep a copy of its master key elsewhere"
        );
    }
    let secrets = config.secrets(MasterKey::Needed)?;
    let store = Store::open(folder, &config.store.environment, vault(&secrets)?, options(config));
    Ok((store.map_err(|error| with_place(config, error))?, secrets))
}

/// Checks the store that is there, and that its master key is the configured one. Its schema is returned.
///
/// # Errors
/// What is wrong with it, and what helps.
pub fn inspect_store(config: &Config, secrets: &Secrets) -> Result<u32, Error> {
    let found = Store::inspect(&config.store.folder, &config.store.environment, &vault(secrets)?);
    found.map_err(|error| with_place(config, error))
}

/// Makes the store of a backup, which `name` names, in the configured folder.
///
/// # Errors
/// A fault of the backup, its master key or the folder, and the way out.
pub fn restore_store(config: &Config, backup: &File, name: &str) -> Result<BackupHead, Error> {
    let store = &config.store;
    let restored = Store::restore(&store.folder, backup, name, &store.environment, &vault_alone(config)?);
    restored.map_err(|error| with_place(config, error))
}

fn vault(secrets: &Secrets) -> Result<Vault, Error> {
    let master = secrets.master.as_ref().ok_or(VaultError::BadMaster).map_err(StoreError::from)?;
    vault_of(master, secrets.previous.as_ref())
}

/// The vault, where no other secret is needed, nor has to be there.
fn vault_alone(config: &Config) -> Result<Vault, Error> {
    let StoreKeys { master, previous } = config.store_keys()?;
    vault_of(&master, previous.as_ref())
}

fn vault_of(master: &Secret<Vec<u8>>, previous: Option<&Secret<Vec<u8>>>) -> Result<Vault, Error> {
    let previous = previous.map(|key| key.expose().as_slice());
    Ok(Vault::from_hex(master.expose(), previous).map_err(StoreError::from)?)
}

/// The store knows neither the file of its key nor the configuration.
fn with_place(config: &Config, error: StoreError) -> Error {
    match error {
        StoreError::WrongKey { .. } => Error::StoreAt { place: config.sources.master.to_string(), error },
        StoreError::Foreign { .. } | StoreError::Newer { .. } | StoreError::Environment { .. } => {
            Error::StoreAt { place: format!("store.folder = \"{}\"", config.store.folder.display()), error }
        }
        error => error.into(),
    }
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
        silence: Silence::new(config.silence.after, config.silence.account_after),
        audit: ReceiptBounds { max_age: config.audit.max_age, max_bytes: config.audit.max_bytes },
        receipts: ReceiptBounds { max_age: config.receipts.max_age, max_bytes: config.receipts.max_bytes },
        forget_removed_after: config.linking.forget_after_removal,
        devices_waiting: DEVICES_WAITING,
        queues: config.queues.iter().map(queue_spec).collect(),
    }
}

fn queue_spec(queue: &config::Queue) -> QueueSpec {
    QueueSpec {
        name: queue.name.clone(),
        filter: queue.filter.clone(),
        unclaimed: queue.unclaimed,
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
