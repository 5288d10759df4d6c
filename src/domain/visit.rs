//! What a browser brings to the Account Link URL: a nonce, and the time that Ring made it.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use thiserror::Error;

use super::time::Millis;

/// Longest query that is looked at; the two parameters take under a hundred bytes.
const MAX_QUERY_BYTES: usize = 4096;
/// Thirty-two bytes in base64.
const NONCE_CHARS: usize = 43;
const MAX_TIME_DIGITS: usize = 16;

/// Why a query is no visit. It says nothing of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoVisit {
    #[error("the query is longer than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    #[error("there is no {0}")]
    Missing(&'static str),
    #[error("there is more than one {0}")]
    Twice(&'static str),
    #[error("the nonce is not 32 bytes in base64url")]
    BadNonce,
    #[error("the time is not 1 to {MAX_TIME_DIGITS} digits")]
    BadTime,
}

/// A browser that Ring sent. Whose account it is shows only the nonce.
#[derive(Clone)]
pub struct Visit {
    nonce: [u8; 32],
    /// As it came, since the nonce was made over the text.
    time: String,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("time", &self.time).finish_non_exhaustive()
    }
}

impl Visit {
    /// Takes both as they stand in the query, decoded.
    ///
    /// # Errors
    /// [`NoVisit`] unless the nonce is base64url of 32 bytes (one padding sign is let pass) and the time 1 to 16 digits.
    pub fn new(nonce: &str, time: &str) -> Result<Self, NoVisit> {
        let unpadded = nonce.strip_suffix('=').unwrap_or(nonce).as_bytes();
        let mut bytes = [0; 32];
        if unpadded.len() != NONCE_CHARS {
            return Err(NoVisit::BadNonce);
        }
        BASE64URL_NOPAD.decode_mut(unpadded, &mut bytes).map_err(|_| NoVisit::BadNonce)?;
        let digits = (1..=MAX_TIME_DIGITS).contains(&time.len()) && time.bytes().all(|c| c.is_ascii_digit());
        if digits { Ok(Self { nonce: bytes, time: time.to_owned() }) } else { Err(NoVisit::BadTime) }
    }

    /// Reads `query`, without the question mark. Other parameters may stand beside the two.
    ///
    /// # Errors
    /// [`NoVisit`] also when one of the two is missing or there more than once.
    pub fn of_query(query: &str) -> Result<Self, NoVisit> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(NoVisit::TooLong);
        }
        let (mut nonce, mut time) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let (slot, name) = match &*name {
                "nonce" => (&mut nonce, "nonce"),
                "time" => (&mut time, "time"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(NoVisit::Twice(name));
            }
        }
        let nonce = nonce.ok_or(NoVisit::Missing("nonce"))?;
        Self::new(&nonce, &time.ok_or(NoVisit::Missing("time"))?)
    }

    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// The text that the nonce was made over.
    pub fn time(&self) -> &str {
        &self.time
    }

    /// When Ring made the nonce, as it says.
    pub fn at(&self) -> Millis {
        // Sixteen digits always fit.
        Millis(self.time.parse().unwrap_or(u64::MAX))
    }

    /// A query that reads as the same visit, for a browser that has to come back after its sign-in.
    pub fn to_query(&self) -> String {
        format!("nonce={}&time={}", BASE64URL_NOPAD.encode(&self.nonce), self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn is_read_from_a_query() {
        let query = format!("a&time=1764038400000&nonce={}%3d&lang=de&a=%ff", NONCE.replace('A', "%41"));
        let visit = Visit::of_query(&query).unwrap();
        assert_eq!(visit.nonce(), &std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!((visit.time(), visit.at()), ("1764038400000", Millis(1_764_038_400_000)));
        assert_eq!(visit.to_query(), format!("nonce={NONCE}&time=1764038400000"));
        let leading = Visit::new(NONCE, "0000000000000017").unwrap();
        assert_eq!((leading.time(), leading.at()), ("0000000000000017", Millis(17)));
        assert_eq!(Visit::new(NONCE, &"9".repeat(16)).unwrap().at(), Millis(9_999_999_999_999_999));
    }

    #[test]
    fn what_is_missing_or_there_twice_is_named() {
        let read = |query: String| Visit::of_query(&query).unwrap_err();
        assert_eq!(read(String::new()), NoVisit::Missing("nonce"));
        assert_eq!(read(format!("nonce={NONCE}")), NoVisit::Missing("time"));
        assert_eq!(read("time=1".into()), NoVisit::Missing("nonce"));
        assert_eq!(read(format!("nonce={NONCE}&time=1&time=1")), NoVisit::Twice("time"));
        assert_eq!(read(format!("nonce={NONCE}&time=1&n%6fnce={NONCE}")), NoVisit::Twice("nonce"));
        assert_eq!(read(format!("nonce={NONCE}&time=1&{}", "a".repeat(4096))), NoVisit::TooLong);
        assert_eq!(read(format!("Nonce={NONCE}&time=1")), NoVisit::Missing("nonce"));
    }

    #[test]
    fn one_form_of_each_is_taken() {
        let noncanonical = format!("{}9", &NONCE[..42]);
        let standard = format!("{}+/8", &NONCE[..40]);
        let spaced = format!("{} 8", &NONCE[..41]);
        let bad = [
            "",
            "=",
            &NONCE[1..],
            &format!("{NONCE}A"),
            &format!("{NONCE}=="),
            &noncanonical,
            &standard,
            &spaced,
            &format!("{NONCE}\n"),
            &format!("\u{fffd}{}", &NONCE[3..]),
        ];
        for nonce in bad {
            assert_eq!(Visit::new(nonce, "1").unwrap_err(), NoVisit::BadNonce, "{nonce:?}");
        }
        for time in ["", "-1", "+1", "1.5", " 1", "1 ", "1e3", "\u{661}", "12345678901234567"] {
            assert_eq!(Visit::new(NONCE, time).unwrap_err(), NoVisit::BadTime, "{time:?}");
        }
    }

    #[test]
    fn the_nonce_is_not_shown() {
        let shown = format!("{:?}", Visit::new(NONCE, "17").unwrap());
        assert_eq!(shown, r#"Visit { time: "17", .. }"#);
    }
}
