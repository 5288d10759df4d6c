//! Seals and opens what rests on disk: data keys wrapped by the master key, records sealed by data keys.
//!
//! Each account has one data key for its tokens and one for its kept events, so that destroying a key destroys
//! what it sealed. AES-256-GCM with random nonces: a counter kept in the store would repeat after a restore.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

const KEY_LEN: usize = 32;
const KEY_ID_LEN: usize = 8;
const TAG_LEN: usize = 16;

/// What sealing adds to a record, in bytes: nonce and tag.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VaultError {
    #[error("the record does not open: it was changed, or it belongs elsewhere")]
    Refused,
    #[error("it is sealed under master key {0}, which is not configured")]
    UnknownMaster(MasterId),
    #[error("a master key file holds 64 hex digits (32 bytes)")]
    BadMaster,
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// Public name of a master key: the start of a hash of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MasterId([u8; KEY_ID_LEN]);

impl MasterId {
    fn of(key: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(b"ringhookd/master-key/v1\0").chain_update(key).finalize();
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&digest[..KEY_ID_LEN]);
        Self(id)
    }
}

impl fmt::Display for MasterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for MasterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a data key is for; each purpose of an account has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    Tokens = 1,
    Events = 2,
    /// Proves at start that the configured master key is the store's.
    Canary = 3,
}

struct Master {
    id: MasterId,
    key: LessSafeKey,
}

impl Master {
    fn new(bytes: &[u8]) -> Result<Self, VaultError> {
        Ok(Self { id: MasterId::of(bytes), key: aead_key(bytes)? })
    }
}

/// The master keys in force: one that seals, and while rotating the one before it, which only opens.
pub struct Vault {
    current: Master,
    previous: Option<Master>,
    random: SystemRandom,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("current", &self.current.id).finish_non_exhaustive()
    }
}

impl Vault {
    /// Takes key files as they are: 64 hex digits, white space around them ignored.
    ///
    /// # Errors
    /// [`VaultError::BadMaster`] when a text is something else.
    pub fn from_hex(current: &[u8], previous: Option<&[u8]>) -> Result<Self, VaultError> {
        let current = Master::new(&decode_master(current)?)?;
        let previous = previous.map(|text| Master::new(&decode_master(text)?)).transpose()?;
        Ok(Self { current, previous, random: SystemRandom::new() })
    }

    /// A new master key as it goes into its file, with a final newline.
    ///
    /// # Errors
    /// [`VaultError::NoRandom`] when the system's generator fails.
    pub fn generate_hex() -> Result<Zeroizing<String>, VaultError> {
        let mut key = Zeroizing::new([0u8; KEY_LEN]);
        SystemRandom::new().fill(&mut key[..]).map_err(|_| VaultError::NoRandom)?;
        let mut text = Zeroizing::new(HEXLOWER.encode(&key[..]));
        text.push('\n');
        Ok(text)
    }

    /// Which key seals.
    pub fn current(&self) -> MasterId {
        self.current.id
    }

    /// Which keys open: the one that seals, then the previous one.
    pub fn known(&self) -> impl Iterator<Item = MasterId> {
        [Some(self.current.id), self.previous.as_ref().map(|m| m.id)].into_iter().flatten()
    }

    /// A fresh data key for `owner`, and the same wrapped for the store.
    ///
    /// # Errors
    /// [`VaultError::NoRandom`] when the system's generator fails.
    pub fn fresh_key(&self, owner: u32, purpose: Purpose) -> Result<(DataKey, Vec<u8>), VaultError> {
        let mut key = Zeroizing::new([0u8; KEY_LEN]);
        self.random.fill(&mut key[..]).map_err(|_| VaultError::NoRandom)?;
        Ok((DataKey::new(&key[..])?, self.wrap(owner, purpose, &key[..])?))
    }

    /// The data key inside `wrapped`, which must have been made for this owner and purpose.
    ///
    /// # Errors
    /// [`VaultError::UnknownMaster`] under a foreign master key, [`VaultError::Refused`] when it is not genuine.
    pub fn unwrap(&self, owner: u32, purpose: Purpose, wrapped: &[u8]) -> Result<DataKey, VaultError> {
        self.open_wrapped(owner, purpose, wrapped).and_then(|key| DataKey::new(&key))
    }

    /// `wrapped` under the current master key; nothing when it is already.
    ///
    /// # Errors
    /// As [`Vault::unwrap`].
    pub fn rewrap(
        &self,
        owner: u32,
        purpose: Purpose,
        wrapped: &[u8],
    ) -> Result<Option<Vec<u8>>, VaultError> {
        if wrapped_by(wrapped)? == self.current.id {
            return Ok(None);
        }
        let key = self.open_wrapped(owner, purpose, wrapped)?;
        self.wrap(owner, purpose, &key).map(Some)
    }

    fn wrap(&self, owner: u32, purpose: Purpose, key: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut out = Vec::with_capacity(KEY_ID_LEN + KEY_LEN + SEAL_OVERHEAD);
        out.extend_from_slice(&self.current.id.0);
        seal_into(&self.current.key, &self.random, &wrap_aad(owner, purpose), key, &mut out)?;
        Ok(out)
    }

    fn open_wrapped(
        &self,
        owner: u32,
        purpose: Purpose,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let id = wrapped_by(wrapped)?;
        let master = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|m| m.id == id)
            .ok_or(VaultError::UnknownMaster(id))?;
        open_with(&master.key, &wrap_aad(owner, purpose), &wrapped[KEY_ID_LEN..]).map(Zeroizing::new)
    }
}

/// The master key that `wrapped` is under.
///
/// # Errors
/// [`VaultError::Refused`] when it is too short to be a wrapped key.
pub fn wrapped_by(wrapped: &[u8]) -> Result<MasterId, VaultError> {
    let id = wrapped.first_chunk::<KEY_ID_LEN>().ok_or(VaultError::Refused)?;
    Ok(MasterId(*id))
}

/// Seals and opens the records of one account and purpose.
pub struct DataKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl DataKey {
    fn new(bytes: &[u8]) -> Result<Self, VaultError> {
        Ok(Self { key: aead_key(bytes)?, random: SystemRandom::new() })
    }

    /// Appends `plain`, sealed together with `aad`, to `out`: [`SEAL_OVERHEAD`] bytes more than `plain`.
    ///
    /// # Errors
    /// [`VaultError::NoRandom`] when the system's generator fails.
    pub fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), VaultError> {
        seal_into(&self.key, &self.random, aad, plain, out)
    }

    /// What was sealed under the same `aad`.
    ///
    /// # Errors
    /// [`VaultError::Refused`] when anything differs.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        open_with(&self.key, aad, sealed)
    }
}

fn aead_key(bytes: &[u8]) -> Result<LessSafeKey, VaultError> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| VaultError::BadMaster)
}

fn decode_master(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut lower = Zeroizing::new(text.trim_ascii().to_vec());
    lower.make_ascii_lowercase();
    let key = HEXLOWER.decode(&lower).map(Zeroizing::new).map_err(|_| VaultError::BadMaster)?;
    if key.len() == KEY_LEN { Ok(key) } else { Err(VaultError::BadMaster) }
}

fn wrap_aad(owner: u32, purpose: Purpose) -> [u8; 21] {
    let mut aad = *b"ringhookd/key/v1\0\0\0\0\0";
    aad[16] = purpose as u8;
    aad[17..].copy_from_slice(&owner.to_be_bytes());
    aad
}

fn seal_into(
    key: &LessSafeKey,
    random: &SystemRandom,
    aad: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce).map_err(|_| VaultError::NoRandom)?;
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let sealed = key.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(aad),
        &mut out[start..],
    );
    let tag = sealed.map_err(|_| VaultError::Refused)?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

fn open_with(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::Refused)?;
    let mut buffer = rest.to_vec();
    let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut buffer);
    let Ok(plain) = opened.map(|plain| plain.len()) else {
        buffer.zeroize();
        return Err(VaultError::Refused);
    };
    buffer.truncate(plain);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\n";
    const B: &[u8] = b"ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_record_opens_only_where_it_belongs() {
        let vault = Vault::from_hex(A, None).unwrap();
        let (key, wrapped) = vault.fresh_key(7, Purpose::Tokens).unwrap();
        let mut sealed = Vec::new();
        key.seal(b"account-7", b"secret", &mut sealed).unwrap();
        assert_eq!(sealed.len(), 6 + SEAL_OVERHEAD);
        let again = vault.unwrap(7, Purpose::Tokens, &wrapped).unwrap();
        assert_eq!(again.open(b"account-7", &sealed).unwrap(), b"secret");

        assert_eq!(again.open(b"account-8", &sealed), Err(VaultError::Refused));
        assert_eq!(vault.unwrap(8, Purpose::Tokens, &wrapped).unwrap_err(), VaultError::Refused);
        assert_eq!(vault.unwrap(7, Purpose::Events, &wrapped).unwrap_err(), VaultError::Refused);
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(again.open(b"account-7", &changed), Err(VaultError::Refused), "byte {i}");
        }
        assert_eq!(again.open(b"account-7", &sealed[..5]), Err(VaultError::Refused));
    }

    #[test]
    fn rotation_rewraps_and_then_needs_only_the_new_key() {
        let old = Vault::from_hex(A, None).unwrap();
        let (_, wrapped) = old.fresh_key(1, Purpose::Events).unwrap();
        let only_new = Vault::from_hex(B, None).unwrap();
        let refused = only_new.unwrap(1, Purpose::Events, &wrapped).unwrap_err();
        assert_eq!(refused, VaultError::UnknownMaster(old.current()));

        let both = Vault::from_hex(B, Some(A)).unwrap();
        assert!(both.unwrap(1, Purpose::Events, &wrapped).is_ok());
        let rewrapped = both.rewrap(1, Purpose::Events, &wrapped).unwrap().unwrap();
        assert_eq!(both.rewrap(1, Purpose::Events, &rewrapped).unwrap(), None);
        assert!(only_new.unwrap(1, Purpose::Events, &rewrapped).is_ok());
    }

    #[test]
    fn key_files_are_64_hex_digits() {
        let generated = Vault::generate_hex().unwrap();
        assert!(Vault::from_hex(generated.as_bytes(), None).is_ok());
        for bad in [&b""[..], b"zz", &A[..63], b"00112233"] {
            assert_eq!(Vault::from_hex(bad, None).unwrap_err(), VaultError::BadMaster);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let vault = Vault::from_hex(A, None).unwrap();
        let (key, _) = vault.fresh_key(1, Purpose::Events).unwrap();
        let shown = format!("{vault:?} {key:?}");
        assert!(!shown.contains("00112233"), "{shown}");
    }
}
