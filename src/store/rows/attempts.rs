//! How failed attempts of an event in a queue lie on disk.

use bytes::{Buf, BufMut};

use super::row::{Row, Table};
use super::text::{get_text, millis, put_text};
use crate::domain::time::Millis;

/// A row of `attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub account: u32,
    pub failures: u32,
    pub due: Millis,
    pub why: String,
}

impl Row for Attempts {
    const TABLE: Table = Table::Attempts;
    /// Queue and sequence.
    type Key = (u16, u64);

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.account);
        out.put_u32(self.failures);
        out.put_u64(self.due.0);
        put_text(out, Some(&self.why));
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            account: from.try_get_u32().ok()?,
            failures: from.try_get_u32().ok()?,
            due: millis(from)?,
            why: get_text(from)??,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn rows_come_back_and_belong_to_their_event() {
        let row = Attempts { account: 1, failures: 2, due: Millis(3), why: "why".into() };
        is_checked(&row, (4, 5), (5, 4));
    }
}
