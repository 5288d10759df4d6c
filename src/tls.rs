//! TLS as a client: the roots that it trusts, the system's and an authority of the operator's, and a certificate of its own. As a server
//! it is in `server`.

pub mod server;

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ALL_VERSIONS, AlertDescription, CertificateError, ClientConfig, RootCertStore, SupportedProtocolVersion,
};
use thiserror::Error;

/// Why there is nobody to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlsError {
    #[error("ca_file: write certificates in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE")]
    Ca,
    #[error(
        "the system has no CA certificates: install its package of them (ca-certificates), or set ca_file"
    )]
    NoRoots,
    #[error("client_certificate_file and client_key_file: the certificate and the key do not go together")]
    Identity,
}

/// A certificate with its chain, and its key, by which a client proves who it is; both PEM.
#[derive(Debug)]
pub struct Identity<'a> {
    pub certificates: &'a [u8],
    pub key: &'a [u8],
}

/// Trusts the system's roots and those in `ca_pem`. Where no address needs them (`needed`) the system may have none.
///
/// # Errors
/// [`TlsError`], in words for the operator.
pub fn trusting(ca_pem: Option<&[u8]>, needed: bool) -> Result<ClientConfig, TlsError> {
    client(ca_pem, None, needed)
}

/// The same, with a certificate of the client's own.
///
/// # Errors
/// [`TlsError`], in words for the operator.
pub fn client(
    ca_pem: Option<&[u8]>,
    identity: Option<Identity<'_>>,
    needed: bool,
) -> Result<ClientConfig, TlsError> {
    by(ca_pem, identity, needed, ALL_VERSIONS)
}

/// As [`trusting`], by one version of TLS alone.
///
/// # Errors
/// [`TlsError`], in words for the operator.
pub fn trusting_by(
    version: &'static SupportedProtocolVersion,
    ca_pem: Option<&[u8]>,
) -> Result<ClientConfig, TlsError> {
    by(ca_pem, None, true, &[version])
}

fn by(
    ca_pem: Option<&[u8]>,
    identity: Option<Identity<'_>>,
    needed: bool,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_pem {
        add(&mut roots, pem).ok_or(TlsError::Ca)?;
    }
    if needed {
        // Some of a system's certificates being broken is common, and no reason to trust the others less.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
    }
    // Named, since a default of the process would be whatever another crate installed.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let config = config.expect("ring has ciphers for TLS 1.2 and 1.3").with_root_certificates(roots);
    let Some(identity) = identity else { return Ok(config.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(identity.certificates).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(identity.key);
    let (Ok(chain), Ok(key)) = (chain, key) else { return Err(TlsError::Identity) };
    config.with_client_auth_cert(chain, key).map_err(|_| TlsError::Identity)
}

/// Why a peer is not spoken with, for operators.
pub fn words(error: &rustls::Error) -> &'static str {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            // The latter for a CA of the same name as one that is trusted.
            Bad::UnknownIssuer | Bad::BadSignature => {
                "TLS: the certificate is from no CA that is trusted here"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "TLS: the certificate is for another host"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "TLS: the certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "TLS: the certificate is not valid yet",
            _ => "TLS: the certificate is not accepted",
        },
        // TLS 1.3 asks by the last of these for a certificate that it did not get.
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired,
        ) => "TLS: the other side does not accept our certificate, or asks for one",
        _ => "TLS: the handshake failed",
    }
}

/// The same, of a stream that broke; nothing where TLS is not the reason.
pub fn words_of_io(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(words)
}

/// At least one certificate, and all of them good.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> Option<()> {
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(())
}
