//! Whether those for whom a socket or a spool folder is meant can reach it: every folder on the way, as they see it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Group, getegid};

use crate::access::Reader;
use crate::config::Socket;

/// The folder that keeps out the users to whom the socket's mode gives access. `store` is a folder of the daemon's own group.
pub(super) fn socket(socket: &Socket, store: &Path) -> Vec<String> {
    let group = match &socket.group {
        // One that is not there is a problem of its own.
        Some(name) => Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
        None => Some(fs::metadata(store).map_or_else(|_| getegid().as_raw(), |store| store.gid())),
    };
    // Connecting takes the right to write.
    let readers = readers(group, socket.mode, 0o020, 0o002);
    readers.iter().filter_map(|reader| stopped(reader, &socket.path, "socket")).collect()
}

/// The same for the readers to whom the folder's own mode gives access. One that is not there yet is made for the daemon's user
/// alone.
pub(super) fn spool(folder: &Path) -> Vec<String> {
    let Ok(found) = fs::metadata(folder) else { return Vec::new() };
    let readers = readers(Some(found.gid()), found.mode(), 0o040, 0o004);
    // Entering the folder itself is part of the way to its files.
    let file = folder.join("file");
    readers.iter().filter_map(|reader| stopped(reader, &file, "spool folder")).collect()
}

fn readers(group: Option<u32>, mode: u32, for_group: u32, for_others: u32) -> Vec<Reader> {
    let group = group.filter(|_| mode & for_group != 0).map(Reader::member_of);
    let others = (mode & for_others != 0).then(Reader::anybody);
    group.into_iter().chain(others).collect()
}

fn stopped(reader: &Reader, path: &Path, what: &str) -> Option<String> {
    let folder = reader.stopped_on_the_way_to(path)?;
    Some(format!(
        "its mode is for {reader}, but {reader} can't enter {folder}. Put the {what} into a folder that {reader} can enter, \
         or let {reader} enter this one: {}",
        reader.mend(&folder)
    ))
}
