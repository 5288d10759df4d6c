//! Small facts that are kept by name.

use std::collections::BTreeMap;

use super::codec::Damaged;
use crate::domain::time::Millis;

/// Name of the epoch among the daemon's facts.
pub(crate) const EPOCH: &str = "epoch";
/// Name of what is known of the webhook keys' proofs.
pub(crate) const PROOFS: &str = "hmac-proofs";
/// Name of the pauses of queues.
pub(crate) const PAUSED: &str = "paused-queues";

pub(crate) fn read_epoch(fact: &[u8]) -> Result<u64, Damaged> {
    Ok(u64::from_be_bytes(fact.try_into().map_err(|_| Damaged("meta"))?))
}

/// The paused queues by number, and since when each is paused.
pub(crate) type Paused = BTreeMap<u16, Millis>;

pub(crate) fn read_paused(fact: &[u8]) -> Result<Paused, Damaged> {
    let (pairs, rest) = fact.as_chunks::<10>();
    if !rest.is_empty() {
        return Err(Damaged("meta"));
    }
    let pair =
        |&[a, b, since @ ..]: &[u8; 10]| (u16::from_be_bytes([a, b]), Millis(u64::from_be_bytes(since)));
    Ok(pairs.iter().map(pair).collect())
}

pub(crate) fn paused_fact(paused: &Paused) -> Vec<u8> {
    let pair = |(queue, since): (&u16, &Millis)| [&queue.to_be_bytes()[..], &since.0.to_be_bytes()].concat();
    paused.iter().flat_map(pair).collect()
}
