//! A chunk: the records of one commit, with what is needed to route and count them in the clear.

use bytes::{Buf, BufMut};

use super::row::{Damaged, Row, Table, decode_sealed, encode_sealed, version};
use super::text::{get_queues, millis, put_queues, to_u32};
use crate::domain::time::Millis;

const VERSION: u8 = 1;

/// One record of a chunk, without its sealed content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// 0 without an account.
    pub account: u32,
    /// 0 without a user.
    pub user: u32,
    /// Numbers of the queues it goes to.
    pub queues: Vec<u16>,
    /// Length of the sealed event.
    pub len: u32,
}

/// A row of `chunks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub at: Millis,
    pub slots: Vec<Slot>,
    /// The sealed events, one behind the other.
    pub sealed: Vec<u8>,
}

impl Chunk {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Its room stays.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.sealed.clear();
    }

    /// The `index`-th of its `sealed` events.
    pub(crate) fn event<'s>(&self, sealed: &'s [u8], index: usize) -> Result<&'s [u8], Damaged> {
        let slots = self.slots.get(..=index);
        let (slot, before) = slots.and_then(<[Slot]>::split_last).ok_or(Self::TABLE.damaged())?;
        let start: usize = before.iter().map(|s| s.len as usize).sum();
        sealed.get(start..start + slot.len as usize).ok_or(Self::TABLE.damaged())
    }

    /// The chunk without what is sealed, and that beside it.
    pub(crate) fn head(first: u64, value: &[u8]) -> Result<(Self, &[u8]), Damaged> {
        decode_sealed(first, value)
    }
}

impl Row for Chunk {
    const TABLE: Table = Table::Chunks;
    /// The first sequence.
    type Key = u64;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u64(self.at.0);
        out.put_u32(to_u32(self.slots.len()));
        for slot in &self.slots {
            out.put_u32(slot.account);
            out.put_u32(slot.user);
            out.put_u32(slot.len);
            put_queues(out, &slot.queues);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let at = millis(from)?;
        let count = from.try_get_u32().ok()? as usize;
        let mut slots = Vec::with_capacity(count.min(from.len() / 13));
        for _ in 0..count {
            let (account, user) = (from.try_get_u32().ok()?, from.try_get_u32().ok()?);
            let len = from.try_get_u32().ok()?;
            slots.push(Slot { account, user, queues: get_queues(from)?, len });
        }
        Some(Self { at, slots, sealed: Vec::new() })
    }

    fn encode(&self, first: u64, out: &mut Vec<u8>) {
        encode_sealed(self, &self.sealed, first, out);
    }

    fn decode(first: u64, value: &[u8]) -> Result<Self, Damaged> {
        let (chunk, sealed) = Self::head(first, value)?;
        Ok(Self { sealed: sealed.to_vec(), ..chunk })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::row::tests::comes_back;
    use super::*;

    fn chunk(bodies: &[Vec<u8>]) -> Chunk {
        let slot = |(account, body): (u32, &Vec<u8>)| Slot {
            account,
            user: 9,
            queues: vec![1, 2],
            len: to_u32(body.len()),
        };
        Chunk { at: Millis(1), slots: (0..).zip(bodies).map(slot).collect(), sealed: bodies.concat() }
    }

    proptest! {
        #[test]
        fn chunks_come_back_whole(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20)) {
            let chunk = chunk(&bodies);
            comes_back(&chunk, 7, 8);
            for (i, body) in bodies.iter().enumerate() {
                prop_assert_eq!(chunk.event(&chunk.sealed, i).unwrap(), &body[..]);
            }
            prop_assert!(chunk.event(&chunk.sealed, bodies.len()).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(Chunk::decode(7, &bytes).is_err());
        }
    }

    #[test]
    fn a_changed_head_is_noticed() {
        let mut value = Vec::new();
        chunk(&[vec![1, 2, 3], vec![4]]).encode(7, &mut value);
        assert_eq!(Chunk::decode(7, &value[..value.len() - 1]), Err(Damaged("chunks")), "cut");
        let head_end = value.len() - 4;
        for i in 0..head_end {
            let mut changed = value.clone();
            changed[i] ^= 0x10;
            assert_eq!(Chunk::decode(7, &changed), Err(Damaged("chunks")), "byte {i}");
        }
    }
}
