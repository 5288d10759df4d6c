//! The token that callers bring to the admin API on an address.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use crate::clock;
use crate::domain::limiter::Limiter;
use crate::domain::secret::Secret;

/// Lines a minute about callers without the token.
const LINES: u32 = 6;

/// A hash stands for the token: comparing two hashes tells nothing of it by the time that it takes.
#[derive(Debug)]
pub(super) struct Bearer {
    address: String,
    name: Arc<str>,
    hash: [u8; 32],
    lines: Mutex<Limiter<()>>,
}

impl PartialEq for Bearer {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Bearer {
    pub(super) fn new(address: &str, name: &str, token: &Secret<String>) -> Self {
        let lines = Mutex::new(Limiter::new(LINES));
        Self { address: address.to_owned(), name: name.into(), hash: hash(token.expose().as_bytes()), lines }
    }

    /// Where the token is kept, for the audit.
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Refused unless the one `Authorization` header brings the token.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut written = headers.get_all(AUTHORIZATION).iter();
        let (first, more) = (written.next(), written.next());
        let token = first.filter(|_| more.is_none()).and_then(|value| bearer(value.as_bytes()));
        if token.is_some_and(|token| hash(token) == self.hash) {
            return Ok(());
        }
        let passed = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass((), clock::now());
        if let Some(silent_before) = passed {
            let address = &self.address;
            tracing::warn!(address, silent_before, "a call of the admin API without its token is refused");
        }
        Err(Refusal::unknown_caller(
            "send Authorization: Bearer and the token of this address; [[socket]] token_file says where it is",
        ))
    }
}

/// The token behind the scheme, whose case is free (RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_itself_is_taken() {
        let bearer = Bearer::new("127.0.0.1:1", "/token", &Secret::new("right".to_owned()));
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            bearer.check(&headers).is_ok()
        };
        for good in ["Bearer right", "bearer right", "BEARER  right"] {
            assert!(check(&[good]), "{good}");
        }
        for bad in
            ["", "right", "Bearer", "Bearer ", "Bearer wrong", "Bearer right x", "Basic right", "Bearerright"]
        {
            assert!(!check(&[bad]), "{bad}");
        }
        assert!(!check(&[]) && !check(&["Bearer right", "Bearer right"]));
    }
}
