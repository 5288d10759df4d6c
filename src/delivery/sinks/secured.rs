//! TLS with receivers.

use rustls::ClientConfig;

use crate::config::{ReceiverSecrets, Target};
use crate::tls::{self, TlsError};

/// How TLS is spoken with a receiver: its authority beside the system's, and our certificate.
pub(super) fn tls_of(target: &Target, secrets: &ReceiverSecrets) -> Result<ClientConfig, TlsError> {
    tls_where(target.url.is_encrypted(), secrets)
}

/// The same, where the address does not tell whether TLS is spoken.
pub(super) fn tls_where(is_spoken: bool, secrets: &ReceiverSecrets) -> Result<ClientConfig, TlsError> {
    let identity = secrets
        .identity
        .as_ref()
        .map(|identity| tls::Identity { certificates: &identity.certificates, key: identity.key.expose() });
    tls::client(secrets.ca_pem.as_deref(), identity, is_spoken)
}
