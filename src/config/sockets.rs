//! The `[[socket]]` entries: where the admin API listens, and which calls each socket allows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::common::{lies_in, selection};
use super::model::{ApiListener, Socket};
use super::raw::{Echo, Section};
use super::secrets::NamedFile;
use super::value::{Raw, Wrong, because, text};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::rights::{Grant, Rights};

/// `sun_path` has 108 bytes; the rest is room for a temporary name beside it.
const MAX_PATH: usize = 100;

/// Where the admin API is served.
pub(super) struct Read {
    /// Those that are written, or the default one in the store's folder.
    pub(super) sockets: Vec<Socket>,
    pub(super) listeners: Vec<ApiListener>,
    /// The files of the listeners' tokens, in the same order.
    pub(super) tokens: Vec<NamedFile>,
}

pub(super) fn sockets(root: &mut Section<'_>, store: &Section<'_>, folder: &Path) -> Read {
    let mut read = Read { sockets: Vec::new(), listeners: Vec::new(), tokens: Vec::new() };
    let sections = root.each("socket");
    let none_written = sections.is_empty();
    for section in sections {
        read.add(section, folder);
    }
    if none_written {
        let path = folder.join("admin.sock");
        if path.as_os_str().len() > MAX_PATH {
            store.refuse("folder", format!("is too long for its admin.sock ({MAX_PATH} bytes at most); write a [[socket]] with a shorter path"));
        }
        let name = path.display().to_string();
        read.sockets.push(Socket { name, path, group: None, mode: 0o600, rights: Rights::all() });
    }
    read
}

impl Read {
    fn add(&mut self, mut s: Section<'_>, store: &Path) {
        let address = s.optional("listen", "127.0.0.1:8481", Echo::Shown, text(loopback));
        let in_file_system = s.line_if_written("listen").is_none();
        if self.listeners.iter().any(|other| other.address.port() != 0 && Some(other.address) == address) {
            s.refuse("listen", "is the address of another socket already".into());
        }
        s.only_where(Some(in_file_system), "a socket without listen");
        let written = s.required("path", "/run/ringhookd/admin.sock", socket_path(s.path()));
        let (name, path) = written.unzip();
        if self.sockets.iter().any(|other| Some(&other.path) == path.as_ref()) {
            s.refuse("path", "is the path of another socket already".into());
        }
        let group = s.optional("group", "ring-readers", Echo::Shown, text(group));
        let mode = s.get("mode", "0600", text(mode));
        let for_others = group.is_some() || mode & 0o077 != 0;
        if for_others && path.as_deref().is_some_and(|path| lies_in(path, store)) {
            s.refuse(
                "path",
                "lies in store.folder, which only the daemon's own user can enter; put a socket for others into a folder that \
                 they can enter"
                    .into(),
            );
        }
        // A file's mode protects a socket. An address has nothing but the token, so there is none without.
        s.only_where(Some(!in_file_system), "a socket with listen");
        let source = text(s.source());
        let token = s.required("token_file", "/etc/ringhookd/api.token", source);
        let token = token.map(|source| s.named("token_file", source));
        s.only_where(Some(true), "");
        let rights = rights(&mut s);
        s.finish();
        match (name.zip(path), address, token) {
            (Some((name, path)), _, _) => {
                self.sockets.push(Socket { name, path, group, mode, rights });
            }
            (None, Some(address), Some(token)) => {
                self.listeners.push(ApiListener { address, rights });
                self.tokens.push(token);
            }
            _ => {}
        }
    }
}

fn rights(s: &mut Section<'_>) -> Rights {
    let grants = s.list("calls", &["*"], Echo::Shown, |text| Grant::parse(text).map_err(because));
    let grants = grants.into_iter().map(|grant| grant.value).collect();
    let accounts = selection(s, "accounts", &["*"], |id| AccountId::new(id).map(drop));
    let users = selection(s, "users", &["*"], |id| UserId::new(id).map(drop));
    for key in ["calls", "accounts", "users"] {
        // Elsewhere an empty list means any; read so here, a slip would open what should be shut.
        s.refuse_empty(key, "lists nothing; write [\"*\"] for all");
    }
    Rights::new(grants, accounts, users)
}

fn loopback(text: &str) -> Result<SocketAddr, Wrong> {
    let address: SocketAddr = text.parse().map_err(|_| Wrong::Form("a loopback address with a port"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(Wrong::Value(
            "is no loopback address: what is sent there is not encrypted, so it must not leave this machine"
                .into(),
        ))
    }
}

/// A path as it is written, and from the root on, where it has to fit.
fn socket_path(
    path: impl Fn(Raw<'_>) -> Result<PathBuf, Wrong>,
) -> impl Fn(Raw<'_>) -> Result<(String, PathBuf), Wrong> {
    move |raw| match path(raw)? {
        path if path.as_os_str().len() > MAX_PATH => {
            let length = path.as_os_str().len();
            Err(Wrong::Value(format!(
                "is {length} bytes long from the root on; a socket's path has {MAX_PATH} at most"
            )))
        }
        path => {
            let Raw::Text(written) = raw else { return Err(Wrong::Form("a path")) };
            Ok((written.to_owned(), path))
        }
    }
}

fn group(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=32).contains(&text.len()) && text.chars().all(allowed) {
        Ok(text.into())
    } else {
        Err(Wrong::Form("the name of a group"))
    }
}

fn mode(text: &str) -> Result<u32, Wrong> {
    let octal = text.len() <= 4 && text.chars().all(|c| c.is_digit(8));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(Wrong::Form("a file mode up to 0777 in octal")),
    }
}
