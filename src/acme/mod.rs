//! A certificate from an ACME authority (RFC 8555): one order for all names, proven on the public listener itself (TLS-ALPN-01, RFC 8737).
//!
//! Account, key and certificate lie in one folder. When an order is due is `domain::acme`'s, and when it is tried is the daemon's.

mod folder;
mod http;

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::tls::server::{Challenges, Pair};
pub use folder::Folder;
use folder::Saved;

/// How long an authority may take to look at a proof, and to sign.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).timeout(Duration::from_mins(5));
/// Characters of an authority's words that are shown.
const LONGEST_WORDS: usize = 600;

/// What is wanted of which authority.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The address of its directory.
    pub directory: String,
    /// `mailto:` addresses to which it may write.
    pub contacts: Vec<String>,
    pub names: Vec<String>,
}

/// Why there is no certificate, in words for the operator.
#[derive(Debug, Error)]
pub enum OrderError {
    #[error("{0}")]
    Refused(String),
    #[error("the authority does not prove by TLS on port 443 (tls-alpn-01), which is the only way here")]
    NoChallenge,
    #[error("the authority can't be reached or understood: {0}")]
    Unreachable(String),
    #[error("{}: {error}", .folder.path().display())]
    Folder { folder: Folder, error: io::Error },
    #[error("what the authority signed is no certificate for our key: {0}")]
    NotOurs(String),
    #[error("a key or a certificate could not be made: {0}")]
    Made(String),
}

impl From<rcgen::Error> for OrderError {
    fn from(error: rcgen::Error) -> Self {
        Self::Made(error.to_string())
    }
}

/// What an authority signed.
#[derive(Debug)]
pub struct Issued {
    pub pair: Pair,
    /// Why it is not on disk. It can be shown until the next start, which orders another.
    pub unkept: Option<OrderError>,
}

/// An authority, and what is wanted of it.
#[derive(Debug)]
pub struct Authority {
    wanted: Wanted,
    folder: Folder,
    http: http::Http,
}

impl Authority {
    pub fn new(wanted: Wanted, folder: Folder, tls: rustls::ClientConfig) -> Self {
        Self { wanted, folder, http: http::Http::new(tls) }
    }

    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Orders a certificate; the pair that it gives is in the folder then.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn order(&self, challenges: &Arc<Challenges>) -> Result<Issued, OrderError> {
        let account = self.account().await?;
        let key = KeyPair::generate()?;
        // A disk that takes nothing is found out before the authority signs, because it counts what it signs.
        self.on_disk({
            let key = key.serialize_pem();
            move |folder| folder.begin(&key)
        })
        .await?;
        let begun = match begin(&account, &self.wanted.names).await {
            Err(error) if is_unknown_account(&error) => {
                self.on_disk(Folder::forget_account).await?;
                begin(&self.account().await?, &self.wanted.names).await
            }
            begun => begun,
        };
        let mut order = begun.map_err(said)?;
        prove(&mut order, challenges).await?;
        let csr = CertificateParams::new(self.wanted.names.clone())?.serialize_request(&key)?;
        order.finalize_csr(csr.der()).await.map_err(said)?;
        let chain = order.poll_certificate(&PATIENCE).await.map_err(said)?;
        let key = key.serialize_pem();
        let pair = Pair::read(chain.as_bytes(), key.as_bytes())
            .map_err(|error| OrderError::NotOurs(error.to_string()))?;
        let directory = self.wanted.directory.clone();
        let kept = self.on_disk(move |folder| folder.keep(&directory, &key, &chain)).await;
        Ok(Issued { pair, unkept: kept.err() })
    }

    /// The one in the folder if it is this authority's, else a new one, which is on disk before it is used.
    async fn account(&self) -> Result<Account, OrderError> {
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        let saved = self.on_disk(Folder::account).await?;
        if let Some(saved) = saved.filter(|saved| saved.directory == self.wanted.directory) {
            return builder().from_credentials(saved.credentials).await.map_err(said);
        }
        let contacts: Vec<&str> = self.wanted.contacts.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contacts,
            // The configuration is refused without it.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) =
            builder().create(&new, self.wanted.directory.clone(), None).await.map_err(said)?;
        let saved = Saved { directory: self.wanted.directory.clone(), credentials };
        self.on_disk(move |folder| folder.keep_account(&saved)).await?;
        Ok(account)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, OrderError> {
        let folder = self.folder.clone();
        let done = spawn_blocking(move || work(&folder)).await.map_err(io::Error::other);
        done.flatten().map_err(|error| OrderError::Folder { folder: self.folder.clone(), error })
    }
}

async fn begin(account: &Account, names: &[String]) -> Result<Order, Error> {
    let names: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
    account.new_order(&NewOrder::new(&names)).await
}

/// Shows the proof of each name until the authority has looked at all of them.
async fn prove(order: &mut Order, challenges: &Arc<Challenges>) -> Result<(), OrderError> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Identifier::Dns(name) = authorization.identifier().identifier.clone() else {
            return Err(OrderError::Refused(
                "the authority asks for a proof of something else than a name".into(),
            ));
        };
        let mut challenge =
            authorization.challenge(ChallengeType::TlsAlpn01).ok_or(OrderError::NoChallenge)?;
        let (certificate, key) = proof(&name, challenge.key_authorization().digest().as_ref())?;
        let shown = challenges.show(name, certificate, key);
        proofs.push(shown.map_err(|error| OrderError::Made(error.to_string()))?);
        challenge.set_ready().await.map_err(said)?;
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
        Ok(_) | Err(Error::Api(_)) => Err(refused(order).await),
        Err(error) => Err(said(error)),
    }
}

/// A certificate that signs itself, with the digest of the authority's token in it (RFC 8737, section 3), and its key.
fn proof(name: &str, digest: &[u8]) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), OrderError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// The reason for each name that the authority could not prove.
async fn refused(order: &mut Order) -> OrderError {
    let mut words = String::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        for problem in authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            let between = if words.is_empty() { "" } else { "; " };
            let _ = write!(words, "{between}{name}: {}", words_of(problem));
        }
    }
    if words.is_empty() {
        words.push_str("the authority refuses the order, and gives no reason");
    }
    OrderError::Refused(shown(&words))
}

fn said(error: Error) -> OrderError {
    match error {
        Error::Api(problem) => OrderError::Refused(shown(&words_of(&problem))),
        Error::Timeout(_) => OrderError::Unreachable("it has not answered in time".into()),
        Error::Other(error) => OrderError::Unreachable(shown(&error.to_string())),
        error => OrderError::Unreachable(shown(&error.to_string())),
    }
}

fn words_of(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or("refused");
    match &problem.detail {
        Some(detail) => format!("{detail} ({kind})"),
        None => kind.to_owned(),
    }
}

fn is_unknown_account(error: &Error) -> bool {
    matches!(error, Error::Api(problem)
        if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist"))
}

/// One line of what another side says.
fn shown(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::Certificate;

    #[test]
    fn a_proof_is_for_its_name_and_holds_the_digest() {
        let digest = [7; 32];
        let (certificate, _) = proof("hooks.example.com", &digest).unwrap();
        assert_eq!(Certificate::read(&certificate).unwrap().names, ["hooks.example.com"]);
        // 1.3.6.1.5.5.7.1.31, critical, and the digest as an octet string in an octet string.
        let mut extension = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 1, 31, 0x01, 1, 0xff, 0x04, 34, 0x04, 32];
        extension.extend(digest);
        assert!(certificate.windows(extension.len()).any(|part| part == extension));
    }

    #[test]
    fn words_of_an_authority_are_one_line_with_an_end() {
        let problem = Problem {
            r#type: Some("urn:ietf:params:acme:error:rateLimited".into()),
            detail: Some("too many\ncertificates".into()),
            status: Some(429),
            subproblems: Vec::new(),
        };
        let OrderError::Refused(words) = said(Error::Api(problem)) else { panic!() };
        assert_eq!(words, "too many certificates (rateLimited)");
        assert_eq!(shown(&"x".repeat(10_000)).len(), LONGEST_WORDS);
    }
}
