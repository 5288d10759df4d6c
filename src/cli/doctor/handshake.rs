//! A TLS handshake with the public name, and what is told of its certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ProtocolVersion};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock;
use crate::domain::certificate::Certificate;
use crate::domain::doctor::{CERTIFICATE, Finding, ends};
use crate::domain::time::Millis;
use crate::tls;

/// For connecting, and for the handshake.
const EACH: Duration = Duration::from_secs(10);

/// Why there is no TLS.
#[derive(Debug)]
pub(in crate::cli) enum Failed {
    NoName,
    NoConnection(String),
    Tls(io::Error),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("it can be no certificate's name"),
            Self::NoConnection(why) => write!(f, "no connection: {why}"),
            Self::Tls(error) => match tls::words_of_io(error) {
                Some(words) => f.write_str(words),
                None => write!(f, "TLS: {error}"),
            },
        }
    }
}

/// With the first address that lets us in.
pub(in crate::cli) async fn handshake(
    config: ClientConfig,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<TlsStream<TcpStream>, Failed> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Failed::NoName)?;
    let stream = connect(addresses).await.map_err(Failed::NoConnection)?;
    match timeout(EACH, TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(done) => done.map_err(Failed::Tls),
        Err(_) => Err(Failed::NoConnection("the TLS handshake did not end in time".to_owned())),
    }
}

pub(in crate::cli) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    match timeout(EACH, TcpStream::connect(addresses)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Whether its certificate is good, and for how long.
pub(super) async fn certificate(config: ClientConfig, host: &str, addresses: &[SocketAddr]) -> Finding {
    let failed = |words: &dyn fmt::Display| Finding::failed(CERTIFICATE, format!("{host}: {words}"));
    let stream = match handshake(config, host, addresses).await {
        Ok(stream) => stream,
        Err(failure @ Failed::NoName) => return failed(&failure),
        Err(failure @ Failed::NoConnection(_)) => {
            return failed(&failure)
                .so("let connections from everywhere to the front's port: Ring has no list of addresses that it comes from");
        }
        Err(failure @ Failed::Tls(_)) => {
            let words = match expired_at(&failure) {
                Some(at) => format!("{failure}, at {}", at.rfc3339()),
                None => failure.to_string(),
            };
            return failed(&words)
                .so("have the front show its whole chain, from a CA that is trusted everywhere, for this name, with TLS 1.2 or later");
        }
    };
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let shown = session.peer_certificates().and_then(|chain| Certificate::read(chain.first()?));
    match shown {
        Some(certificate) => ends(host, version, &certificate, clock::now()),
        None => failed(&"its certificate can't be read").so("have it made anew"),
    }
}

/// When the certificate that was refused for its age has expired.
fn expired_at(failure: &Failed) -> Option<Millis> {
    let Failed::Tls(error) = failure else { return None };
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(Millis(not_after.as_secs().saturating_mul(1000)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::domain::doctor::State;

    /// A server on this machine with a certificate for `host`, and its authority as PEM.
    async fn server(host: &str) -> (SocketAddr, Vec<u8>) {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = data_encoding::BASE64.encode(params.self_signed(&key).unwrap().der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n").into_bytes();
        let (issuer, own) = (Issuer::new(params, key), KeyPair::generate().unwrap());
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
        let config = config.unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not trust us breaks it off.
                let _ = acceptor.accept(stream).await;
            }
        });
        (address, pem)
    }

    #[tokio::test]
    async fn a_chain_that_leads_to_trust_is_well_and_any_other_fails() {
        let (address, ours) = server("127.0.0.1").await;
        let (_, theirs) = server("127.0.0.1").await;
        let (other_host, its) = server("hooks.example").await;
        for (pem, address, state, words) in [
            (&ours, address, State::Well, "TLS 1.3"),
            (&theirs, address, State::Failed, "no CA that is trusted"),
            (&its, other_host, State::Failed, "for another host"),
        ] {
            let config = tls::trusting(Some(pem), false).unwrap();
            let found = certificate(config, "127.0.0.1", &[address]).await;
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
    }
}
