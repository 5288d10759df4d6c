//! The `[[socket]]` entries: where the admin API listens, and which calls each socket allows.

use std::path::{Path, PathBuf};

use super::common::{lies_in, path, selection};
use super::model::Socket;
use super::raw::{Echo, Section};
use super::value::{Wrong, because, text};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::rights::{Grant, Rights};

/// `sun_path` has 108 bytes; the rest is room for a temporary name beside it.
const MAX_PATH: usize = 100;

/// The sockets as written, or the default one in the store's folder.
pub(super) fn sockets(root: &mut Section<'_>, store: &Section<'_>, folder: &Path) -> Vec<Socket> {
    let mut sockets: Vec<Socket> = Vec::new();
    let sections = root.each("socket");
    let none_written = sections.is_empty();
    for section in sections {
        sockets.extend(socket(section, &sockets, folder));
    }
    if none_written {
        let path = folder.join("admin.sock");
        if path.as_os_str().len() > MAX_PATH {
            store.refuse("folder", format!("is too long for its admin.sock ({MAX_PATH} bytes at most); write a [[socket]] with a shorter path"));
        }
        sockets.push(Socket { path, group: None, mode: 0o600, rights: Rights::all() });
    }
    sockets
}

fn socket(mut s: Section<'_>, earlier: &[Socket], store: &Path) -> Option<Socket> {
    let path = s.required("path", "/run/ringhookd/admin.sock", text(socket_path));
    if earlier.iter().any(|other| Some(&other.path) == path.as_ref()) {
        s.refuse("path", "is the path of another socket already".into());
    }
    let group = s.optional("group", "ring-readers", Echo::Shown, text(group));
    let mode = s.get("mode", "0600", text(mode));
    let grants = s.list("calls", &["*"], Echo::Shown, |text| Grant::parse(text).map_err(because));
    let grants = grants.into_iter().map(|grant| grant.value).collect();
    let accounts = selection(&mut s, "accounts", &["*"], |id| AccountId::new(id).map(drop));
    let users = selection(&mut s, "users", &["*"], |id| UserId::new(id).map(drop));
    let for_others = group.is_some() || mode & 0o077 != 0;
    if for_others && path.as_deref().is_some_and(|path| lies_in(path, store)) {
        s.refuse(
            "path",
            "lies in store.folder, which only the daemon's own user can enter; put a socket for others into a folder that they can \
             enter"
                .into(),
        );
    }
    for key in ["calls", "accounts", "users"] {
        // Elsewhere an empty list means any; read so here, a slip would open what should be shut.
        s.refuse_empty(key, "lists nothing; write [\"*\"] for all");
    }
    s.finish();
    Some(Socket { path: path?, group, mode, rights: Rights::new(grants, accounts, users) })
}

fn socket_path(text: &str) -> Result<PathBuf, Wrong> {
    if text.len() > MAX_PATH {
        let length = text.len();
        return Err(Wrong::Value(format!("is {length} bytes long; a socket's path has {MAX_PATH} at most")));
    }
    path(text)
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
