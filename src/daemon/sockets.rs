//! Binds Unix sockets so that they never stand open to more people than configured, not even for a moment; and refuses an inherited one that does.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::Group;
use tokio::net::UnixListener;

use super::error::Error;
use crate::access;
use crate::config::Socket;

/// The file of a bound socket, which goes with the last who holds it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    is_ours: AtomicBool,
}

impl SocketFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), is_ours: AtomicBool::new(true) }
    }

    /// Removes it now, once.
    pub(super) fn remove(&self) {
        if self.is_ours.swap(false, Ordering::Relaxed) {
            // Gone already: fine.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Another socket has taken its place.
    pub(super) fn is_replaced(&self) {
        self.is_ours.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A bound socket that nobody can reach yet.
#[derive(Debug)]
pub(super) struct Unplaced {
    listener: UnixListener,
    private: PrivateFolder,
    path: PathBuf,
}

impl Unplaced {
    /// Moves it into its place, over the file that is there.
    pub(super) fn place(self) -> io::Result<(UnixListener, SocketFile)> {
        fs::rename(self.private.socket(), &self.path)?;
        Ok((self.listener, SocketFile::at(&self.path)))
    }
}

/// Binds in a private folder, sets mode and group, and moves the socket into place. One that an earlier run left behind is
/// replaced; one that somebody answers on is not.
///
/// # Errors
/// [`Error::Bind`] with the socket's path.
pub(super) fn bind(socket: &Socket) -> Result<(UnixListener, SocketFile), Error> {
    explained(socket, bind_at(&socket.path, socket.mode, socket.group.as_deref()))
}

/// Binds one that is to take the place of our own, without touching that.
///
/// # Errors
/// The same.
pub(super) fn bind_beside(socket: &Socket) -> Result<Unplaced, Error> {
    explained(socket, bind_private(&socket.path, socket.mode, socket.group.as_deref()))
}

fn explained<T>(socket: &Socket, bound: io::Result<T>) -> Result<T, Error> {
    bound.map_err(|error| {
        let (what, folder) = (format!("socket {}", socket.path.display()), socket.path.parent());
        match folder.filter(|_| error.kind() == io::ErrorKind::PermissionDenied) {
            Some(folder) => {
                Error::Bind { what, error: io::Error::new(error.kind(), access::explain(folder, &error)) }
            }
            None => Error::Bind { what, error },
        }
    })
}

/// Checks that a socket that a supervisor made lets in nobody whom the configuration keeps out, because rights belong to a socket. Its owner
/// is the supervisor's choice: systemd gives it to root, unless its unit names a user.
///
/// # Errors
/// [`Error::Handed`] with what to write where.
pub fn check_inherited(socket: &Socket) -> Result<(), Error> {
    let path = socket.path.display();
    let found = match fs::metadata(&socket.path) {
        Ok(found) => found,
        Err(error) => {
            // Webhooks are taken all the same.
            tracing::warn!(socket = %path, %error, "nobody can connect to the inherited socket: restart its unit");
            return Ok(());
        }
    };
    let (mode, configured) = (found.mode() & 0o777, socket.mode);
    if mode & !configured != 0 {
        return Err(Error::Handed(format!(
            "socket {path}: it was handed over with mode {mode:04o}, which lets in more than mode = \"{configured:04o}\": write \
             SocketMode={configured:04o} into its unit and restart that, or the wider mode into the configuration"
        )));
    }
    if let Some(name) = socket.group.as_deref().filter(|_| mode & 0o070 != 0) {
        let group = Group::from_name(name).map_err(io::Error::from)?.map(|group| group.gid.as_raw());
        if group != Some(found.gid()) {
            return Err(Error::Handed(format!(
                "socket {path}: it was handed over with a group that is not seen as {name}: write SocketGroup={name} into its unit and \
                 restart that; under PrivateUsers=yes no group is seen, so leave group out there"
            )));
        }
    }
    if mode != configured {
        tracing::warn!(
            socket = %path,
            mode = format!("{mode:04o}"),
            configured = format!("{configured:04o}"),
            "the inherited socket lets in fewer than configured (SocketMode=)"
        );
    }
    Ok(())
}

fn bind_at(path: &Path, mode: u32, group: Option<&str>) -> io::Result<(UnixListener, SocketFile)> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody answers on it"));
    }
    if fs::symlink_metadata(path).is_ok_and(|m| !std::os::unix::fs::FileTypeExt::is_socket(&m.file_type())) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is no socket is in its place",
        ));
    }
    bind_private(path, mode, group)?.place()
}

fn bind_private(path: &Path, mode: u32, group: Option<&str>) -> io::Result<Unplaced> {
    let private = PrivateFolder::make(path)?;
    let inside = private.socket();
    let listener = UnixListener::bind(&inside)?;
    if let Some(name) = group {
        set_group(&inside, name)?;
    }
    fs::set_permissions(&inside, Permissions::from_mode(mode))?;
    Ok(Unplaced { listener, private, path: path.to_owned() })
}

/// A folder beside a socket that only our own user may enter; it goes with this. The umask would do the same, and hold for every
/// thread.
#[derive(Debug)]
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn make(beside: &Path) -> io::Result<Self> {
        let mut name = beside.as_os_str().to_owned();
        name.push(".new");
        // What is there was left behind by a run that was killed.
        drop(Self(name.clone().into()));
        fs::DirBuilder::new().mode(0o700).create(&name)?;
        Ok(Self(name.into()))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // Gone already, or not ours: fine.
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir(&self.0);
    }
}

fn set_group(path: &Path, name: &str) -> io::Result<()> {
    let group = Group::from_name(name)?;
    let gid = group.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group {name}")))?.gid;
    // Under systemd's PrivateUsers= changing it is refused even where it fits already.
    if fs::metadata(path)?.gid() == gid.as_raw() { Ok(()) } else { chown(path, None, Some(gid.as_raw())) }
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getegid, geteuid, getgroups};

    use super::*;

    /// The machine's groups but the one that new files get.
    fn other_groups() -> Vec<Group> {
        let names = fs::read_to_string("/etc/group").unwrap();
        let names = names.lines().filter_map(|line| line.split(':').next());
        let groups = names.filter_map(|name| Group::from_name(name).unwrap());
        groups.filter(|group| group.gid != getegid()).collect()
    }

    #[tokio::test]
    async fn a_socket_is_given_to_its_group_or_not_bound_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let (joined, is_root) = (getgroups().unwrap(), geteuid().is_root());
        let may_give_to = |group: &Group| is_root || joined.contains(&group.gid);
        let mut bound = 0;
        for group in other_groups() {
            match bind_at(&path, 0o660, Some(&group.name)) {
                Ok((_listener, _file)) => {
                    let found = fs::metadata(&path).unwrap();
                    assert_eq!((found.gid(), found.mode() & 0o777), (group.gid.as_raw(), 0o660), "{group:?}");
                    bound += 1;
                }
                Err(error) => {
                    assert!(!may_give_to(&group), "{group:?}: {error}");
                    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
                }
            }
        }
        assert!(bound > 0 || !is_root, "root may give it to any");
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_and_replaces_only_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let (listener, file) = bind_at(&path, 0o640, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(bind_at(&path, 0o600, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        std::mem::forget(file);
        drop(listener);
        let (_listener, file) = bind_at(&path, 0o600, None).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn until_its_mode_is_set_a_socket_lies_where_nobody_else_can_reach_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let private = PrivateFolder::make(&path).unwrap();
        assert_eq!(fs::metadata(&private.0).unwrap().mode() & 0o777, 0o700);
        let _listener = UnixListener::bind(private.socket()).unwrap();
        // A run that was killed here holds up no other.
        std::mem::forget(private);
        let (_listener, _file) = bind_at(&path, 0o666, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666, "whatever the umask is");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[tokio::test]
    async fn other_files_and_unknown_groups_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind_at(&path, 0o600, None).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let other = dir.path().join("socket");
        assert_eq!(
            bind_at(&other, 0o600, Some("no-such-group")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(fs::read_dir(dir.path()).unwrap().count() == 1, "nothing is left behind");
    }
}
