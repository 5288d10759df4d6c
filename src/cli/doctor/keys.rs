//! Credentials by their shape, and whether webhooks signed with the configured keys hold, as intake tells it.

use crate::config::{Config, Secrets};
use crate::domain::doctor::{Finding, shape};
use crate::domain::signature::{Keys, Signature, sign};
use crate::domain::status::KeyProof;
use crate::domain::units::count;

const CREDENTIALS: &str = "credentials";
const SIGNATURE: &str = "signature";
/// RFC 4231, test case 2.
const VECTOR: (&str, &str, &str) = (
    "Jefe",
    "what do ya want for nothing?",
    "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
);

/// The shapes of what Ring shows.
pub(super) fn credentials(config: &Config, secrets: &Secrets) -> Vec<Finding> {
    let keys: Vec<&[u8]> = secrets.hmac_keys.iter().map(|key| key.expose().as_slice()).collect();
    let mut found = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        found.extend(shape(CREDENTIALS, &format!("HMAC key {}", at + 1), key, &keys));
    }
    match (&config.ring, &secrets.client_secret) {
        (Some(ring), Some(secret)) => {
            found.extend(shape(CREDENTIALS, "ring.client_id", ring.client_id.as_bytes(), &[]));
            found.extend(shape(CREDENTIALS, "the client secret", secret.expose().as_bytes(), &[]));
        }
        _ => found.push(
            Finding::warning(CREDENTIALS, "[ring] client_id and its secret are not set: no token is refreshed, and each link lapses after 30 days")
                .so("write them into [ring]; Ring shows them with the HMAC key"),
        ),
    }
    if found.is_empty() {
        let words = format!(
            "client id, client secret and {} have the shape that Ring gives",
            count(keys.len() as u64, "HMAC key")
        );
        found.push(Finding::well(CREDENTIALS, words));
    }
    found
}

/// The same functions as intake's, over a known answer and over a body of its own; `running` is of the daemon that runs.
pub(super) fn signature(secrets: &Secrets, running: Option<&[KeyProof]>) -> Vec<Finding> {
    let keys: Vec<&[u8]> = secrets.hmac_keys.iter().map(|key| key.expose().as_slice()).collect();
    signature_of(&keys, VECTOR.2, running)
}

fn signature_of(keys: &[&[u8]], expected: &str, running: Option<&[KeyProof]>) -> Vec<Finding> {
    let (key, body, _) = VECTOR;
    if sign(key.as_bytes(), body.as_bytes()) != expected || !holds(&[key.as_bytes()], 0, body, expected) {
        return vec![
            Finding::failed(SIGNATURE, "HMAC-SHA256 gives another answer than RFC 4231 has")
                .so("this program or this processor is broken: install it anew"),
        ];
    }
    let body = r#"{"meta":{"version":"1.1"},"data":{"type":"doctor"}}"#;
    let wrong = keys.iter().enumerate().find(|(at, key)| {
        let header = sign(key, body.as_bytes());
        !holds(keys, *at, body, &header) || holds(keys, *at, "another body", &header)
    });
    if let Some((at, _)) = wrong {
        let words = format!("HMAC key {} does not verify what it has signed", at + 1);
        return vec![Finding::failed(SIGNATURE, words).so("this program is broken: install it anew")];
    }
    let ours: Vec<String> = Keys::new(keys.iter().copied()).fingerprints().map(ToString::to_string).collect();
    let well = format!(
        "{}: what each has signed is verified, and nothing else",
        count(ours.len() as u64, "HMAC key")
    );
    let mut found = vec![Finding::well(SIGNATURE, well)];
    if let Some(running) = running {
        let same = ours.len() == running.len() && running.iter().all(|key| ours.contains(&key.fingerprint));
        if !same {
            let words = "the running daemon has other HMAC keys than the configuration";
            found.push(
                Finding::warning(SIGNATURE, words).so("ringhookd reload tells whether a restart is needed"),
            );
        } else if running.iter().any(|key| key.verified_at.is_none()) {
            let words =
                "a key has never verified a webhook: only a webhook of Ring's proves that it is Ring's";
            found.push(
                Finding::note(SIGNATURE, words).so("have Ring send one; ringhookd keys show tells which key"),
            );
        }
    }
    found
}

/// Whether that key, and no other, is found by what a request's header says.
fn holds(keys: &[&[u8]], at: usize, body: &str, header: &str) -> bool {
    let parsed = Signature::parse(std::iter::once(header.as_bytes()));
    parsed.is_ok_and(|signature| {
        Keys::new(keys.iter().copied()).verify(body.as_bytes(), &signature) == Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::{State, worst};
    use crate::domain::time::Millis;

    fn proof(key: &[u8], verified: bool) -> KeyProof {
        let fingerprint = Keys::new([key]).fingerprints().next().unwrap().to_string();
        KeyProof { fingerprint, set_at: Millis(1), verified_at: verified.then_some(Millis(2)) }
    }

    #[test]
    fn keys_verify_what_they_sign_and_are_those_that_run() {
        let (one, other) = (&b"0123456789abcdef-1"[..], &b"0123456789abcdef-2"[..]);
        let judged = |running: Option<&[KeyProof]>| worst(&signature_of(&[one, other], VECTOR.2, running));
        assert_eq!(judged(None), State::Well);
        assert_eq!(judged(Some(&[proof(one, true), proof(other, true)])), State::Well);
        assert_eq!(judged(Some(&[proof(one, true), proof(other, false)])), State::Note);
        assert_eq!(judged(Some(&[proof(one, true)])), State::Warning);
        assert_eq!(judged(Some(&[proof(one, true), proof(b"0123456789abcdef-3", true)])), State::Warning);
    }

    #[test]
    fn a_wrong_answer_and_a_key_that_does_not_verify_fail() {
        let found = signature_of(&[b"0123456789abcdef"], &VECTOR.2.replace('5', "6"), None);
        assert_eq!(worst(&found), State::Failed);
        // The second is never found, because the first of two same keys counts.
        let found = signature_of(&[b"0123456789abcdef", b"0123456789abcdef"], VECTOR.2, None);
        assert_eq!(worst(&found), State::Failed, "{found:?}");
    }
}
