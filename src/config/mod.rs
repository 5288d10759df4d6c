//! The operator's configuration: read once, checked whole, then only typed values.
//!
//! `compare` tells two configurations apart, `raw` walks the file, `doc` knows its lines and collects what is wrong, `build` (with `queues` and `sockets`) turns it into the
//! types of `model` and lists every problem, `files` reads the secrets that it names, each by `secrets`.

mod acme;
mod amqp;
mod build;
mod common;
mod compare;
mod doc;
mod files;
mod kinds;
mod linking;
mod model;
mod mqtt;
mod postgres;
mod problem;
mod queues;
mod raw;
mod receivers;
mod redis;
mod ring;
mod secrets;
mod sockets;
mod sqs;
#[cfg(test)]
mod tests;
mod tls;
mod value;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use build::Draft;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::access;

pub use compare::{Change, How, Written};
pub use doc::Key;
pub use files::{
    ClientSecret, Identity, MasterKey, PairFiles, Print, ReceiverFiles, ReceiverSecrets, Secrets, Sources,
    StoreKeys,
};
pub use model::{
    Acme, Amqp, ApiListener, Config, DeadLetters, Expected, Format, Held, Http, Linking, Log, LogFormat,
    LogLevel, Mqtt, Nats, Pace, Postgres, Quarantine, Queue, QueueKind, Redis, Ring, Seen, Silence, Socket,
    Spool, Sqs, Store, Target, Tls, Tokens, Unrouted, Webhook,
};
pub use problem::{Problem, Problems};

pub use crate::domain::routing::Unclaimed;

pub use secrets::{NamedFile, SecretError, SecretSource, SourceError};

/// Longest file that is read, in bytes; room for lists of many thousand ids.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why there is no configuration. The daemon exits with 78 for each.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("can't read {}", access::explain(.path, .error))]
    Read { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads the file at `path`, and every file of a secret that it names, to see that they can be used. `made_later` says whether
/// the store, and with it its master key, is still to be made.
///
/// # Errors
/// [`ConfigError`]: the file can't be read, or there are problems in it or in the files it names, all of which are listed.
pub fn load(path: &Path, made_later: impl FnOnce(&Store) -> bool) -> Result<Config, ConfigError> {
    match examine(path, made_later)? {
        Examined { config: Some(config), problems } if problems.list.is_empty() => Ok(config),
        Examined { problems, .. } => Err(ConfigError::Invalid(problems)),
    }
}

/// Reads a configuration, whatever is wrong with the files that it names: for work on the store, which needs its own keys alone.
///
/// # Errors
/// Everything that is wrong with it, where its text is not sound.
pub fn load_text(path: &Path) -> Result<Config, ConfigError> {
    match examine(path, |_| true)? {
        Examined { config: Some(config), .. } => Ok(config),
        Examined { problems, .. } => Err(ConfigError::Invalid(problems)),
    }
}

/// A configuration with all that is wrong with it.
#[derive(Debug)]
pub struct Examined {
    /// Where its text is sound, whatever is wrong with the files that it names.
    pub config: Option<Config>,
    pub problems: Problems,
}

/// As [`load`], for a look at as much as can be looked at.
///
/// # Errors
/// [`ConfigError::Read`].
pub fn examine(path: &Path, made_later: impl FnOnce(&Store) -> bool) -> Result<Examined, ConfigError> {
    let path = &access::absolute(path);
    let text = read(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
    let Draft { config, mut problems, .. } = build::build(&text, path.parent().unwrap_or(path));
    // Where the folder is not known, nor is the place of the key in it.
    let unknown = problems.iter().any(|problem| problem.key.is_empty() || problem.key == "store.folder");
    let master = if unknown || made_later(&config.store) { MasterKey::MadeLater } else { MasterKey::Needed };
    let sound = problems.is_empty();
    if let Err(more) = config.sources.read(master) {
        let told: HashSet<String> = problems.iter().map(|problem| problem.key.clone()).collect();
        problems.extend(more.into_iter().filter(|problem| !told.contains(&problem.key)));
    }
    problems.sort_by_key(|problem| problem.line);
    let config = sound.then(|| Config { file: path.into(), written: Written::new(&text), ..config });
    Ok(Examined { config, problems: Problems { file: path.into(), list: problems } })
}

/// Reads a configuration from its text. Relative paths in it start at `folder`. No file that it names is read.
///
/// # Errors
/// Every problem, in the order of lines.
pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
    let Draft { config, problems, .. } = build::build(text, folder);
    if problems.is_empty() { Ok(Config { written: Written::new(text), ..config }) } else { Err(problems) }
}

/// How a configuration wants the log, whatever else is wrong with it; nothing where the file can't be read.
pub fn log_of(path: &Path) -> Option<Log> {
    let path = &access::absolute(path);
    let text = read(path).ok()?;
    Some(build::build(&text, path.parent().unwrap_or(path)).config.log)
}

/// Every key that is known, in the order in which they are read.
pub fn keys() -> Vec<Key> {
    // Each kind of section is asked for all its keys, so one of each gives the whole list.
    build::build("[[queue]]\n[[queue.body]]\n[[socket]]\n", Path::new("/")).keys
}

/// The text, which is overwritten when dropped, as it may hold inline keys.
fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len().min(MAX_FILE_BYTES);
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    Ok(text)
}
