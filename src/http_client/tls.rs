//! Whom a client trusts: the system's roots, and a certificate authority of the operator's.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
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
}

/// The system's roots and those in `ca_pem`. Where no address needs them (`needed`) the system may have none.
///
/// # Errors
/// [`TlsError`], in words for the operator.
pub fn trusting(ca_pem: Option<&[u8]>, needed: bool) -> Result<ClientConfig, TlsError> {
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
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has ciphers for TLS 1.2 and 1.3");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// At least one certificate, and all of them good.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> Option<()> {
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(())
}
