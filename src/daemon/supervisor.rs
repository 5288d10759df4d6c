//! Tells systemd, or another supervisor that understands `sd_notify(3)`, how the daemon stands.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It accepts.
pub(super) const READY: &str = "READY=1\n";
/// It finishes what is in flight.
pub(super) const STOPPING: &str = "STOPPING=1\n";

/// Says so where a supervisor listens. That it can't be told keeps nobody from work.
pub(super) fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "the supervisor (NOTIFY_SOCKET) could not be told");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // An @ stands for the NUL that begins an abstract name.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let n = listener.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn abstract_names_and_paths_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), READY).unwrap();
        assert_eq!(heard(&listener), READY);

        // A name that nobody else has.
        let name = dir.path().as_os_str().as_bytes();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        let socket = [b"@", name].concat();
        send(OsStr::from_bytes(&socket), STOPPING).unwrap();
        assert_eq!(heard(&listener), STOPPING);
        assert!(send(OsStr::new("/made-up/socket"), READY).is_err());
    }
}
