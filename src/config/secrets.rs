//! Where secrets lie outside the configuration: a file, or a credential that systemd hands over.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::access;
use crate::domain::secret::Secret;

/// Longest secret that is read, in bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// Bytes of a file that is no secret; a chain of certificates has a few thousand.
const MAX_OPEN_BYTES: u64 = 1 << 20;

const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret is read from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// Absolute, once it has gone through [`Self::within`].
    File(PathBuf),
    /// A file of this name in `$CREDENTIALS_DIRECTORY`, see `LoadCredential=` of systemd.exec(5).
    Credential(String),
}

/// A file that the configuration names, and where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    pub line: usize,
    /// Such as `hmac_key_files[1]`.
    pub key: String,
    pub source: SecretSource,
}

/// As it may be written in the configuration: `keys.master = "/path"`.
impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.key, self.source.to_string())
    }
}

/// Why a text names no source of a secret. Never tells the text: it may be the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SourceError {
    #[error(
        "must be a path that starts with / or ./, or credential:NAME; the secret itself belongs into that file"
    )]
    NotASource,
    #[error(
        "names no credential: after credential: comes a file name of at most 255 letters, digits, - _ . @"
    )]
    BadCredential,
}

/// Why a secret can't be had, in words that follow the name of its file.
#[derive(Debug, Error)]
pub enum SecretError {
    #[error("there is no such file")]
    Missing,
    #[error(
        "there is no credential {name} in {}: give the unit LoadCredential={name}:/path/of/its/file, and restart it",
        .folder.display()
    )]
    MissingCredential { name: String, folder: PathBuf },
    #[error("{}", access::explain(.path, .error))]
    Read { path: PathBuf, error: io::Error },
    #[error("is a folder: name a file in it")]
    Folder,
    #[error("others than its owner may read it; run: chmod 600 {}", .0.display())]
    Exposed(PathBuf),
    #[error("is longer than {MAX_SECRET_BYTES} bytes, so it is no key")]
    TooLong,
    #[error("is empty")]
    Empty,
    #[error(
        "${CREDENTIALS_VARIABLE} is not set: credentials are there only in a systemd service with LoadCredential="
    )]
    NoCredentials,
}

impl SecretSource {
    /// Reads `/path`, `./path`, `../path` or `credential:NAME`.
    ///
    /// # Errors
    /// [`SourceError`] for anything else: a bare word could be the secret, pasted in the wrong place.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if let Some(name) = text.strip_prefix("credential:") {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            let fits = (1..=255).contains(&name.len()) && name.chars().all(allowed);
            return if fits && !matches!(name, "." | "..") {
                Ok(Self::Credential(name.into()))
            } else {
                Err(SourceError::BadCredential)
            };
        }
        let is_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
        if is_path && !text.contains('\0') {
            Ok(Self::File(text.into()))
        } else {
            Err(SourceError::NotASource)
        }
    }

    /// The same where relative paths start at `folder`.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(access::absolute_in(folder, &path)),
            credential @ Self::Credential(_) => credential,
        }
    }

    /// The bytes of the secret, without one newline at the end.
    ///
    /// # Errors
    /// [`SecretError`]; a file that its group or others may read is refused. The mode of a credential, also where its whole path
    /// is written, is the affair of systemd.
    pub fn read(&self) -> Result<Secret<Vec<u8>>, SecretError> {
        self.read_under(std::env::var_os(CREDENTIALS_VARIABLE).as_deref().map(Path::new))
    }

    /// As [`SecretSource::read`], with the folder of the credentials given.
    ///
    /// # Errors
    /// As [`SecretSource::read`].
    pub fn read_under(&self, credentials: Option<&Path>) -> Result<Secret<Vec<u8>>, SecretError> {
        match self {
            Self::File(path) => {
                let systemd_keeps_it = credentials.is_some_and(|folder| path.starts_with(folder));
                read_file(path, !systemd_keeps_it)
            }
            Self::Credential(name) => {
                let folder = credentials.ok_or(SecretError::NoCredentials)?;
                read_file(&folder.join(name), false).map_err(|error| self.of_credential(error, folder))
            }
        }
    }

    /// The bytes of a file that is no secret, whatever its mode; at most 1 MiB of them.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read_open(&self) -> Result<Vec<u8>, SecretError> {
        let folder = std::env::var_os(CREDENTIALS_VARIABLE).map(PathBuf::from);
        let path = match (self, &folder) {
            (Self::File(path), _) => path.clone(),
            (Self::Credential(name), Some(folder)) => folder.join(name),
            (Self::Credential(_), None) => return Err(SecretError::NoCredentials),
        };
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_OPEN_BYTES).read_to_end(&mut bytes));
        match (read, folder) {
            (Ok(_), _) => Ok(bytes),
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.of_credential(SecretError::Missing, &folder))
            }
            (Err(error), _) => Err(SecretError::Read { path, error }),
        }
    }

    /// The error with the name of the credential, where it is one that is missing.
    fn of_credential(&self, error: SecretError, folder: &Path) -> SecretError {
        match (self, error) {
            (Self::Credential(name), SecretError::Missing) => {
                SecretError::MissingCredential { name: name.clone(), folder: folder.to_owned() }
            }
            (_, error) => error,
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

fn read_file(path: &Path, private: bool) -> Result<Secret<Vec<u8>>, SecretError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SecretError::Missing,
        _ => SecretError::Read { path: path.to_owned(), error },
    };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.is_dir() {
        return Err(SecretError::Folder);
    }
    if private && found.permissions().mode() & 0o077 != 0 {
        return Err(SecretError::Exposed(path.to_owned()));
    }
    // One buffer of the full size: growing would leave copies behind.
    let mut secret = Vec::with_capacity(MAX_SECRET_BYTES + 2);
    let read = file.take(MAX_SECRET_BYTES as u64 + 2).read_to_end(&mut secret);
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    let secret = Secret::new(secret);
    read.map_err(failed)?;
    match secret.expose().len() {
        0 => Err(SecretError::Empty),
        n if n > MAX_SECRET_BYTES => Err(SecretError::TooLong),
        _ => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(path: &Path, content: &[u8], mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn exactly_one_newline_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (content, key) in [
            ("key", "key"),
            ("key\n", "key"),
            ("key\r\n", "key"),
            ("key\n\n", "key\n"),
            ("key\r", "key\r"),
            (" key ", " key "),
        ] {
            write(&path, content.as_bytes(), 0o600);
            let read = SecretSource::File(path.clone()).read().unwrap();
            assert_eq!(read.expose(), key.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for mode in [0o640, 0o604, 0o660, 0o644] {
            write(&path, b"key", mode);
            let error = SecretSource::File(path.clone()).read().unwrap_err().to_string();
            assert!(error.ends_with(&format!("chmod 600 {}", path.display())), "{error}");
        }
        for mode in [0o600, 0o400] {
            write(&path, b"key", mode);
            assert!(SecretSource::File(path.clone()).read().is_ok());
        }
    }

    #[test]
    fn a_credential_is_a_file_in_the_given_folder_whatever_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("hmac.key"), b"key\n", 0o444);
        let source = SecretSource::parse("credential:hmac.key").unwrap();
        assert_eq!(source.read_under(Some(folder.path())).unwrap().expose(), b"key");
        let error = source.read_under(None).unwrap_err().to_string();
        assert!(error.contains("$CREDENTIALS_DIRECTORY is not set"), "{error}");
        let written_out = SecretSource::File(folder.path().join("hmac.key"));
        assert_eq!(written_out.read_under(Some(folder.path())).unwrap().expose(), b"key");
        assert!(matches!(written_out.read_under(None), Err(SecretError::Exposed(_))));
        let other = SecretSource::parse("credential:other").unwrap();
        let error = other.read_under(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("LoadCredential=other:"), "{error}");
    }

    #[test]
    fn what_can_be_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = || SecretSource::File(path.clone()).read();
        assert!(matches!(read(), Err(SecretError::Missing)));
        assert!(matches!(SecretSource::File(folder.path().to_owned()).read(), Err(SecretError::Folder)));
        write(&path, b"\n", 0o600);
        assert!(matches!(read(), Err(SecretError::Empty)));
        write(&path, &[b'k'; MAX_SECRET_BYTES + 1], 0o600);
        assert!(matches!(read(), Err(SecretError::TooLong)));
        write(&path, &[b'k'; MAX_SECRET_BYTES], 0o600);
        assert_eq!(read().unwrap().expose().len(), MAX_SECRET_BYTES);
    }

    #[test]
    fn only_what_is_plainly_a_source_is_taken() {
        for text in ["/etc/key", "./key", "../key", "credential:ring.hmac"] {
            assert_eq!(SecretSource::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "key", "keys/a", "c2VjcmV0/c2VjcmV0", "/a\0b"] {
            assert_eq!(SecretSource::parse(text), Err(SourceError::NotASource), "{text}");
        }
        for text in ["credential:", "credential:..", "credential:a/b", "credential:ü"] {
            assert_eq!(SecretSource::parse(text), Err(SourceError::BadCredential), "{text}");
        }
    }
}
