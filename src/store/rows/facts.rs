//! Rows of `meta`: small facts, each kept by its name.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};

use super::row::{Damaged, Row, Table, rest};
use super::text::millis;
use crate::domain::time::Millis;

/// A fact of any kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fact(pub Vec<u8>);

impl Row for Fact {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self(rest(from)))
    }
}

impl Fact {
    /// Name of the epoch.
    pub(crate) const EPOCH: &'static str = "epoch";
    /// Name of what is known of the webhook keys' proofs.
    pub(crate) const PROOFS: &'static str = "hmac-proofs";
    /// Name of what tells whether a master key is the store's.
    pub(crate) const CANARY: &'static str = "canary";
    /// The same under the newer master key while keys are being put under it: from the first start with both, data keys
    /// are made that only the newer one opens.
    pub(crate) const NEXT_CANARY: &'static str = "next_canary";

    /// A fact that is a number.
    pub(crate) fn number(&self) -> Result<u64, Damaged> {
        Ok(u64::from_be_bytes(self.0.as_slice().try_into().map_err(|_| Self::TABLE.damaged())?))
    }
}

/// The paused queues by number, and since when each is paused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Paused(pub BTreeMap<u16, Millis>);

impl Paused {
    /// Its name.
    pub(crate) const NAME: &'static str = "paused-queues";
}

impl Row for Paused {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn write(&self, out: &mut Vec<u8>) {
        for (queue, since) in &self.0 {
            out.put_u16(*queue);
            out.put_u64(since.0);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut paused = BTreeMap::new();
        while !from.is_empty() {
            paused.insert(from.try_get_u16().ok()?, millis(from)?);
        }
        Some(Self(paused))
    }
}

/// Accounts, by number, of which Ring was asked to pause the app, and when: each is to be forgotten, and Ring is not known to have refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Disconnecting(pub BTreeMap<u32, Millis>);

impl Disconnecting {
    /// Its name.
    pub(crate) const NAME: &'static str = "disconnecting";
}

impl Row for Disconnecting {
    const TABLE: Table = Table::Meta;
    type Key = &'static str;

    fn write(&self, out: &mut Vec<u8>) {
        for (account, asked_at) in &self.0 {
            out.put_u32(*account);
            out.put_u64(asked_at.0);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut accounts = BTreeMap::new();
        while !from.is_empty() {
            accounts.insert(from.try_get_u32().ok()?, millis(from)?);
        }
        Some(Self(accounts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn facts_come_back_and_belong_to_their_name() {
        is_checked(&Fact(vec![1, 2]), Fact::EPOCH, Fact::PROOFS);
        let paused = BTreeMap::from([(1, Millis(2)), (3, Millis(4))]);
        is_checked(&Paused(paused), Paused::NAME, Fact::EPOCH);
        let accounts = BTreeMap::from([(1, Millis(2)), (70_000, Millis(4))]);
        is_checked(&Disconnecting(accounts), Disconnecting::NAME, Paused::NAME);
    }
}
