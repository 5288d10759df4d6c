//! Which versions of TLS the public name takes: 1.2 and 1.3 by a handshake, older ones by a first message that we write ourselves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::cli::doctor::handshake::{Failed, connect, handshake};
use crate::domain::certify::{Heard, Old, client_hello, heard, old_tls, tls};
use crate::domain::doctor::Finding;
use crate::tls;

/// For an answer to the first message.
const EACH: Duration = Duration::from_secs(10);
/// More than the first messages of any server.
const MOST: usize = 64 << 10;

pub(super) async fn tried(host: &str, addresses: &[SocketAddr]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, version, needed) in [("TLS 1.2", &TLS12, true), ("TLS 1.3", &TLS13, false)] {
        found.push(tls(name, needed, shaken(version, host, addresses).await));
    }
    for old in Old::ALL {
        found.push(old_tls(old, offered(old, host, addresses).await));
    }
    found
}

/// A certificate that is not trusted is another finding: the version was taken.
async fn shaken(
    version: &'static SupportedProtocolVersion,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<(), String> {
    let config = tls::trusting_by(version, None).map_err(|error| error.to_string())?;
    match handshake(config, host, addresses).await {
        Ok(_) => Ok(()),
        Err(Failed::Tls(error)) if is_of_the_certificate(&error) => Ok(()),
        Err(failed) => Err(failed.to_string()),
    }
}

fn is_of_the_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

async fn offered(old: Old, host: &str, addresses: &[SocketAddr]) -> Result<Heard, String> {
    let mut stream = connect(addresses).await?;
    let name = host.parse::<IpAddr>().is_err().then_some(host);
    let hello = client_hello(old, name, Sha256::digest(host).into());
    let asked = async {
        stream.write_all(&hello).await?;
        let mut said = Vec::new();
        loop {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).await?;
            said.extend_from_slice(&piece[..read]);
            match heard(&said, read == 0) {
                Heard::More if said.len() < MOST => {}
                heard => return Ok::<_, io::Error>(heard),
            }
        }
    };
    match timeout(EACH, asked).await {
        Ok(Ok(heard)) => Ok(heard),
        // A connection that is reset is how some refuse.
        Ok(Err(_)) => Ok(Heard::Refused),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
