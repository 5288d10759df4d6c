//! Ring's webhook signature: how it is written, whether it holds, and what to answer when it does not.
//!
//! `X-Signature: sha256=<hex HMAC-SHA256 of the raw body>`, the key being the raw bytes of the string that Ring shows
//! (source: Ring's partner documentation on webhooks).

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::time::Millis;

/// The header's name.
pub const HEADER: &str = "x-signature";

const PREFIX: &[u8] = b"sha256=";
/// How recently one key must have verified something for a mismatch to be called a forgery.
const PROOF_AGE: Duration = Duration::from_mins(10);
/// So many mismatches in a row look like our own key is wrong, not like forgers.
const MAX_MISMATCHES: u32 = 5;

/// Why a request can't carry a good signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("there is no signature")]
    Missing,
    #[error("there is more than one signature")]
    Repeated,
    #[error("the signature is not sha256= and 64 hex digits")]
    Malformed,
}

/// A well-formed signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    mac: [u8; 32],
    /// It came without the `sha256=` in front, as Ring's own sample accepts it.
    pub bare: bool,
}

impl Signature {
    /// Reads the values of all signature headers of a request.
    ///
    /// # Errors
    /// [`Refusal`] unless there is exactly one, and it is `sha256=` (or nothing) and 64 hex digits of either case.
    pub fn parse<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Result<Self, Refusal> {
        let value = values.next().ok_or(Refusal::Missing)?;
        if values.next().is_some() {
            return Err(Refusal::Repeated);
        }
        let (hex, bare) = value.strip_prefix(PREFIX).map_or((value, true), |hex| (hex, false));
        let mut mac = [0; 32];
        if hex.len() != 64 {
            return Err(Refusal::Malformed);
        }
        HEXLOWER_PERMISSIVE.decode_mut(hex, &mut mac).map_err(|_| Refusal::Malformed)?;
        Ok(Self { mac, bare })
    }
}

/// Public name of a key: the start of a hash of it, 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Key {
    keyed: Hmac<Sha256>,
    fingerprint: Fingerprint,
}

/// The webhook keys in force; more than one while a key is being rotated.
pub struct Keys(Vec<Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.fingerprint)).finish()
    }
}

impl Keys {
    /// Takes keys as Ring shows them: the bytes of the text.
    /// A key that is there twice counts once.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k [u8]>) -> Self {
        let mut all: Vec<Key> = Vec::new();
        for bytes in keys {
            let fingerprint = fingerprint(bytes);
            if all.iter().all(|key| key.fingerprint != fingerprint) {
                all.push(Key { keyed: keyed(bytes), fingerprint });
            }
        }
        Self(all)
    }

    /// Which key made the signature over `body`. Every key is tried whatever the others say, each in constant time.
    pub fn verify(&self, body: &[u8], signature: &Signature) -> Option<usize> {
        let mut found = None;
        for (index, key) in self.0.iter().enumerate() {
            let mac = key.keyed.clone().chain_update(body);
            if mac.verify_slice(&signature.mac).is_ok() {
                found = Some(index);
            }
        }
        found
    }

    /// The public name of the key that [`Self::verify`] found.
    pub fn fingerprint(&self, index: usize) -> Option<&Fingerprint> {
        self.0.get(index).map(|key| &key.fingerprint)
    }

    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.0.iter().map(|key| &key.fingerprint)
    }
}

/// The header's value for a body, as Ring signs it.
pub fn sign(key: &[u8], body: &[u8]) -> String {
    format!("sha256={}", HEXLOWER.encode(&keyed(key).chain_update(body).finalize().into_bytes()))
}

/// A state that has taken in the key, to be cloned for each message.
pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length: longer ones are hashed (RFC 2104).
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("any length is taken"))
}

fn fingerprint(key: &[u8]) -> Fingerprint {
    let digest = Sha256::new().chain_update(b"ringhookd/hmac-key/v1\0").chain_update(key).finalize();
    Fingerprint(HEXLOWER.encode(&digest[..8]))
}

/// When a key was set, and when it last verified something: what an old key is retired on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub fingerprint: Fingerprint,
    /// Epoch milliseconds.
    pub set_at: u64,
    /// Epoch milliseconds; nothing while it has verified nothing.
    pub verified_at: Option<u64>,
}

/// What a well-formed signature that no key made is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// Our keys are known to be right: it is forged, and 401.
    Forged,
    /// Our keys may be what is wrong: 503, so that a real event is delayed, not lost.
    Unproven,
}

/// What is known of the keys in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proofs {
    keys: Vec<Proof>,
    mismatches: u32,
}

impl Proofs {
    /// For these keys, with what was noted of them in earlier runs.
    pub fn new(keys: &Keys, noted: &[Proof], now: Millis) -> Self {
        let proof = |fingerprint: &Fingerprint| {
            let known = noted.iter().find(|proof| proof.fingerprint == *fingerprint).cloned();
            let new = || Proof { fingerprint: fingerprint.clone(), set_at: now.0, verified_at: None };
            known.unwrap_or_else(new)
        };
        Self { keys: keys.fingerprints().map(proof).collect(), mismatches: 0 }
    }

    /// What is known now, to be noted and shown.
    pub fn all(&self) -> &[Proof] {
        &self.keys
    }

    /// A key verified something. Returns whether that was its first time, so worth noting at once. One that was taken out meanwhile
    /// proves nothing.
    pub fn verified(&mut self, key: &Fingerprint, now: Millis) -> bool {
        let Some(proof) = self.keys.iter_mut().find(|proof| proof.fingerprint == *key) else { return false };
        self.mismatches = 0;
        proof.verified_at.replace(now.0).is_none()
    }

    /// No key made a well-formed signature. A forgery only while every key is proven, one of them within the last ten
    /// minutes, and fewer than five mismatches came since.
    pub fn mismatched(&mut self, now: Millis) -> Mismatch {
        let proven = self.keys.iter().all(|proof| proof.verified_at.is_some());
        // A time ahead of the clock, after the clock was set back, proves nothing recent.
        let is_recent = |at: u64| at <= now.0 && now.since(Millis(at)) <= PROOF_AGE;
        let recent = self.keys.iter().filter_map(|proof| proof.verified_at).any(is_recent);
        let few = self.mismatches < MAX_MISMATCHES;
        self.mismatches = self.mismatches.saturating_add(1);
        if proven && recent && few { Mismatch::Forged } else { Mismatch::Unproven }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn parse(values: &[&str]) -> Result<Signature, Refusal> {
        Signature::parse(values.iter().map(|v| v.as_bytes()))
    }

    #[test]
    fn only_one_form_is_taken() {
        let upper = format!("sha256={}", HEX.to_uppercase());
        let good = format!("sha256={HEX}");
        assert!(!parse(&[&good]).unwrap().bare);
        assert_eq!(parse(&[&upper]), parse(&[&good]));
        assert!(parse(&[HEX]).unwrap().bare);
        assert_eq!(parse(&[]), Err(Refusal::Missing));
        assert_eq!(parse(&[&good, &good]), Err(Refusal::Repeated));
        let mixed = format!("sha256={}G", &HEX[1..]);
        let malformed = [
            "",
            "sha256=",
            "sha256",
            "=",
            &HEX[1..],
            &format!("{HEX}0"),
            &format!("sha256={}", &HEX[2..]),
            &format!("sha256={HEX}00"),
            &format!("SHA256={HEX}"),
            &format!("Sha256={HEX}"),
            &format!("sha1={HEX}"),
            &format!("sha512={HEX}"),
            &format!("sha256:{HEX}"),
            &format!("sha256= {HEX}"),
            &format!("sha256 ={HEX}"),
            &format!(" sha256={HEX}"),
            &format!("sha256={HEX} "),
            &format!("sha256=\"{HEX}\""),
            &format!("sha256=0x{}", &HEX[2..]),
            &format!("sha256={HEX},sha256={HEX}"),
            &format!("v1={HEX}"),
            &format!("sha256=sha256={HEX}"),
            "sha256=ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=",
            &mixed,
            &format!("sha256={}\u{e9}", &HEX[2..]),
            &format!("sha256={}\0", &HEX[1..]),
            &format!("sha256={}-", &HEX[1..]),
            &format!("sha256={}\n", &HEX[1..]),
        ];
        for value in malformed {
            assert_eq!(parse(&[value]), Err(Refusal::Malformed), "{value:?}");
        }
    }

    #[test]
    fn a_signature_holds_for_one_key_and_one_body() {
        let keys = Keys::new([&b"one"[..], b"two"]);
        let signed = |key: &[u8], body: &[u8]| parse(&[&sign(key, body)]).unwrap();
        assert_eq!(keys.verify(b"body", &signed(b"one", b"body")), Some(0));
        assert_eq!(keys.verify(b"body", &signed(b"two", b"body")), Some(1));
        assert_eq!(keys.verify(b"body", &signed(b"three", b"body")), None);
        assert_eq!(keys.verify(b"bodY", &signed(b"one", b"body")), None);
        assert_eq!(Keys::new([]).verify(b"body", &signed(b"one", b"body")), None);
    }

    proptest! {
        /// The two HMAC implementations that we carry check each other.
        #[test]
        fn ring_and_hmac_agree(key in prop::collection::vec(any::<u8>(), 1..200), body: Vec<u8>) {
            let other = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), &body);
            prop_assert_eq!(sign(&key, &body), format!("sha256={}", HEXLOWER.encode(other.as_ref())));
        }

        #[test]
        fn any_header_is_read_without_a_panic(value: Vec<u8>) {
            let _ = Signature::parse(std::iter::once(&value[..]));
        }

        /// A mismatch is a forgery only inside the rule, whatever came before.
        #[test]
        fn forged_only_while_the_keys_are_proven(steps in prop::collection::vec((0..3usize, 0..400_000u64), 1..80)) {
            let keys = Keys::new([&b"one"[..], b"two"]);
            let mut proofs = Proofs::new(&keys, &[], Millis(0));
            let (mut now, mut since, mut verified) = (0u64, 0, [None::<u64>; 2]);
            for (step, pass) in steps {
                now += pass;
                if step < 2 {
                    prop_assert_eq!(proofs.verified(keys.fingerprint(step).unwrap(), Millis(now)), verified[step].is_none());
                    verified[step] = Some(now);
                    since = 0;
                } else {
                    let recent = verified.iter().flatten().any(|at| now - at <= 600_000);
                    let forged = verified.iter().all(Option::is_some) && recent && since < 5;
                    let expected = if forged { Mismatch::Forged } else { Mismatch::Unproven };
                    prop_assert_eq!(proofs.mismatched(Millis(now)), expected);
                    since += 1;
                }
            }
        }
    }

    #[test]
    fn proofs_are_remembered_by_fingerprint() {
        let both = Keys::new([&b"one"[..], b"two"]);
        let (one, two) = (both.fingerprint(0).unwrap(), both.fingerprint(1).unwrap());
        let mut before = Proofs::new(&Keys::new([&b"one"[..]]), &[], Millis(5));
        assert!(before.verified(one, Millis(10)));
        assert!(!before.verified(one, Millis(20)), "not news");
        assert!(!before.verified(two, Millis(20)), "not one of its keys");
        let after = Proofs::new(&both, before.all(), Millis(30));
        assert_eq!((after.all()[0].set_at, after.all()[0].verified_at), (5, Some(20)));
        assert_eq!((after.all()[1].set_at, after.all()[1].verified_at), (30, None));
    }

    #[test]
    fn a_new_key_or_a_clock_set_back_makes_mismatches_unproven() {
        let keys = Keys::new([&b"one"[..]]);
        let mut proofs = Proofs::new(&keys, &[], Millis(0));
        assert_eq!(proofs.mismatched(Millis(0)), Mismatch::Unproven, "never verified anything");
        proofs.verified(keys.fingerprint(0).unwrap(), Millis(1_000_000));
        assert_eq!(proofs.mismatched(Millis(1_000_000)), Mismatch::Forged);
        assert_eq!(proofs.mismatched(Millis(999_999)), Mismatch::Unproven, "clock set back");
        let twice = Keys::new([&b"one"[..], b"one"]);
        let mut twice = Proofs::new(&twice, proofs.all(), Millis(1_000_000));
        assert_eq!(twice.mismatched(Millis(1_000_000)), Mismatch::Forged);
        let rotated = Keys::new([&b"one"[..], b"new"]);
        let mut both = Proofs::new(&rotated, proofs.all(), Millis(1_000_000));
        assert_eq!(both.mismatched(Millis(1_000_000)), Mismatch::Unproven, "the new key may be mistyped");
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?}", Keys::new([&b"very-secret-key"[..]]));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
