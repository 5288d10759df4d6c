//! Sockets that a supervisor holds and hands over at a start (`sd_listen_fds(3)`): because it keeps them open, a restart refuses no connection.
//!
//! One fits a configured listener by its address, or by its path. Its name (`FileDescriptorName=`) only helps people to find it.

use std::borrow::Cow;
use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::error::Error;

/// Those that no listener has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Handed>);

#[derive(Debug)]
struct Handed {
    socket: Socket,
    /// Empty where it has none.
    name: String,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    /// None is a socket that has no place in the file system.
    Unix(UnixListener, Option<PathBuf>),
}

impl Inherited {
    /// Takes over all that this process was given. To be called once, before there are other threads, because it changes the environment.
    ///
    /// # Errors
    /// [`Error::Handed`] when one of them is no listener.
    pub fn of_this_process() -> Result<Self, Error> {
        // Variables that a parent process left are meant for that one.
        let meant = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if !meant {
            return Ok(Self::default());
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..given.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let socket = take(&mut given, index)
                .map_err(|error| Error::Handed(format!("inherited socket {index} ({name}): {error}")))?;
            sockets.push(Handed { socket, name });
        }
        Ok(Self(sockets))
    }

    /// The one on this address.
    pub(super) fn tcp(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let fits = |handed: &Handed| matches!(&handed.socket, Socket::Tcp(_, at) if *at == wanted);
        let at = self.0.iter().position(fits)?;
        match self.0.swap_remove(at).socket {
            Socket::Tcp(listener, _) => Some(listener),
            Socket::Unix(..) => None,
        }
    }

    /// The one on this path.
    pub(super) fn unix(&mut self, wanted: &Path) -> Option<UnixListener> {
        let fits =
            |handed: &Handed| matches!(&handed.socket, Socket::Unix(_, Some(at)) if is_same(at, wanted));
        let at = self.0.iter().position(fits)?;
        match self.0.swap_remove(at).socket {
            Socket::Unix(listener, _) => Some(listener),
            Socket::Tcp(..) => None,
        }
    }

    /// Nobody would accept what comes to a socket that fits nothing.
    ///
    /// # Errors
    /// [`Error::Handed`] with each that is left.
    pub(super) fn end(self) -> Result<(), Error> {
        let left: Vec<String> = self.0.iter().map(Handed::words).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::Handed(format!(
            "the configuration has no listener for {}: compare listen, [metrics] listen and [[socket]] with ListenStream= of the \
             socket units",
            left.join(", ")
        )))
    }
}

impl Handed {
    fn words(&self) -> String {
        let place: Cow<'_, str> = match &self.socket {
            Socket::Tcp(_, address) => address.to_string().into(),
            Socket::Unix(_, Some(path)) => path.to_string_lossy(),
            Socket::Unix(_, None) => "a socket without a path".into(),
        };
        format!("{place} ({})", self.name)
    }
}

fn take(given: &mut ListenFd, index: usize) -> io::Result<Socket> {
    let refused = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    if let Ok(Some(listener)) = given.take_tcp_listener(index) {
        let address = listener.local_addr()?;
        listens(&listener)?;
        listener.set_nonblocking(true)?;
        return Ok(Socket::Tcp(listener, address));
    }
    let taken = given.take_unix_listener(index);
    let listener = taken.ok().flatten().ok_or_else(|| refused("is no stream socket (ListenStream=)"))?;
    let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
    listens(&listener)?;
    listener.set_nonblocking(true)?;
    Ok(Socket::Unix(listener, path))
}

fn listens(socket: impl AsFd) -> io::Result<()> {
    if socket_acceptconn(socket)? {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "does not listen: it has to be handed over whole (Accept=no)",
    ))
}

/// A path may be written in another way, or lead over a link such as /var/run.
fn is_same(bound: &Path, configured: &Path) -> bool {
    if configured == bound {
        return true;
    }
    matches!((bound.canonicalize(), configured.canonicalize()), (Ok(bound), Ok(configured)) if bound == configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sockets: Vec<Socket>) -> Inherited {
        Inherited(sockets.into_iter().map(|socket| Handed { socket, name: "made-up".into() }).collect())
    }

    fn tcp() -> (Socket, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Socket::Tcp(listener, address), address)
    }

    #[test]
    fn each_is_taken_once_by_its_address_or_path_and_one_that_fits_nothing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let unix = Socket::Unix(UnixListener::bind(&path).unwrap(), Some(path.clone()));
        let ((first, address), (second, other)) = (tcp(), tcp());
        let mut inherited = of(vec![first, unix, second]);
        assert!(
            inherited.tcp(SocketAddr::from(([127, 0, 0, 1], 0))).is_none(),
            "a port that is chosen at a start"
        );
        assert!(inherited.tcp(address).is_some() && inherited.tcp(address).is_none());
        assert!(inherited.unix(&dir.path().join("other.sock")).is_none());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(inherited.unix(&link.join("admin.sock")).is_some(), "over a link");
        assert!(inherited.unix(&path).is_none());
        let refused = inherited.end().unwrap_err();
        assert_eq!(refused.exit_code(), 78, "a restart does not help");
        assert!(refused.to_string().contains(&format!("no listener for {other} (made-up): ")), "{refused}");
        assert!(Inherited::default().end().is_ok());
    }

    #[test]
    fn a_socket_that_does_not_listen_is_none() {
        let (listener, address) = match tcp() {
            (Socket::Tcp(listener, address), _) => (listener, address),
            (Socket::Unix(..), _) => unreachable!(),
        };
        listens(&listener).unwrap();
        let connection = std::net::TcpStream::connect(address).unwrap();
        assert!(listens(&connection).unwrap_err().to_string().contains("Accept=no"));
    }
}
