//! Where Ring is and how long to wait for it, checked before anything is sent.

use std::time::Duration;

use hyper::Uri;
use rustls::ClientConfig;
use thiserror::Error;

use crate::clock::RingClock;
use crate::domain::address::{self, AddressError};
use crate::domain::secret::Secret;
use crate::tls::{TlsError, trusting};

/// Where Ring is and how long to wait for it.
#[derive(Debug)]
pub struct Settings {
    /// The whole token endpoint, e.g. `https://oauth.ring.com/oauth/token`.
    pub oauth_url: String,
    /// What `/v1/…` is appended to, e.g. `https://api.amazonvision.com`.
    pub api_url: String,
    pub client_id: String,
    pub client_secret: Secret<String>,
    /// Certificates in PEM that are trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// For resolving the name, connecting and TLS together; less than `call_timeout`.
    pub connect_timeout: Duration,
    /// For a whole call to the API, connecting and the answer's body included.
    pub call_timeout: Duration,
    /// The same for an exchange of a token or a code, whose answer may be the only one there is: minutes.
    pub answer_timeout: Duration,
    /// Bytes of an answer's body that are read.
    pub max_answer: usize,
    /// Hears the `Date` of every answer.
    pub ring_clock: RingClock,
}

/// What is wrong with [`Settings`]; `at` is the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("{at}: {error}")]
    Address { at: &'static str, error: AddressError },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "connect_timeout: has to be shorter than call_timeout, so that a call that never left is known as such"
    )]
    Timeouts,
}

/// What is made of [`Settings`].
pub(super) struct Checked {
    pub(super) token_endpoint: Uri,
    pub(super) users_me: Uri,
    pub(super) integrations: Uri,
    pub(super) tls: ClientConfig,
}

impl Settings {
    pub(super) fn check(&self) -> Result<Checked, SettingsError> {
        let wrong = |at| move |error| SettingsError::Address { at, error };
        let token_endpoint = address::callable(&self.oauth_url).map_err(wrong("oauth_url"))?;
        address::callable_base(&self.api_url).map_err(wrong("api_url"))?;
        let at = |path: &str| {
            let whole = format!("{}{path}", self.api_url.trim_end_matches('/'));
            address::callable(&whole).map_err(wrong("api_url"))
        };
        let (users_me, integrations) = (at("/v1/users/me")?, at("/v1/accounts/me/app-integrations")?);
        if self.connect_timeout >= self.call_timeout.min(self.answer_timeout) {
            return Err(SettingsError::Timeouts);
        }
        let any_https = [&token_endpoint, &users_me].iter().any(|uri| uri.scheme_str() == Some("https"));
        let tls = trusting(self.ca_pem.as_deref(), any_https)?;
        Ok(Checked { token_endpoint, users_me, integrations, tls })
    }
}
