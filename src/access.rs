//! Where a place in the file system is, and who may enter, read and write it, told so that an operator can mend it.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};

const READ: u32 = 4;
const WRITE: u32 = 2;
const ENTER: u32 = 1;

/// The path from the root on, where a relative one starts at `folder`. Every path that is shown has gone through here.
pub fn absolute_in(folder: &Path, path: &Path) -> PathBuf {
    let whole = folder.join(path);
    // Also takes `./` away. It fails where the working directory is gone.
    std::path::absolute(&whole).unwrap_or(whole)
}

/// The same of a path that starts at the working directory.
pub fn absolute(path: &Path) -> PathBuf {
    absolute_in(Path::new(""), path)
}

/// A user, as the permission bits of a file see one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    uid: Option<u32>,
    groups: Vec<u32>,
    name: String,
}

impl Reader {
    /// The user of this process.
    pub fn me() -> Self {
        let mut groups: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        groups.push(getegid().as_raw());
        let uid = geteuid().as_raw();
        Self { uid: Some(uid), groups, name: user_name(uid) }
    }

    /// Any member of a group.
    pub fn member_of(gid: u32) -> Self {
        Self { uid: None, groups: vec![gid], name: format!("group {}", group_name(gid)) }
    }

    /// Any user of this machine.
    pub fn anybody() -> Self {
        Self { uid: None, groups: Vec::new(), name: "other users".into() }
    }

    /// The command that lets this group, or all others, enter a folder.
    pub fn mend(&self, folder: &Folder) -> String {
        let path = folder.path.display();
        match self.groups[..] {
            [gid] if gid == folder.gid => format!("chmod g+x {path}"),
            [gid] => format!("chgrp {} {path} && chmod g+x {path}", group_name(gid)),
            _ => format!("chmod o+x {path}"),
        }
    }

    /// The bits that hold for this reader.
    fn bits(&self, file: &Metadata) -> u32 {
        let mode = file.mode();
        if self.uid == Some(0) {
            READ | WRITE | ENTER
        } else if self.uid == Some(file.uid()) {
            (mode >> 6) & 7
        } else if self.groups.contains(&file.gid()) {
            (mode >> 3) & 7
        } else {
            mode & 7
        }
    }

    /// The first folder on the way to `path`, from the root on, that this reader can't enter. A folder with a list of further
    /// users (an ACL) is taken to let the reader in.
    pub fn stopped_on_the_way_to(&self, path: &Path) -> Option<Folder> {
        let folder = path.parent().unwrap_or(path);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // As it is written, and where the symbolic links in it lead.
        let written = Some(absolute(folder));
        let real = fs::canonicalize(folder).ok();
        let mut way: Vec<PathBuf> = Vec::new();
        for start in [written, real].into_iter().flatten() {
            let from_root: Vec<_> = start.ancestors().collect();
            way.extend(from_root.into_iter().rev().map(Path::to_owned));
        }
        way.into_iter().find_map(|folder| {
            let found = fs::metadata(&folder).ok()?;
            let stops = self.bits(&found) & ENTER == 0 && !has_acl(&folder);
            stops.then(|| Folder::new(folder, &found))
        })
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A folder with its mode, owner and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Folder {
    fn new(path: PathBuf, found: &Metadata) -> Self {
        Self { path, mode: found.mode() & 0o7777, uid: found.uid(), gid: found.gid() }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, uid, gid } = self;
        let (owner, group) = (user_name(*uid), group_name(*gid));
        write!(f, "{} (mode {mode:04o}, owner {owner}, group {group})", path.display())
    }
}

/// The system's error of `path` in words. Where permission is missing, they name the user who lacks it and the way to get it.
pub fn explain(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return format!("{}: {error}", path.display());
    }
    let me = Reader::me();
    let path_shown = path.display();
    if let Some(folder) = me.stopped_on_the_way_to(path) {
        return format!(
            "{path_shown}: {error}: user {me} can't enter {folder}. Run ringhookd as the owner of that folder, or let {me} enter it"
        );
    }
    let owner = fs::metadata(path).map(|found| user_name(found.uid()));
    let owner = owner.unwrap_or_else(|_| "unknown".into());
    format!(
        "{path_shown}: {error}: it belongs to user {owner}, and this is user {me}. Run ringhookd as {owner}, or give it away: \
         chown {me} {path_shown}"
    )
}

fn has_acl(path: &Path) -> bool {
    // A buffer of no size asks for the length alone.
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0]).is_ok_and(|length| length > 0)
}

/// The user's name, or the number where the machine knows none.
pub fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The group's name, or the number where the machine knows none.
pub fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder(path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_folder_that_stops_a_reader_is_found_whether_written_or_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        folder(&top, 0o755);
        let gid = fs::metadata(&top).unwrap().gid();
        let (members, anybody) = (Reader::member_of(gid), Reader::anybody());
        for (mode, stops_members, stops_others) in
            [(0o700, true, true), (0o750, false, true), (0o701, true, false), (0o711, false, false)]
        {
            let shut = top.join("shut");
            folder(&shut.join("open"), 0o755);
            folder(&shut, mode);
            let file = shut.join("open").join("file");
            let stop = |reader: &Reader| reader.stopped_on_the_way_to(&file).map(|found| found.path);
            assert_eq!(stop(&members), stops_members.then(|| shut.clone()), "{mode:o}");
            assert_eq!(stop(&anybody), stops_others.then(|| shut.clone()), "{mode:o}");
            let link = top.join("link");
            let _ = fs::remove_file(&link);
            symlink(shut.join("open"), &link).unwrap();
            let behind = anybody.stopped_on_the_way_to(&link.join("file")).map(|found| found.path);
            assert_eq!(behind, stops_others.then_some(shut), "{mode:o}");
        }
        assert_eq!(Reader::me().stopped_on_the_way_to(&top.join("file")), None);
    }
}
