//! By what an event is recognised when it comes again.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// A request id's hash as remembered: 16 bytes of SHA-256.
pub type IdHash = [u8; 16];
/// A body's hash as remembered: 8 bytes of SHA-256.
pub type BodyHash = [u8; 8];

/// What an event is called and remembered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The idempotency key that goes out with the event.
    pub key: String,
    pub id: IdHash,
    pub body: BodyHash,
}

impl Identity {
    /// By `meta.request_id`, else by a hash of the body.
    pub fn of(request_id: Option<&str>, body: &[u8]) -> Self {
        let digest = tagged(b"ringhookd/body/v1\0", body);
        let mut body_hash = BodyHash::default();
        body_hash.copy_from_slice(&digest[..8]);
        let key = request_id.map_or_else(|| format!("body-{}", HEXLOWER.encode(&digest)), str::to_owned);
        Self { id: id_hash(&key), key, body: body_hash }
    }

    /// What the event is called when its id was seen before with another body.
    #[must_use]
    pub fn conflicting(&self) -> Self {
        let key = format!("{}~{}", self.key, HEXLOWER.encode(&self.body));
        Self { id: id_hash(&key), key, body: self.body }
    }
}

fn id_hash(key: &str) -> IdHash {
    tagged(b"ringhookd/id/v1\0", key.as_bytes())
}

fn tagged(tag: &[u8], data: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(tag).chain_update(data).finalize();
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_id_names_an_event_and_the_body_tells_conflicts_apart() {
        let first = Identity::of(Some("r"), b"one");
        let other = Identity::of(Some("r"), b"two");
        assert_eq!((&first.key, first.id), (&other.key, other.id));
        assert_ne!(first.body, other.body);
        assert!(other.conflicting().key.starts_with("r~"));
        assert_ne!(other.conflicting().id, first.conflicting().id);
    }

    #[test]
    fn without_an_id_the_body_names_it() {
        assert_eq!(Identity::of(None, b"x"), Identity::of(None, b"x"));
        assert_ne!(Identity::of(None, b"x").id, Identity::of(None, b"y").id);
    }
}
