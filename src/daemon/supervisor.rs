//! Tells systemd, or another supervisor that understands `sd_notify(3)`, how the daemon stands.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It accepts.
const READY: &str = "READY=1\n";
/// The watchdog is fed.
pub(super) const ALIVE: &str = "WATCHDOG=1\n";
/// It finishes what is in flight.
pub(super) const STOPPING: &str = "STOPPING=1\nSTATUS=finishing what is in flight\n";

/// Says that it accepts, where a supervisor listens, and waits until that has room to hear it. That it can't be told keeps nobody from work.
pub(super) fn ready() {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = open(&socket).and_then(|(to, address)| to.send_to_addr(READY.as_bytes(), &address)) {
        tracing::warn!(%error, "the supervisor (NOTIFY_SOCKET) could not be told");
    }
}

/// For all else: a supervisor that reads nothing holds up nobody, and is complained of once.
#[derive(Debug, Default)]
pub(super) struct Line {
    unheard: bool,
}

impl Line {
    pub(super) fn tell(&mut self, state: &str) {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
        let sent = open(&socket).and_then(|(to, address)| {
            to.set_nonblocking(true)?;
            to.send_to_addr(state.as_bytes(), &address)
        });
        let was_unheard = std::mem::replace(&mut self.unheard, sent.is_err());
        if let (Err(error), false) = (sent, was_unheard) {
            tracing::warn!(%error, "the supervisor (NOTIFY_SOCKET) can't be told");
        }
    }
}

fn open(socket: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match socket.as_bytes() {
        // An @ stands for the NUL that begins an abstract name.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(socket: &OsStr, state: &str) -> io::Result<()> {
        let (to, address) = open(socket)?;
        to.send_to_addr(state.as_bytes(), &address).map(drop)
    }

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
