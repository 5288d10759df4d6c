//! Whether the disk can hold a store: room, inodes, and a file that is written, locked and synced in the store's folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfsMountFlags, flock, statvfs};

use crate::access;
use crate::domain::doctor::Finding;
use crate::domain::units::size;

const CHECK: &str = "disk";

/// Of the folder, or where it is not there yet, of the nearest one above it.
pub(super) fn disk(folder: &Path, min_free: u64) -> Vec<Finding> {
    let near = nearest(folder);
    let shown = near.display();
    let mut found = Vec::new();
    match statvfs(&near) {
        Err(error) => found.push(Finding::failed(CHECK, format!("{shown}: {error}"))),
        Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::RDONLY) => {
            let words = format!("{shown}: its file system is mounted read-only");
            return vec![
                Finding::failed(CHECK, words)
                    .so("mount it for writing; after an error of the disk look at dmesg first"),
            ];
        }
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            // Some file systems count none.
            let files = (stat.f_files > 0).then_some(stat.f_favail);
            found.push(room(&shown.to_string(), free, min_free, files));
        }
    }
    found.push(tried(&near, probe(&near)));
    found
}

fn tried(near: &Path, probed: Result<(), (&str, io::Error)>) -> Finding {
    let shown = near.display();
    match probed {
        Ok(()) => Finding::well(CHECK, format!("{shown}: a file can be written, locked and synced")),
        Err((_, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = access::explain(near, &error);
            let words = format!("whether the disk holds what is written can't be tried by you: {why}");
            Finding::note(CHECK, words).so("run doctor as the daemon's user")
        }
        Err((what, error)) => Finding::failed(CHECK, format!("{shown}: a file can't be {what}: {error}"))
            .so("put [store] folder on a local file system, such as ext4 or xfs"),
    }
}

fn room(shown: &str, free: u64, min_free: u64, files: Option<u64>) -> Finding {
    if files == Some(0) {
        return Finding::failed(CHECK, format!("{shown}: no inode is free, so no file can be made"))
            .so("delete files that nobody needs; many small ones use them up");
    }
    let words = format!("{shown}: {} are free", size(free));
    if free < min_free {
        let words =
            format!("{words}, less than [store] min_free, {}: every webhook is answered 503", size(min_free));
        return Finding::failed(CHECK, words)
            .so("make room; ringhookd compact gives back what the store does not use");
    }
    if free < min_free.saturating_mul(2) {
        return Finding::warning(
            CHECK,
            format!("{words}, and below {} every webhook is answered 503", size(min_free)),
        )
        .so("make room");
    }
    Finding::well(CHECK, words)
}

fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    whole.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Leaves nothing behind, also in a crash: the file has no name any more when it is used.
fn probe(folder: &Path) -> Result<(), (&'static str, io::Error)> {
    let path = folder.join(format!(".ringhookd-doctor-{}", std::process::id()));
    let opened = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = opened.map_err(|error| ("made", error))?;
    fs::remove_file(&path).map_err(|error| ("deleted", error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| ("locked", error.into()))?;
    file.write_all(&[1; 4096]).map_err(|error| ("written", error))?;
    file.sync_all().map_err(|error| ("synced", error))?;
    sync_folder(folder).map_err(|error| ("kept, because the folder can't be synced", error))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::{State, worst};

    #[test]
    fn a_folder_that_holds_files_is_well_and_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let found = disk(&dir.path().join("not/there/yet"), 1);
        assert_eq!(worst(&found), State::Well, "{found:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_without_room_fails_before_it_is_full() {
        for (free, files, state, words) in [
            (100, None, State::Well, "100 B are free"),
            (19, Some(5), State::Warning, "below 10 B"),
            (9, None, State::Failed, "answered 503"),
            (100, Some(0), State::Failed, "no inode"),
        ] {
            let found = room("/x", free, 10, files);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
        assert_eq!(worst(&disk(&std::env::temp_dir(), u64::MAX)), State::Failed);
    }

    #[test]
    fn a_file_system_that_does_not_keep_a_file_fails_and_one_that_is_not_ours_is_left_alone() {
        let error = |kind| io::Error::from(kind);
        for (probed, state, words) in [
            (Ok(()), State::Well, "locked and synced"),
            (Err(("synced", error(io::ErrorKind::InvalidInput))), State::Failed, "can't be synced"),
            (Err(("locked", error(io::ErrorKind::Unsupported))), State::Failed, "can't be locked"),
            (Err(("made", error(io::ErrorKind::PermissionDenied))), State::Note, "by you"),
        ] {
            let found = tried(Path::new("/"), probed);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
        // Nobody makes a file there.
        let (what, _) = probe(Path::new("/proc/self")).unwrap_err();
        assert_eq!(what, "made");
    }
}
