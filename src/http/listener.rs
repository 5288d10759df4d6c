//! The sources of connections: TCP, Unix sockets, and pipes in tests under virtual time.

use std::future::Future;
use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A source of connections.
pub trait Listener: Send + 'static {
    type Accepted: Setup;

    /// The next connection. Must be cancel safe, and must not wait for the peer, because all others wait meanwhile.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;
}

/// An accepted connection that can't be read yet. A TLS handshake is one.
pub trait Setup: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes the connection ready for its first request. Runs in the connection's own task, under its limits.
    fn set_up(self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer {
    /// Only of TCP.
    pub address: Option<IpAddr>,
    /// The process, and the user and group that it runs as; only of a Unix socket.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub pid: Option<i32>,
}

impl Listener for TcpListener {
    type Accepted = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        Ok(Self::accept(self).await?.0)
    }
}

impl Setup for TcpStream {
    type Stream = Self;

    async fn set_up(self) -> io::Result<(Self, Peer)> {
        // Only costs latency where it fails.
        let _ = self.set_nodelay(true);
        let address = self.peer_addr().ok().map(|address| address.ip());
        Ok((self, Peer { address, ..Peer::default() }))
    }
}

impl Listener for UnixListener {
    type Accepted = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        Ok(Self::accept(self).await?.0)
    }
}

impl Setup for UnixStream {
    type Stream = Self;

    async fn set_up(self) -> io::Result<(Self, Peer)> {
        let peer = self.peer_cred().ok();
        let told = Peer {
            address: None,
            uid: peer.map(|peer| peer.uid()),
            gid: peer.map(|peer| peer.gid()),
            pid: peer.and_then(|peer| peer.pid()),
        };
        Ok((self, told))
    }
}
