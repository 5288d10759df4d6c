//! Small facts that are kept by name.

use super::codec::Damaged;

/// Name of the epoch among the daemon's facts.
pub(crate) const EPOCH: &str = "epoch";
/// Name of what is known of the webhook keys' proofs.
pub(crate) const PROOFS: &str = "hmac-proofs";

pub(crate) fn read_epoch(fact: &[u8]) -> Result<u64, Damaged> {
    Ok(u64::from_be_bytes(fact.try_into().map_err(|_| Damaged("meta"))?))
}
