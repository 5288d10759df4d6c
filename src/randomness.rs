//! The only place that draws random numbers for spreading things out; keys and nonces are the vault's.

use std::hash::{BuildHasher, RandomState};

/// Uniform over all of `u64`. Good enough to spread waits, and for nothing else: the standard library seeds its hashers
/// at random.
pub fn random() -> u64 {
    RandomState::new().hash_one(())
}
