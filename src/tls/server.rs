//! TLS as a server: a certificate with its key, what is wrong with it, and the one that new connections are shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, client};
use thiserror::Error;

use crate::domain::certificate::{Certificate, Standing, standing};
use crate::domain::time::Millis;

/// The one protocol that is spoken inside.
const HTTP: &[u8] = b"http/1.1";
/// The protocol by which an ACME authority asks for a proof (RFC 8737). Nothing is spoken inside.
const ACME: &[u8] = b"acme-tls/1";

/// Why two texts are no certificate with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PairError {
    #[error("there is no certificate in PEM")]
    NoCertificate,
    #[error("there is no private key in PEM")]
    NoKey,
    #[error("the key does not match the certificate")]
    Mismatch,
}

/// What a certificate is not good for, though it can be shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("it has expired at {}", .0.rfc3339())]
    Expired(Millis),
    #[error("it is valid from {} on only", .0.rfc3339())]
    NotYetValid(Millis),
    #[error("it is not for {0}")]
    OtherName(String),
    #[error(
        "certificate {0} of the chain has not signed the one before it: write the certificate itself first, and then each authority's below what it signed"
    )]
    Order(usize),
}

/// A certificate with its chain and its key, which go together.
#[derive(Debug, Clone)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    chain: Vec<Certificate>,
}

impl Pair {
    /// Both from PEM.
    ///
    /// # Errors
    /// [`PairError`].
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(PairError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::NoKey)?;
        let read = chain.iter().map(|der| Certificate::read(der)).collect::<Option<Vec<_>>>();
        let read = read.ok_or(PairError::NoCertificate)?;
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|_| PairError::Mismatch)?;
        Ok(Self { key: Arc::new(key), chain: read })
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &Certificate {
        // `read` takes no empty chain.
        &self.chain[0]
    }

    /// What is wrong with it at `now`, where it is to be good for `names`.
    pub fn faults(&self, names: &[String], now: Millis) -> Vec<Fault> {
        let own = self.certificate();
        let time = match standing(own.not_before, own.not_after, now) {
            Standing::Expired => Some(Fault::Expired(own.not_after)),
            Standing::NotYetValid => Some(Fault::NotYetValid(own.not_before)),
            Standing::Fine | Standing::Due | Standing::Urgent => None,
        };
        let others = names.iter().filter(|name| !self.is_for(name)).cloned().map(Fault::OtherName);
        let pairs = self.chain.windows(2).zip(2..);
        let order = pairs.filter(|(pair, _)| !pair[0].is_issued_by(&pair[1])).map(|(_, at)| Fault::Order(at));
        time.into_iter().chain(others).chain(order).collect()
    }

    fn is_for(&self, name: &str) -> bool {
        let Ok(name) = ServerName::try_from(name) else { return false };
        let own = self.key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
        own.is_some_and(|own| client::verify_server_name(&own, &name).is_ok())
    }
}

/// The pair that new connections are shown, once there is one. It changes while they come; those that are open keep theirs.
#[derive(Debug)]
pub struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

impl Shown {
    pub fn new(pair: Option<&Pair>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(pair.map(|pair| Arc::clone(&pair.key)))))
    }

    pub fn show(&self, pair: &Pair) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pair.key));
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What an ACME authority is shown that looks for the proof of a name, while an order is under way.
#[derive(Debug, Default)]
pub struct Challenges(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl Challenges {
    /// Shows a certificate for `name`, which signs itself, until what is returned is dropped. It has an extension of which clients are to
    /// understand nothing else, so it is not looked at here.
    ///
    /// # Errors
    /// When the key is none.
    pub fn show(
        self: &Arc<Self>,
        name: String,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Challenge, rustls::Error> {
        let key = default_provider().key_provider.load_private_key(key)?;
        self.all().insert(name.clone(), Arc::new(CertifiedKey::new(vec![certificate], key)));
        Ok(Challenge { name, of: Arc::clone(self) })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.all().get(&hello.server_name()?.to_ascii_lowercase()).cloned()
    }
}

/// A proof that is shown.
#[derive(Debug)]
pub struct Challenge {
    name: String,
    of: Arc<Challenges>,
}

impl Drop for Challenge {
    fn drop(&mut self) {
        self.of.all().remove(&self.name);
    }
}

/// How handshakes are answered.
#[derive(Debug, Clone)]
pub struct Answers {
    http: Arc<ServerConfig>,
    acme: Option<Arc<ServerConfig>>,
}

/// What a client comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Http,
    /// To look for a proof.
    Proof,
}

impl Answers {
    /// TLS 1.2 and 1.3 with HTTP/1.1 inside, no certificate of the client's, and nothing that may be replayed (no early data); and the
    /// proofs for an authority, where there is one.
    ///
    /// # Errors
    /// When the system gives no random numbers for the key of session tickets.
    pub fn new(shown: Arc<Shown>, challenges: Option<Arc<Challenges>>) -> Result<Self, rustls::Error> {
        let mut http = config(shown, HTTP)?;
        // Sessions are resumed by what the client keeps, so that they take no memory here.
        http.ticketer = Ticketer::new()?;
        let acme = challenges.map(|challenges| config(challenges, ACME)).transpose()?;
        Ok(Self { http: Arc::new(http), acme: acme.map(Arc::new) })
    }

    /// An authority names its protocol alone (RFC 8737, section 3).
    pub fn to(&self, hello: &ClientHello<'_>) -> (Purpose, Arc<ServerConfig>) {
        let is_proof =
            hello.alpn().is_some_and(|mut names| names.next() == Some(ACME) && names.next().is_none());
        match &self.acme {
            Some(acme) if is_proof => (Purpose::Proof, Arc::clone(acme)),
            _ => (Purpose::Http, Arc::clone(&self.http)),
        }
    }
}

fn config(certificate: Arc<dyn ResolvesServerCert>, protocol: &[u8]) -> Result<ServerConfig, rustls::Error> {
    // Named, since a default of the process would be whatever another crate installed.
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = config.with_cert_resolver(certificate);
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};

    use super::*;

    const NOW: Millis = Millis(1_790_000_000_000);

    /// The certificate, that of its authority, and its key.
    fn signed(until: i32) -> (String, String, String) {
        let (key, of_root) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = |name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
            params
        };
        let root = params("root");
        let authority = root.self_signed(&of_root).unwrap();
        let leaf = params("hooks.example.com").signed_by(&key, &Issuer::new(root, &of_root)).unwrap();
        (leaf.pem(), authority.pem(), key.serialize_pem())
    }

    fn faults(chain: &str, key: &str, names: &[&str], now: Millis) -> Vec<Fault> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Pair::read(chain.as_bytes(), key.as_bytes()).unwrap().faults(&names, now)
    }

    #[test]
    fn a_pair_that_does_not_go_together_is_none() {
        let (leaf, root, key) = signed(2040);
        let read = |chain: &str, key: &str| Pair::read(chain.as_bytes(), key.as_bytes()).err();
        assert_eq!(read(&leaf, &key), None);
        assert_eq!(read(&(leaf.clone() + &root), &key), None);
        assert_eq!(read("", &key), Some(PairError::NoCertificate));
        assert_eq!(read(&key, &key), Some(PairError::NoCertificate));
        assert_eq!(read(&leaf[..leaf.len() / 2], &key), Some(PairError::NoCertificate));
        assert_eq!(read(&leaf, &leaf), Some(PairError::NoKey));
        assert_eq!(read(&leaf, &signed(2040).2), Some(PairError::Mismatch));
        // The authority's certificate stands first.
        assert_eq!(read(&(root + &leaf), &key), Some(PairError::Mismatch));
    }

    #[test]
    fn what_a_client_would_refuse_is_named() {
        let (leaf, root, key) = signed(2040);
        assert_eq!(faults(&leaf, &key, &["hooks.example.com"], NOW), []);
        assert_eq!(faults(&(leaf.clone() + &root), &key, &[], NOW), []);
        let other = Fault::OtherName("other.example.com".into());
        assert_eq!(faults(&leaf, &key, &["other.example.com", "hooks.example.com"], NOW), [other]);
        let strange = signed(2040).0;
        assert_eq!(faults(&(leaf.clone() + &strange), &key, &[], NOW), [Fault::Order(2)]);
        assert_eq!(faults(&(leaf.clone() + &root + &leaf), &key, &[], NOW), [Fault::Order(3)]);
        assert!(matches!(faults(&leaf, &key, &[], Millis(0))[..], [Fault::NotYetValid(_)]));
        let (old, _, of_old) = signed(2026);
        assert!(matches!(faults(&old, &of_old, &[], NOW)[..], [Fault::Expired(_)]));
    }
}
