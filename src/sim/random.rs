//! Randomness from a seed, so that the same seed makes the same tokens.

use sha2::{Digest, Sha256};

/// Sixteen bytes at a time, no two alike.
#[derive(Debug)]
pub(super) struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(super) fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let digest =
            Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(self.drawn.to_be_bytes());
        std::array::from_fn({
            let digest = digest.finalize();
            move |at| digest[at]
        })
    }
}
