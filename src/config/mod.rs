//! The operator's configuration: read once, checked whole, then only typed values.
//!
//! `raw` walks the file, `doc` knows its lines and collects what is wrong, `build` (with `queues` and `sockets`) turns it into the
//! types of `model` and lists every problem, `secrets` reads what lies outside the file.

mod build;
mod common;
mod doc;
mod linking;
mod model;
mod problem;
mod queues;
mod raw;
mod ring;
mod secrets;
mod sockets;
#[cfg(test)]
mod tests;
mod value;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use raw::At;
use thiserror::Error;
use zeroize::Zeroizing;

pub use doc::Key;
pub use model::{
    ClientSecret, Config, DeadLetters, Format, Held, Http, Linking, Log, LogFormat, LogLevel, MasterKeys,
    Pace, Quarantine, Queue, QueueKind, Ring, Seen, Socket, Store, Tokens, Unclaimed, Unrouted, Webhook,
};
pub use problem::{Problem, Problems};

pub use secrets::{SecretError, SecretSource, SourceError};

/// Longest file that is read, in bytes; room for lists of many thousand ids.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why there is no configuration. The daemon exits with 78 for each.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("can't read {}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads the file at `path` and the HMAC keys it names. The master keys are not read.
///
/// # Errors
/// [`ConfigError`]: the file can't be read, or holds problems, all of which are listed.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
    let mut draft = build::build(&text);
    let mut keys = draft.config.as_mut().map(|c| std::mem::take(&mut c.hmac_keys)).unwrap_or_default();
    for At { line, key, value: source } in draft.key_files {
        let read = source.read().map_err(|error| error.to_string());
        if let Err(hint) = read.and_then(|key| build::add_hmac_key(key, &mut keys)) {
            let value = Some(format!("{:?}", source.to_string()));
            draft.problems.push(Problem { line, key, value, hint });
        }
    }
    draft.problems.sort_by_key(|problem| problem.line);
    match draft.config {
        Some(config) if draft.problems.is_empty() => Ok(Config { hmac_keys: keys, ..config }),
        _ => Err(ConfigError::Invalid(Problems { file: path.into(), list: draft.problems })),
    }
}

/// Reads a configuration from its text. The keys in `hmac_key_files` are not read.
///
/// # Errors
/// Every problem, in the order of lines.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let draft = build::build(text);
    match draft.config {
        Some(config) if draft.problems.is_empty() => Ok(config),
        _ => Err(draft.problems),
    }
}

/// Every key that is known, in the order in which they are read.
pub fn keys() -> Vec<Key> {
    // Each kind of section is asked for all its keys, so one of each gives the whole list.
    build::build("[[queue]]\n[[socket]]\n").keys
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
