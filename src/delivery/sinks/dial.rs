//! Connections to receivers whose protocol is not HTTP: made within one limit, with or without TLS, and given up by themselves when the
//! other side is gone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock;
use crate::tls;

/// For resolving the name, connecting and TLS together.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// Four of these in a row without an answer, and the connection is given up: well within 30 s.
const ALIVE: Duration = Duration::from_secs(6);
const LOST_SIGNS: u32 = 3;
const STUCK_MS: u32 = 24_000;

/// A connection that a protocol is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A connection with TLS where `tls` is given. Fails in words.
pub(super) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
    until: Instant,
) -> Result<Box<dyn Stream>, String> {
    let tcp = tcp(host, port, until).await?;
    Ok(match tls {
        Some(tls) => Box::new(encrypt(host, tcp, tls, until).await?),
        None => Box::new(tcp),
    })
}

/// A connection without TLS. Fails in words.
pub(super) async fn tcp(host: &str, port: u16, until: Instant) -> Result<TcpStream, String> {
    let found = timeout_at(until, lookup_host((host, port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => return Err("the host's name can't be resolved".to_owned()),
        Err(_) => return Err("resolving the host's name took too long".to_owned()),
    };
    let mut why = "the host's name has no address".to_owned();
    for (n, address) in (0..).zip(&addresses) {
        // Divided among the addresses, so that one that is dead leaves time for the next.
        let now = clock::ticks();
        let share = until.saturating_duration_since(now) / u32::try_from(addresses.len() - n).unwrap_or(1);
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                watch(&tcp).map_err(|error| format!("no connection: {}", error.kind()))?;
                return Ok(tcp);
            }
            Ok(Err(error)) => why = format!("no connection: {}", error.kind()),
            Err(_) => "connecting took too long".clone_into(&mut why),
        }
    }
    Err(why)
}

/// TLS over a connection to `host`. Fails in words.
pub(super) async fn encrypt(
    host: &str,
    tcp: TcpStream,
    tls: &Arc<ClientConfig>,
    until: Instant,
) -> Result<TlsStream<TcpStream>, String> {
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return Err("TLS: no certificate can be for this host's name".to_owned());
    };
    match timeout_at(until, TlsConnector::from(Arc::clone(tls)).connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            Err(tls::words_of_io(&error).map_or_else(|| format!("TLS: {}", error.kind()), str::to_owned))
        }
        Err(_) => Err("TLS: the handshake took too long".to_owned()),
    }
}

/// Has the system notice that the other side is gone.
fn watch(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, ALIVE)?;
    sockopt::set_tcp_keepintvl(tcp, ALIVE)?;
    sockopt::set_tcp_keepcnt(tcp, LOST_SIGNS)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(tcp, STUCK_MS)?;
    Ok(())
}
