//! Every secret that the configuration holds or names: read all together, so that all that is wrong with them is told at once.

use std::collections::{BTreeMap, HashMap};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::common::word;
use super::problem::Problem;
use super::secrets::{NamedFile, SecretError};
use crate::domain::ids::QueueName;
use crate::domain::secret::Secret;
use crate::domain::standard_webhooks::SigningKey;

/// Shortest key for HMAC-SHA256 that is taken, in bytes; a shorter one is a typing error.
const MIN_HMAC_KEY: usize = 16;
/// Shortest token for the admin API on an address, in bytes.
const MIN_API_TOKEN: usize = 32;

/// The secrets as they are written: inline, or as the file that holds one.
#[derive(Debug)]
pub struct Sources {
    pub hmac_keys: Vec<Secret<Vec<u8>>>,
    pub hmac_key_files: Vec<NamedFile>,
    /// It holds 64 hex digits.
    pub master: NamedFile,
    /// The key before, while records are re-wrapped.
    pub previous: Option<NamedFile>,
    pub client: Option<ClientSecret>,
    /// A certificate authority that is trusted beside the public ones, as PEM. No secret, but a file like the others.
    pub ca_file: Option<NamedFile>,
    /// Of the public listener.
    pub tls: Option<PairFiles>,
    /// The same of the authority that gives it.
    pub acme_ca_file: Option<NamedFile>,
    /// Of each of [`Config::api_listeners`](super::Config), in their order.
    pub api_tokens: Vec<NamedFile>,
    /// Of queues whose events are sent to a receiver.
    pub receivers: Vec<ReceiverFiles>,
}

/// The files of one queue's receiver.
#[derive(Debug, Default)]
pub struct ReceiverFiles {
    /// None only while its section is read.
    pub queue: Option<QueueName>,
    /// Each signs what is sent.
    pub secrets: Vec<NamedFile>,
    pub bearer: Option<NamedFile>,
    pub password: Option<NamedFile>,
    /// Certificate authorities beside the public ones.
    pub ca: Option<NamedFile>,
    /// Our certificate with its chain, and its key.
    pub identity: Option<(NamedFile, NamedFile)>,
    /// With which requests to AWS are signed.
    pub secret_access_key: Option<NamedFile>,
    /// Goes with temporary ones.
    pub session_token: Option<NamedFile>,
}

/// The files of a certificate with its chain, and of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    pub certificate: NamedFile,
    pub key: NamedFile,
}

/// The app's secret, or where it is.
#[derive(Debug)]
pub enum ClientSecret {
    Inline(Secret<String>),
    File(NamedFile),
}

/// Whether a master key that is not there is a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterKey {
    Needed,
    /// It is made together with the store.
    MadeLater,
}

/// The secrets themselves.
#[derive(Debug)]
pub struct Secrets {
    /// At least one.
    pub hmac_keys: Vec<Secret<Vec<u8>>>,
    /// The text of the file; not there only if it is made later.
    pub master: Option<Secret<Vec<u8>>>,
    pub previous: Option<Secret<Vec<u8>>>,
    pub client_secret: Option<Secret<String>>,
    pub ca_pem: Option<Vec<u8>>,
    /// Of the public listener.
    pub tls: Option<Identity>,
    pub acme_ca_pem: Option<Vec<u8>>,
    /// One for each listener of the admin API, in the configuration's order.
    pub api_tokens: Vec<Secret<String>>,
    /// Those of each receiver that has some.
    pub receivers: HashMap<QueueName, ReceiverSecrets>,
}

/// The keys of the store, as the text of their files.
#[derive(Debug)]
pub struct StoreKeys {
    pub master: Secret<Vec<u8>>,
    pub previous: Option<Secret<Vec<u8>>>,
}

/// The secrets of one queue's receiver.
#[derive(Debug, Default)]
pub struct ReceiverSecrets {
    pub keys: Vec<SigningKey>,
    pub bearer: Option<Secret<String>>,
    pub password: Option<Secret<String>>,
    pub ca_pem: Option<Vec<u8>>,
    pub identity: Option<Identity>,
    pub secret_access_key: Option<Secret<String>>,
    pub session_token: Option<Secret<String>>,
}

/// A certificate with its chain and its key, PEM, which go together.
#[derive(Debug)]
pub struct Identity {
    pub certificates: Vec<u8>,
    pub key: Secret<Vec<u8>>,
}

/// Stands for the content of files, so that another content is noticed without keeping them.
pub type Print = [u8; 32];

impl Secrets {
    /// A print for each key of the configuration that names files. Those of receivers and of the admin API's tokens are not among them.
    pub fn prints(&self) -> BTreeMap<String, Print> {
        let hmac = self.hmac_keys.iter().map(|key| key.expose().as_slice());
        let text =
            |secret: &Option<Secret<String>>| print(secret.iter().map(|secret| secret.expose().as_bytes()));
        let bytes =
            |secret: &Option<Secret<Vec<u8>>>| print(secret.iter().map(|secret| secret.expose().as_slice()));
        BTreeMap::from([
            ("hmac_key_files".to_owned(), print(hmac)),
            ("keys.master".to_owned(), bytes(&self.master)),
            ("keys.previous".to_owned(), bytes(&self.previous)),
            ("ring.client_secret_file".to_owned(), text(&self.client_secret)),
            ("ring.ca_file".to_owned(), print(self.ca_pem.as_deref().into_iter())),
            ("acme.ca_file".to_owned(), print(self.acme_ca_pem.as_deref().into_iter())),
        ])
    }

    /// Those of the tokens of the admin API, in their order.
    pub fn token_prints(&self) -> Vec<Print> {
        self.api_tokens.iter().map(|token| print(std::iter::once(token.expose().as_bytes()))).collect()
    }
}

impl ReceiverSecrets {
    /// A print of all of them.
    pub fn print(&self) -> Print {
        let keys = self.keys.iter().map(|key| key.text().expose().as_bytes());
        let words = [&self.bearer, &self.password, &self.secret_access_key, &self.session_token];
        let identity = self.identity.as_ref();
        let keys = print(keys);
        // One print for each, so that none is taken for another that is not there.
        let words = words.map(|word| print(word.iter().map(|word| word.expose().as_bytes())));
        let authority = print(self.ca_pem.as_deref().into_iter());
        let identity =
            print(identity.iter().flat_map(|i| [i.certificates.as_slice(), i.key.expose().as_slice()]));
        print([keys, authority, identity].iter().chain(&words).map(<[u8; 32]>::as_slice))
    }
}

fn print<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Print {
    let hashed = parts
        .fold(Sha256::new(), |hash, part| hash.chain_update(part.len().to_le_bytes()).chain_update(part));
    hashed.finalize().into()
}

impl Sources {
    /// Reads every file.
    ///
    /// # Errors
    /// One problem for each file that can't be used, with its key and the way out.
    pub fn read(&self, master_key: MasterKey) -> Result<Secrets, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut keep = |problem: Problem| problems.push(problem);
        let copies = self.hmac_keys.iter().map(|key| Secret::new(key.expose().clone()));
        let mut hmac_keys: Vec<_> = copies.collect();
        for file in &self.hmac_key_files {
            let read = file.read("it has to hold an HMAC signing key as Ring shows it");
            let added =
                read.and_then(|key| add_hmac_key(key, &mut hmac_keys).map_err(|why| file.problem(why)));
            added.unwrap_or_else(&mut keep);
        }
        let master = match self.master.source.read() {
            Err(SecretError::Missing) if master_key == MasterKey::MadeLater => None,
            read => self.master_key(read).map_err(&mut keep).ok(),
        };
        let previous = self.previous_key().map_err(&mut keep).ok().flatten();
        let client_secret = match &self.client {
            Some(ClientSecret::Inline(secret)) => Some(Secret::new(secret.expose().clone())),
            Some(ClientSecret::File(file)) => file.client_secret().map_err(&mut keep).ok(),
            None => None,
        };
        let mut authorities = |file: &Option<NamedFile>| {
            file.as_ref().and_then(|file| file.certificates().map_err(&mut keep).ok())
        };
        let (ca_pem, acme_ca_pem) = (authorities(&self.ca_file), authorities(&self.acme_ca_file));
        let tls = self.tls.as_ref().and_then(|files| kept(files.read(), &mut keep));
        let api_tokens =
            self.api_tokens.iter().filter_map(|file| file.api_token().map_err(&mut keep).ok()).collect();
        let mut receivers = HashMap::new();
        for files in &self.receivers {
            let secrets = files.read(&mut keep);
            receivers.extend(files.queue.clone().map(|queue| (queue, secrets)));
        }
        if problems.is_empty() {
            Ok(Secrets {
                hmac_keys,
                master,
                previous,
                client_secret,
                ca_pem,
                tls,
                acme_ca_pem,
                api_tokens,
                receivers,
            })
        } else {
            Err(problems)
        }
    }

    /// Reads the keys of the store alone, for work that needs no other secret.
    ///
    /// # Errors
    /// One problem for each that can't be used.
    pub fn store_keys(&self) -> Result<StoreKeys, Vec<Problem>> {
        match (self.master_key(self.master.source.read()), self.previous_key()) {
            (Ok(master), Ok(previous)) => Ok(StoreKeys { master, previous }),
            (master, previous) => Err(master.err().into_iter().chain(previous.err()).collect()),
        }
    }

    fn master_key(&self, read: Result<Secret<Vec<u8>>, SecretError>) -> Result<Secret<Vec<u8>>, Problem> {
        self.master.checked(read, MASTER).and_then(|text| self.master.hex(text, MASTER))
    }

    fn previous_key(&self) -> Result<Option<Secret<Vec<u8>>>, Problem> {
        let read = |file: &NamedFile| file.read(PREVIOUS).and_then(|text| file.hex(text, PREVIOUS));
        self.previous.as_ref().map(read).transpose()
    }
}

impl ReceiverFiles {
    /// What could be read; `keep` gets a problem for each file that could not.
    fn read(&self, mut keep: impl FnMut(Problem)) -> ReceiverSecrets {
        let mut secrets = ReceiverSecrets::default();
        for file in &self.secrets {
            match file.signing_key() {
                Ok(key) => secrets.keys.push(key),
                Err(problem) => keep(problem),
            }
        }
        let mut word = |file: &Option<NamedFile>, needed| {
            file.as_ref().and_then(|file| file.word(needed).map_err(&mut keep).ok())
        };
        secrets.bearer = word(&self.bearer, TOKEN);
        secrets.secret_access_key = word(&self.secret_access_key, SECRET_ACCESS_KEY);
        secrets.session_token = word(&self.session_token, SESSION_TOKEN);
        secrets.password = self.password.as_ref().and_then(|file| file.password().map_err(&mut keep).ok());
        secrets.ca_pem = self.ca.as_ref().and_then(|file| file.certificates().map_err(&mut keep).ok());
        secrets.identity =
            self.identity.as_ref().and_then(|(chain, key)| kept(identity(chain, key, OURS), keep));
        secrets
    }
}

impl PairFiles {
    /// Reads both, and sees whether they go together.
    ///
    /// # Errors
    /// What is wrong with each of them.
    pub fn read(&self) -> Result<Identity, Vec<Problem>> {
        identity(&self.certificate, &self.key, PUBLIC)
    }
}

/// What belongs into the two files of an identity, and the name of the first.
#[derive(Clone, Copy)]
struct IdentityWords {
    chain: &'static str,
    key: &'static str,
    of: &'static str,
}

const OURS: IdentityWords = IdentityWords { chain: CHAIN, key: KEY, of: "client_certificate_file" };
const PUBLIC: IdentityWords = IdentityWords {
    chain: "it has to hold the certificate and, below it, those up to its authority, in PEM",
    key: "it has to hold the key of certificate_file, in PEM and without a password",
    of: "certificate_file",
};

const MASTER: &str = "it has to hold the master key of the store, 64 hex digits: put it back from the copy that you keep elsewhere";
const PREVIOUS: &str = "it has to hold the master key before, 64 hex digits; where no rotation is under way, take [keys] previous out";
const CLIENT: &str = "it has to hold the client secret as Ring shows it";
const API_TOKEN: &str = "it has to hold the token that callers send: one line of at least 32 letters, digits and -._~+/=, such as `openssl rand -hex 32` makes";
const SIGNING: &str = "it has to hold whsec_ and 24 to 64 bytes in base64, as the receiver has it; to make one: echo whsec_$(openssl rand -base64 32)";
const TOKEN: &str = "it has to hold the token that the receiver wants to see, one line of text";
const SECRET_ACCESS_KEY: &str = "it has to hold the secret access key of access_key_id, one line of text";
const SESSION_TOKEN: &str = "it has to hold the session token of access_key_id, one line of text";
const PASSWORD: &str = "it has to hold the password as the receiver knows it, one line of text";
const CHAIN: &str = "it has to hold our certificate and those up to its authority, in PEM";
const KEY: &str = "it has to hold the key of client_certificate_file, in PEM";
const AUTHORITY: &str =
    "it has to hold certificates in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE";

/// Both are read, and whether they go together is tried.
fn identity(chain: &NamedFile, key: &NamedFile, words: IdentityWords) -> Result<Identity, Vec<Problem>> {
    let certificates = chain.pem(words.chain).and_then(|pem| {
        let read = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let read = read.ok().filter(|read| !read.is_empty());
        let read = read.ok_or_else(|| chain.problem(format!("holds none; {}", words.chain)))?;
        Ok((pem, read))
    });
    let private = key.read(words.key).and_then(|pem| {
        let read = PrivateKeyDer::from_pem_slice(pem.expose());
        let read = read.map_err(|_| key.problem(format!("holds none; {}", words.key)))?;
        Ok((pem, read))
    });
    match (certificates, private) {
        (Ok((certificates, chain)), Ok((pem, private))) => {
            let pair = CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider());
            let other = |_| vec![key.problem(format!("is not the key of {}", words.of))];
            pair.map_err(other).map(|_| Identity { certificates, key: pem })
        }
        (certificates, private) => Err(certificates.err().into_iter().chain(private.err()).collect()),
    }
}

fn kept<T>(read: Result<T, Vec<Problem>>, keep: impl FnMut(Problem)) -> Option<T> {
    read.map_err(|problems| problems.into_iter().for_each(keep)).ok()
}

impl NamedFile {
    fn problem(&self, hint: impl Into<String>) -> Problem {
        let value = Some(format!("{:?}", self.source.to_string()));
        Problem { line: self.line, key: self.key.clone(), value, hint: hint.into() }
    }

    fn read(&self, needed: &str) -> Result<Secret<Vec<u8>>, Problem> {
        self.checked(self.source.read(), needed)
    }

    /// The words for a file that can't be read; `needed` says what belongs into it.
    fn checked(
        &self,
        read: Result<Secret<Vec<u8>>, SecretError>,
        needed: &str,
    ) -> Result<Secret<Vec<u8>>, Problem> {
        read.map_err(|error| match error {
            SecretError::Missing | SecretError::Empty | SecretError::TooLong => {
                self.problem(format!("{error}; {needed}"))
            }
            error => self.problem(error.to_string()),
        })
    }

    fn hex(&self, text: Secret<Vec<u8>>, needed: &str) -> Result<Secret<Vec<u8>>, Problem> {
        let digits = text.expose().trim_ascii();
        if digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit) {
            Ok(text)
        } else {
            Err(self.problem(format!("is no master key; {needed}")))
        }
    }

    fn client_secret(&self) -> Result<Secret<String>, Problem> {
        let bytes = self.read(CLIENT)?;
        let text = str::from_utf8(bytes.expose()).ok().and_then(|text| word(text).ok());
        text.map(Secret::new)
            .ok_or_else(|| self.problem(format!("is no client secret; {CLIENT}, one line of text")))
    }

    /// What RFC 6750 allows in a bearer token, and long enough that nobody guesses it.
    fn api_token(&self) -> Result<Secret<String>, Problem> {
        let bytes = self.read(API_TOKEN)?;
        let text = str::from_utf8(bytes.expose().trim_ascii()).unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if text.len() >= MIN_API_TOKEN && text.chars().all(allowed) {
            Ok(Secret::new(text.to_owned()))
        } else {
            Err(self.problem(format!("is no such token; {API_TOKEN}")))
        }
    }

    fn signing_key(&self) -> Result<SigningKey, Problem> {
        let text = self.read(SIGNING)?;
        SigningKey::parse(text.expose())
            .ok_or_else(|| self.problem(format!("is no signing secret; {SIGNING}")))
    }

    /// Printable ASCII.
    fn word(&self, needed: &str) -> Result<Secret<String>, Problem> {
        let bytes = self.read(needed)?;
        let fits = bytes.expose().iter().all(u8::is_ascii_graphic);
        let text =
            str::from_utf8(bytes.expose()).ok().filter(|_| fits).map(|text| Secret::new(text.to_owned()));
        text.ok_or_else(|| {
            self.problem(format!("holds more than printable letters, digits and signs; {needed}"))
        })
    }

    /// As it is but for a line end.
    fn password(&self) -> Result<Secret<String>, Problem> {
        let bytes = self.read(PASSWORD)?;
        let text = str::from_utf8(bytes.expose()).ok().filter(|text| !text.contains('\0'));
        let text = text.map(|text| Secret::new(text.to_owned()));
        text.ok_or_else(|| self.problem(format!("is no password; {PASSWORD}")))
    }

    /// A file that is no secret.
    fn pem(&self, needed: &str) -> Result<Vec<u8>, Problem> {
        self.source.read_open().map_err(|error| self.problem(format!("{error}; {needed}")))
    }

    fn certificates(&self) -> Result<Vec<u8>, Problem> {
        let pem = self.pem(AUTHORITY)?;
        let mut roots = RootCertStore::empty();
        let good =
            CertificateDer::pem_slice_iter(&pem).all(|one| one.is_ok_and(|one| roots.add(one).is_ok()));
        if good && !roots.is_empty() {
            Ok(pem)
        } else {
            Err(self.problem(format!("holds none; {AUTHORITY}")))
        }
    }
}

/// Takes `key` as one more beside `keys`, or says why it can't be one.
pub(super) fn add_hmac_key(key: Secret<Vec<u8>>, keys: &mut Vec<Secret<Vec<u8>>>) -> Result<(), String> {
    let length = key.expose().len();
    if length < MIN_HMAC_KEY {
        return Err(format!("is {length} bytes long; a key has at least {MIN_HMAC_KEY}"));
    }
    if keys.iter().any(|other| other.expose() == key.expose()) {
        return Err("is the same key as another; list each once".into());
    }
    keys.push(key);
    Ok(())
}
