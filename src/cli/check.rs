//! `ringhookd check`: everything that can be looked at without starting, with every problem listed.

use std::path::{Path, PathBuf};

use nix::unistd::Group;
use rustix::fs::{Access, access};
use serde_json::json;

use super::args::Common;
use super::failure::Failure;
use super::output::Output;
use super::serve::needed;
use crate::clock::RingClock;
use crate::config::{self, Config, ConfigError, QueueKind, SecretSource};
use crate::daemon;
use crate::store::{Folder, Store, StoreError};
use crate::vault::Vault;

/// What was found, as lines for people.
#[derive(Debug, Default)]
struct Findings {
    problems: Vec<String>,
    /// Fine, but worth knowing.
    notes: Vec<String>,
}

/// Exit 1 with every problem listed.
pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let file = needed(common)?;
    let mut out = Output::open(common.json)?;
    let mut found = Findings::default();
    match config::load(file) {
        Ok(config) => found.look(&config),
        Err(ConfigError::Invalid(problems)) => {
            found.problems.extend(problems.to_string().lines().map(str::to_owned));
        }
        Err(error) => found.problems.push(error.to_string()),
    }
    let Findings { problems, notes } = found;
    if out.json {
        out.item(&json!({"ok": problems.is_empty(), "problems": problems, "notes": notes}))?;
    } else {
        problems.iter().try_for_each(|line| out.line(line))?;
        notes.iter().try_for_each(|line| out.line(&format!("note: {line}")))?;
        if problems.is_empty() {
            out.line("no problem found")?;
        }
    }
    out.flush()?;
    if problems.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

impl Findings {
    fn look(&mut self, config: &Config) {
        self.store(config);
        for queue in &config.queues {
            if let QueueKind::Spool { folder, .. } = &queue.kind {
                self.writable(&format!("queue {}: folder", queue.name), folder);
            }
        }
        if let Some(ring) = &config.ring
            && let Err(error) = daemon::ring_api(ring, RingClock::default())
        {
            self.problems.push(error.to_string());
        }
        self.writable("tokens.guard_folder", &config.tokens.guard_folder);
        for socket in &config.sockets {
            let parent = socket.path.parent().unwrap_or(Path::new("."));
            if !(config.store.create && socket.path.starts_with(&config.store.folder)) {
                self.writable("socket: the folder", parent);
            }
            if let Some(group) = &socket.group {
                self.group(&socket.path, group);
            }
        }
    }

    fn store(&mut self, config: &Config) {
        let folder = &config.store.folder;
        self.writable("store.folder", folder);
        if Folder::is_empty(folder) {
            if config.store.create {
                self.notes.push(format!("there is no store in {} yet; serve makes it", folder.display()));
            } else {
                let missing = StoreError::Missing { folder: folder.clone() };
                self.problems.push(missing.to_string());
            }
            return;
        }
        let Some(vault) = self.vault(config) else { return };
        match Store::inspect(folder, &config.store.environment, &vault) {
            Ok(_) => {}
            Err(StoreError::InUse { holder, .. }) => {
                self.notes.push(format!("the store is in use by {holder}, so it was not looked at"));
            }
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    fn vault(&mut self, config: &Config) -> Option<Vault> {
        let mut read = |key: &str, source: &SecretSource| {
            source.read().map_err(|error| self.problems.push(format!("keys.{key}: {source}: {error}"))).ok()
        };
        let master = read("master", &config.keys.master);
        let previous = config.keys.previous.as_ref().map(|source| read("previous", source));
        let previous = previous.map_or(Some(None), |key| key.map(Some))?;
        let vault = Vault::from_hex(master?.expose(), previous.as_ref().map(|key| key.expose().as_slice()));
        vault.map_err(|error| self.problems.push(format!("keys: {error}"))).ok()
    }

    /// A folder that is there must be writable; else the nearest one above it, to make it in.
    fn writable(&mut self, what: &str, folder: &Path) {
        let nearest = folder.ancestors().map(here_if_empty).find(|path| path.exists());
        let nearest = nearest.unwrap_or_else(|| PathBuf::from("/"));
        if !nearest.is_dir() {
            self.problems.push(format!("{what}: {} is no folder", nearest.display()));
        } else if let Err(error) = access(&nearest, Access::WRITE_OK | Access::EXEC_OK) {
            self.problems.push(format!("{what}: {} can't be written to: {error}", nearest.display()));
        }
    }

    fn group(&mut self, socket: &Path, name: &str) {
        let socket = socket.display();
        match Group::from_name(name) {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.problems.push(format!("socket {socket}: there is no group {name} on this machine"));
            }
            Err(error) => self.problems.push(format!("socket {socket}: group {name}: {error}")),
        }
    }
}

/// The parent of a bare name is the empty path.
fn here_if_empty(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}
