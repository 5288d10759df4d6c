//! The folder of an authority's account, and of the key and the certificate that it signed; for the daemon alone, each file there whole or as it was.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

/// Key and certificate lie in one file, so that no crash leaves one without the other.
const PAIR: &str = "certificate.pem";
const ACCOUNT: &str = "account.json";
/// Before the address of the authority's directory, in the first line of the former. Readers of PEM pass over it.
const DIRECTORY: &str = "directory: ";
/// A chain has a few thousand bytes.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// An account at an authority, with its key.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// Of the authority.
    pub(super) directory: String,
    pub(super) credentials: AccountCredentials,
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of the certificate with its key, both PEM.
    pub fn pair(&self) -> PathBuf {
        self.0.join(PAIR)
    }

    /// Its content; nothing before the first order.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.pair())
    }

    /// Proves that the key of an order can be kept.
    pub(super) fn begin(&self, key: &str) -> io::Result<()> {
        self.write(&unfinished(PAIR), key.as_bytes())
    }

    pub(super) fn keep(&self, directory: &str, key: &str, chain: &str) -> io::Result<()> {
        self.put(PAIR, format!("{DIRECTORY}{directory}\n{key}{chain}").as_bytes())
    }

    /// Whether the content of the file is from the authority with this directory.
    pub fn is_of(content: &[u8], directory: &str) -> bool {
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        line.strip_prefix(DIRECTORY.as_bytes()) == Some(directory.as_bytes())
    }

    /// Nothing where there is none, or one that can't be understood: a new one costs nothing.
    pub(super) fn account(&self) -> io::Result<Option<Saved>> {
        Ok(read(&self.0.join(ACCOUNT))?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    pub(super) fn keep_account(&self, saved: &Saved) -> io::Result<()> {
        self.put(ACCOUNT, &serde_json::to_vec(saved)?)
    }

    pub(super) fn forget_account(&self) -> io::Result<()> {
        match fs::remove_file(self.0.join(ACCOUNT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let new = unfinished(name);
        self.write(&new, content)?;
        fs::rename(self.0.join(new), self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.0)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.0.join(name))?;
        file.write_all(content)?;
        file.sync_all()
    }
}

fn unfinished(name: &str) -> String {
    format!("{name}.new")
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content)?;
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pair_is_there_whole_or_as_it_was_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("acme"));
        assert_eq!(folder.read().unwrap(), None);
        folder.begin("first key\n").unwrap();
        assert_eq!(folder.read().unwrap(), None, "an order that did not end");
        folder.keep("https://a.example.com/dir", "first key\n", "first chain\n").unwrap();
        folder.begin("second key\n").unwrap();
        let content = folder.read().unwrap().unwrap();
        assert_eq!(content, b"directory: https://a.example.com/dir\nfirst key\nfirst chain\n");
        assert!(Folder::is_of(&content, "https://a.example.com/dir"));
        assert!(!Folder::is_of(&content, "https://a.example.com/di"));
        assert!(!Folder::is_of(b"", "https://a.example.com/dir"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.pair())), (0o700, 0o600));
    }

    #[test]
    fn an_account_that_can_not_be_understood_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        assert!(folder.account().unwrap().is_none());
        folder.put(ACCOUNT, b"{").unwrap();
        assert!(folder.account().unwrap().is_none());
        folder.forget_account().unwrap();
        folder.forget_account().unwrap();
        assert!(!dir.path().join(ACCOUNT).exists());
    }
}
