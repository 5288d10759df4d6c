//! Signs what we send as Standard Webhooks 1.0 says: HMAC-SHA256 over `id.timestamp.body`, one signature for each secret in force.

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::secret::Secret;
use super::signature::keyed;

pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
/// The specification's bounds of a secret, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that sender and receiver share.
pub struct SigningKey {
    keyed: Hmac<Sha256>,
    text: Secret<String>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl SigningKey {
    /// Reads `whsec_` and 24 to 64 bytes in base64; nothing for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.trim();
        let key = Zeroizing::new(BASE64.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?);
        let fits = LENGTHS.contains(&key.len());
        fits.then(|| Self { keyed: keyed(&key), text: Secret::new(text.to_owned()) })
    }

    /// As it is written, to find it where it must not be shown.
    pub fn text(&self) -> &Secret<String> {
        &self.text
    }
}

/// The id as it is sent and signed: percent-encoded where it is not plain, and without a dot, which divides what is signed.
pub fn id(key: &str) -> String {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b'.');
    utf8_percent_encode(key, ENCODED).to_string()
}

/// The header's value: a signature by each key, with a space between. `timestamp` is in seconds.
pub fn sign(keys: &[SigningKey], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signature = |key: &SigningKey| {
        let head = [id.as_bytes(), b".", timestamp.as_bytes(), b"."];
        let mac = head.iter().fold(key.keyed.clone(), Mac::chain_update);
        format!("v1,{}", BASE64.encode(&mac.chain_update(body).finalize().into_bytes()))
    };
    keys.iter().map(signature).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The vector of the reference libraries' tests.
    #[test]
    fn the_published_vector() {
        let key = || SigningKey::parse(SECRET.as_bytes()).unwrap();
        let signed = |keys: &[SigningKey]| {
            sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#)
        };
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(&[key()]), one);
        assert_eq!(signed(&[key(), key()]), format!("{one} {one}"));
        assert_eq!(signed(&[]), "");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_none_is_shown() {
        assert!(SigningKey::parse(format!(" {SECRET}\n").as_bytes()).is_some());
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa",
            "whsec_!",
        ] {
            assert!(SigningKey::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let long =
            |bytes: usize| SigningKey::parse(format!("whsec_{}", BASE64.encode(&vec![7; bytes])).as_bytes());
        assert_eq!([23, 24, 64, 65].map(|bytes| long(bytes).is_some()), [false, true, true, false]);
        assert_eq!(format!("{:?}", SigningKey::parse(SECRET.as_bytes())), "Some([secret])");
    }

    #[test]
    fn an_id_stands_in_a_header_and_has_no_dot() {
        assert_eq!(id("b6343589-0674~af01"), "b6343589-0674~af01");
        assert_eq!(id("a.b c\u{e9}%\r\n\"/"), "a%2Eb%20c%C3%A9%25%0D%0A%22/");
    }
}
