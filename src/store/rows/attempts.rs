//! How failed attempts of an event in a queue lie on disk.

use bytes::{Buf, BufMut};

use super::codec::{Damaged, get_text, put_text, stamp, stamped};
use crate::domain::time::Millis;

/// Failed attempts of an event in a queue, as they rest on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub account: u32,
    pub failures: u32,
    pub due: Millis,
    pub why: String,
}

impl Attempts {
    pub(crate) fn encode(&self, queue: u16, seq: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + self.why.len());
        out.put_u32(self.account);
        out.put_u32(self.failures);
        out.put_u64(self.due.0);
        put_text(&mut out, Some(&self.why));
        stamp("attempts", &key_bytes(queue, seq), &mut out);
        out
    }

    pub(crate) fn decode(queue: u16, seq: u64, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("attempts", &key_bytes(queue, seq), value)?;
        Self::read(body).ok_or(Damaged("attempts"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        Some(Self {
            account: from.try_get_u32().ok()?,
            failures: from.try_get_u32().ok()?,
            due: Millis(from.try_get_u64().ok()?),
            why: get_text(&mut from)??,
        })
    }
}

fn key_bytes(queue: u16, seq: u64) -> [u8; 10] {
    let mut out = [0; 10];
    out[..2].copy_from_slice(&queue.to_be_bytes());
    out[2..].copy_from_slice(&seq.to_be_bytes());
    out
}
