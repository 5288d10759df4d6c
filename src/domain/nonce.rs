//! Which account a visit is about: the one whose id makes the visit's nonce.
//!
//! `nonce = base64url(HMAC-SHA256(key, "<time>:<account id>"))`, with the keys of the webhooks, whose signatures are hex
//! (source: Ring's partner documentation on account linking).

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::signature::keyed;
use super::visit::Visit;

/// The webhook keys in force, as nonces are made with them.
pub struct Nonces(Vec<Hmac<Sha256>>);

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nonces").field(&self.0.len()).finish()
    }
}

impl Nonces {
    /// Takes keys as Ring shows them: the bytes of the text, even where it looks like base64.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k [u8]>) -> Self {
        Self(keys.into_iter().map(keyed).collect())
    }

    /// For one visit and many accounts: what does not depend on the account is done once.
    pub fn of(&self, visit: &Visit) -> Matcher {
        let begun = |keyed: &Hmac<Sha256>| keyed.clone().chain_update(visit.time()).chain_update(":");
        Matcher { begun: self.0.iter().map(begun).collect(), nonce: *visit.nonce() }
    }

    /// Whether the visit is about `account`.
    pub fn matches(&self, visit: &Visit, account: &str) -> bool {
        self.of(visit).matches(account)
    }
}

/// Looks for the account of one visit.
pub struct Matcher {
    begun: Vec<Hmac<Sha256>>,
    nonce: [u8; 32],
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").finish_non_exhaustive()
    }
}

impl Matcher {
    /// Whether the visit is about `account`. Every key is tried whatever the others say, each in constant time.
    pub fn matches(&self, account: &str) -> bool {
        let mut found = false;
        for begun in &self.begun {
            found |= begun.clone().chain_update(account).verify_slice(&self.nonce).is_ok();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"demo-hmac-key";

    /// (key, time, account, nonce), made with Python 3:
    /// `urlsafe_b64encode(hmac.new(key, f"{time}:{account}".encode(), "sha256").digest()).rstrip(b"=")`.
    const VECTORS: [(&str, &str, &str, &str); 4] = [
        (
            "demo-hmac-key",
            "1764038400000",
            "ava1.ring.account.DEMO0001",
            "8SDNwFiL3utTVxln4YRurnTW_GW9ZdNn1-vXBdzc6Ak",
        ),
        (
            "c2VjcmV0LWFzLXNob3du",
            "1764038400000",
            "ava1.ring.account.DEMO0001",
            "QkLirfeWvmfvluUrnba0c_ArXk1UrKU7zXnRi7VA3xs",
        ),
        (
            "demo-hmac-key",
            "01764038400000",
            "ava1.ring.account.DEMO0001",
            "wxvKBqceFJ2r8UsO7mtZCJ1M7riDMB4QVzi94Oh1Cqw",
        ),
        ("schlüssel", "0", "konto:Ü", "dWbIK4Qn_b-pJfvHa0kgIPHyAgwPorUr-134-qxiZgI"),
    ];

    fn nonces(keys: &[&str]) -> Nonces {
        Nonces::new(keys.iter().map(|key| key.as_bytes()))
    }

    #[test]
    fn known_nonces_match() {
        for (key, time, account, nonce) in VECTORS {
            let visit = Visit::new(nonce, time).unwrap();
            assert!(nonces(&[key]).matches(&visit, account), "{time}:{account}");
            assert!(nonces(&["another", key, "third"]).matches(&visit, account), "any key in force will do");
            assert!(!nonces(&["another"]).matches(&visit, account));
            assert!(!nonces(&[]).matches(&visit, account));
        }
    }

    #[test]
    fn a_nonce_is_about_one_account_and_one_time() {
        let (key, time, account, nonce) = VECTORS[0];
        let nonces = nonces(&[key]);
        let matcher = nonces.of(&Visit::new(nonce, time).unwrap());
        for other in
            ["", "ava1.ring.account.DEMO0002", "ava1.ring.account.DEMO000", "ava1.ring.account.DEMO00011"]
        {
            assert!(!matcher.matches(other), "{other}");
        }
        assert!(matcher.matches(account) && matcher.matches(account), "it can be asked again");
        for other in ["1764038400001", "01764038400000"] {
            assert!(!nonces.matches(&Visit::new(nonce, other).unwrap(), account), "{other}");
        }
    }

    #[test]
    fn neither_key_nor_nonce_is_shown() {
        let nonces = nonces(&["secret-key"]);
        let matcher = nonces.of(&Visit::new(VECTORS[0].3, "1").unwrap());
        assert_eq!(format!("{nonces:?} {matcher:?}"), "Nonces(1) Matcher { .. }");
    }

    proptest! {
        /// The two HMAC implementations that we carry check each other.
        #[test]
        fn ring_makes_the_same_nonces(
            key in prop::collection::vec(any::<u8>(), 1..100), time in "[0-9]{1,16}", account: String, wrong: u8,
        ) {
            let message = format!("{time}:{account}");
            let key_of_ring = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
            let mut nonce = ring::hmac::sign(&key_of_ring, message.as_bytes()).as_ref().to_vec();
            let nonces = Nonces::new([&key[..], KEY]);
            let visit = |nonce: &[u8]| Visit::new(&BASE64URL_NOPAD.encode(nonce), &time).unwrap();
            prop_assert!(nonces.matches(&visit(&nonce), &account));
            nonce[usize::from(wrong) / 8] ^= 1 << (wrong % 8);
            prop_assert!(!nonces.matches(&visit(&nonce), &account));
        }
    }
}
