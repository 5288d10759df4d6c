//! A record kept outside the chunks: held, parked, dead, unrouted or quarantined.

use bytes::{Buf, BufMut};

use super::row::{Damaged, Row, Table, decode_sealed, encode_sealed, version};
use super::text::{get_queues, get_text, millis, put_queues, put_text};
use crate::domain::time::Millis;

const VERSION: u8 = 1;
/// First part of the key of a record that is held.
pub(crate) const HELD: u8 = 0;
/// And of one that is parked.
pub(crate) const PARKED: u8 = 1;

/// Kind, then account or queue or time, sequence, and queue.
pub(crate) type AsideKey = (u8, u64, u64, u32);

/// A row of `off_queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The sequence it was sealed under.
    pub seq: u64,
    pub account: u32,
    pub user: u32,
    /// When it was accepted.
    pub at: Millis,
    /// Queues that it reached already (held), or the one it comes from (parked, dead).
    pub queues: Vec<u16>,
    pub failures: u32,
    /// Why it lies here, for people.
    pub detail: String,
    pub sealed: Vec<u8>,
}

impl Row for Aside {
    const TABLE: Table = Table::OffQueue;
    type Key = AsideKey;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u64(self.seq);
        out.put_u32(self.account);
        out.put_u32(self.user);
        out.put_u64(self.at.0);
        out.put_u32(self.failures);
        put_queues(out, &self.queues);
        put_text(out, Some(&self.detail));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let seq = from.try_get_u64().ok()?;
        let (account, user) = (from.try_get_u32().ok()?, from.try_get_u32().ok()?);
        let at = millis(from)?;
        let failures = from.try_get_u32().ok()?;
        let queues = get_queues(from)?;
        let detail = get_text(from)?.unwrap_or_default();
        Some(Self { seq, account, user, at, queues, failures, detail, sealed: Vec::new() })
    }

    fn encode(&self, key: AsideKey, out: &mut Vec<u8>) {
        encode_sealed(self, &self.sealed, key, out);
    }

    fn decode(key: AsideKey, value: &[u8]) -> Result<Self, Damaged> {
        let (aside, sealed) = decode_sealed::<Self>(key, value)?;
        Ok(Self { sealed: sealed.to_vec(), ..aside })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::comes_back;
    use super::*;

    #[test]
    fn asides_come_back_and_are_checked() {
        let aside = Aside {
            seq: 1,
            account: 2,
            user: 3,
            at: Millis(4),
            queues: vec![5],
            failures: 6,
            detail: "why".into(),
            sealed: vec![7; 9],
        };
        let key = (PARKED, 5, 1, 0);
        comes_back(&aside, key, (HELD, 5, 1, 0));
        let mut value = Vec::new();
        aside.encode(key, &mut value);
        assert!(Aside::decode(key, &value[..value.len() - 1]).is_err(), "cut");
        let head_end = value.len() - 9;
        for i in 0..head_end {
            let mut changed = value.clone();
            changed[i] ^= 1;
            assert!(Aside::decode(key, &changed).is_err(), "byte {i}");
        }
    }
}
