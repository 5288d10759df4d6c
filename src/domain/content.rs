//! What an event says, as a hash.

use sha2::{Digest, Sha256};

/// A hash of what an event says, as remembered: 8 bytes of SHA-256.
pub type ContentHash = [u8; 8];

/// Collects what an event says, piece by piece: no two sequences of pieces are the same bytes.
pub(super) struct Content(Sha256);

impl Content {
    pub(super) fn new() -> Self {
        Self(Sha256::new_with_prefix(b"ringhookd/content/v1\0"))
    }

    pub(super) fn add(&mut self, kind: u8, piece: &[u8]) {
        let mut head = [kind; 9];
        head[1..].copy_from_slice(&(piece.len() as u64).to_be_bytes());
        self.0.update(head);
        self.0.update(piece);
    }

    pub(super) fn hash(self) -> ContentHash {
        short(&self.0.finalize())
    }
}

/// What is remembered of a hash.
pub(super) fn short(digest: &[u8]) -> ContentHash {
    let mut out = ContentHash::default();
    out.copy_from_slice(&digest[..8]);
    out
}
