//! `ringhookd check`: everything that can be looked at without starting, with every problem listed.

mod certificate;
mod connect;
mod event;
mod ports;
mod reach;
mod sense;

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use rustix::fs::{Access, access};
use serde_json::json;

use self::connect::Tried;
pub(super) use self::event::Wishes;
use self::ports::{Holder, Said};
use super::args::Common;
use super::failure::Failure;
use super::output::Output;
use super::progress;
use crate::access;
use crate::clock::RingClock;
use crate::config::{self, Config, MasterKey, QueueKind, Secrets, Socket, Spool};
use crate::daemon::{self, Error};
use crate::delivery::sinks::QueueSink;
use crate::store::{Folder, SCHEMA, StoreError};

/// What was found, as lines for people.
#[derive(Debug, Default)]
struct Findings {
    problems: Vec<String>,
    /// Fine, but worth knowing.
    notes: Vec<String>,
    /// Where they were to be tried.
    receivers: Vec<Tried>,
    /// Who has the store, where somebody has it.
    holder: Option<Holder>,
}

/// Exit 1 with every problem listed.
pub(super) fn run(common: &Common, event: Option<&Wishes>, connect: bool) -> Result<(), Failure> {
    let file = common.configuration()?;
    let mut out = Output::open(common.json)?;
    if let Some(wishes) = event {
        let config = daemon::load_to_create(file).map_err(|error| Failure::no(error.to_string()))?;
        return event::run(wishes, &config, &mut out);
    }
    let file = file.to_owned();
    let work = move || Findings::of(&file, connect);
    let Findings { problems, notes, receivers, .. } =
        progress::blocking(common.json, "the store is looked at", "nothing was changed", work)??;
    let is_well = problems.is_empty() && receivers.iter().all(Tried::is_well);
    if out.json {
        let mut item = json!({"ok": is_well, "problems": problems, "notes": notes});
        if connect {
            item["receivers"] = receivers.iter().map(Tried::json).collect();
        }
        out.item(&item)?;
    } else {
        receivers.iter().try_for_each(|tried| out.line(&tried.line()))?;
        problems.iter().try_for_each(|line| out.line(line))?;
        notes.iter().try_for_each(|line| out.line(&format!("note: {line}")))?;
        if is_well {
            out.line("no problem found")?;
        }
    }
    out.flush()?;
    if is_well { Ok(()) } else { Err(Failure::Said) }
}

/// The problems and the notes, for `doctor`. Blocks.
pub(super) fn findings(file: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    let Findings { problems, notes, .. } = Findings::of(file, false)?;
    Ok((problems, notes))
}

impl Findings {
    fn of(file: &Path, connect: bool) -> io::Result<Self> {
        let mut found = Self::default();
        match daemon::examine(file) {
            Ok(examined) => {
                found.problems.extend(examined.problems.to_string().lines().map(str::to_owned));
                examined.config.iter().for_each(|config| found.look(config));
                if let Some(config) = examined.config.as_ref().filter(|_| connect) {
                    found.receivers = connect::receivers(config)?;
                }
            }
            Err(error) => found.problems.push(error.to_string()),
        }
        Ok(found)
    }

    fn look(&mut self, config: &Config) {
        // What is wrong with them was told with the configuration.
        let mut secrets = config.secrets(MasterKey::MadeLater).ok();
        self.problems.extend(sense::problems(config));
        self.notes.extend(sense::notes(config));
        self.problems.extend(certificate::problems(config));
        self.notes.extend(certificate::notes(config));
        self.store(config, secrets.as_ref());
        if let Some(secrets) = &secrets
            && let Err(error) = daemon::ring_api(config, secrets, RingClock::default())
        {
            self.problems.push(error.to_string());
        }
        self.writable("tokens.guard_folder", &config.tokens.guard_folder);
        self.addresses(config);
        for queue in &config.queues {
            // A spool would make its folder.
            if queue.kind.has_receiver()
                && let Some(secrets) = &mut secrets
            {
                let secrets = secrets.receivers.remove(&queue.name).unwrap_or_default();
                self.problems.extend(QueueSink::open(queue, secrets).err().map(|error| error.to_string()));
            }
            if let QueueKind::Spool(Spool { folder, .. }) = &queue.kind {
                let what = format!("queue {}: folder", queue.name);
                self.writable(&what, folder);
                self.read_by_others(&what, reach::spool(folder));
                if !folder.exists() {
                    self.notes.push(format!(
                        "{what}: {0} is not there; serve makes it for its own user alone. For a reader of another group: install -d -m \
                         2770 -g GROUP {0}",
                        folder.display()
                    ));
                }
            }
        }
        for socket in &config.sockets {
            self.socket(socket, &config.store);
        }
    }

    fn socket(&mut self, socket: &Socket, store: &config::Store) {
        let parent = here_if_empty(socket.path.parent().unwrap_or(Path::new(".")));
        if is_of_a_unit(socket, &parent) {
            self.problems.extend(daemon::check_inherited(socket).err().map(|error| error.to_string()));
        } else if !(store.create && socket.path.starts_with(&store.folder)) {
            // Who makes it may come later, such as systemd, so a missing one is no problem here, whoever could make it.
            if parent.exists() {
                self.writable("socket: the folder", &parent);
            } else {
                self.notes.push(format!(
                    "socket {}: there is no folder {} yet. serve does not make it; the socket's unit of systemd does, or \
                     RuntimeDirectory=",
                    socket.path.display(),
                    parent.display()
                ));
            }
        }
        if let Some(group) = &socket.group {
            self.group(&socket.path, group);
        }
        let what = format!("socket {}", socket.path.display());
        self.read_by_others(&what, reach::socket(socket, &store.folder));
    }

    fn store(&mut self, config: &Config, secrets: Option<&Secrets>) {
        let folder = &config.store.folder;
        self.writable("store.folder", folder);
        match Folder::is_empty(folder) {
            Ok(true) if config.store.create => {
                self.store_to_make(config);
                return;
            }
            Ok(true) => {
                self.problems.push(StoreError::Missing { folder: folder.clone() }.to_string());
                return;
            }
            Ok(false) => {}
            Err(error) => {
                self.problems.push(error.to_string());
                return;
            }
        }
        let Some(secrets) = secrets.filter(|secrets| secrets.master.is_some()) else { return };
        match daemon::inspect_store(config, secrets) {
            Ok(SCHEMA) => {}
            Ok(older) => self.notes.push(format!(
                "the store is of schema {older}; serve brings it to {SCHEMA} at its first start, and older programs refuse it then. A backup \
                 that the older program made before is the way back"
            )),
            Err(Error::Store(StoreError::InUse { holder, .. })) => {
                self.notes.push(format!("the store is in use by {holder}, so it was not looked at"));
                self.holder = Some(Holder(holder));
            }
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    /// A key that `serve` makes at its first start is told and is no problem; a key without its store is.
    fn store_to_make(&mut self, config: &Config) {
        let folder = &config.store.folder;
        let makes = match daemon::master_key_to_make(config) {
            Ok(Some(key)) => {
                if let Some(parent) = key.parent().filter(|parent| !parent.starts_with(folder)) {
                    self.writable("keys.master: the folder", parent);
                }
                format!("it and its master key {}", key.display())
            }
            Ok(None) => "it".to_owned(),
            Err(error) => {
                self.problems.push(error.to_string());
                return;
            }
        };
        self.notes.push(format!("there is no store in {} yet; serve makes {makes}", folder.display()));
    }

    /// An address has to be one of this machine's, and free, or the daemon's own while that runs.
    fn addresses(&mut self, config: &Config) {
        let holder = self.holder.take();
        let metrics = config.metrics_listen.map(|address| ("metrics.listen", address));
        let api = config.api_listeners.iter().map(|listener| ("socket: listen", listener.address));
        for (what, address) in [("listen", config.listen)].into_iter().chain(metrics).chain(api) {
            match ports::look(what, address, holder.as_ref()) {
                Some(Said::Problem(problem)) => self.problems.push(problem),
                Some(Said::Note(note)) => self.notes.push(note),
                None => {}
            }
        }
    }

    fn read_by_others(&mut self, what: &str, stopped: Vec<String>) {
        self.problems.extend(stopped.into_iter().map(|why| format!("{what}: {why}")));
    }

    /// A folder that is there must be writable; else the nearest one above it, to make it in.
    fn writable(&mut self, what: &str, folder: &Path) {
        let nearest = folder.ancestors().map(here_if_empty).find(|path| path.exists());
        let nearest = nearest.unwrap_or_else(|| PathBuf::from("/"));
        if !nearest.is_dir() {
            self.problems.push(format!("{what}: {} is no folder", nearest.display()));
        } else if let Err(error) = access(&nearest, Access::WRITE_OK | Access::EXEC_OK) {
            let why = access::explain(&nearest, &error.into());
            self.problems.push(format!("{what}: can't be written to: {why}"));
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

/// Whether somebody else made the socket, as systemd does for a socket unit: it is there, and the daemon could not have made it.
fn is_of_a_unit(socket: &Socket, parent: &Path) -> bool {
    let is_there = socket.path.metadata().is_ok_and(|found| found.file_type().is_socket());
    is_there && access(parent, Access::WRITE_OK).is_err()
}

/// The parent of a bare name is the empty path.
fn here_if_empty(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}
