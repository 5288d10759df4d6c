//! Rows of a field or two: names, numbers and times.

use bytes::{Buf, BufMut};

use super::row::{Damaged, Row, Table, rest};
use super::text::millis;
use crate::domain::ids::{QueueName, UserId};
use crate::domain::time::Millis;

/// A row of `keys`: a data key under a master key, which its seal binds to its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrappedKey(pub Vec<u8>);

impl Row for WrappedKey {
    const TABLE: Table = Table::Keys;
    /// The account's number, and the purpose.
    type Key = (u32, u8);

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self(rest(from)))
    }

    fn encode(&self, _: (u32, u8), out: &mut Vec<u8>) {
        self.write(out);
    }

    fn decode(_: (u32, u8), value: &[u8]) -> Result<Self, Damaged> {
        Ok(Self(value.to_vec()))
    }
}

/// A row of `progress`: a bit for each event of a chunk that a queue has done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress(pub Vec<u8>);

impl Row for Progress {
    const TABLE: Table = Table::Progress;
    /// First sequence of the chunk, and the queue.
    type Key = (u64, u16);

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self(rest(from)))
    }
}

/// A row of `account_ids`: the number of an account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccountNumber(pub u32);

impl Row for AccountNumber {
    const TABLE: Table = Table::AccountIds;
    /// The hash of the account's id.
    type Key = [u8; 16];

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        from.try_get_u32().ok().map(Self)
    }
}

/// A row of `arrived`: the account of a refresh token that came without it, and when it was given to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArrivedRow {
    pub account: u32,
    pub at: Millis,
}

impl Row for ArrivedRow {
    const TABLE: Table = Table::Arrived;
    /// The hash of the refresh token.
    type Key = [u8; 16];

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.account);
        out.put_u64(self.at.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self { account: from.try_get_u32().ok()?, at: millis(from)? })
    }
}

/// A row of `forgotten`: when an account was forgotten, by Ring's time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tombstone(pub Millis);

impl Row for Tombstone {
    const TABLE: Table = Table::Forgotten;
    /// The hash of the account's id.
    type Key = [u8; 16];

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.0.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        millis(from).map(Self)
    }
}

/// A row of `devices`: whose a device is, and the newest event that says so, by Ring's time; of no account when it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRow {
    pub account: u32,
    pub since: Millis,
}

impl Row for DeviceRow {
    const TABLE: Table = Table::Devices;
    /// The hash of the device's id.
    type Key = [u8; 16];

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.account);
        out.put_u64(self.since.0);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self { account: from.try_get_u32().ok()?, since: millis(from)? })
    }
}

/// A row of `users`: a user's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UserRow(pub UserId);

impl Row for UserRow {
    const TABLE: Table = Table::Users;
    /// The user's number.
    type Key = u32;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_str().as_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        UserId::new(text(from)?).ok().map(Self)
    }
}

/// A row of `queues`: a queue's name. None once the queue was removed, because its number is never given again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueRow(pub Option<QueueName>);

impl Row for QueueRow {
    const TABLE: Table = Table::Queues;
    /// The queue's number.
    type Key = u16;

    fn write(&self, out: &mut Vec<u8>) {
        let name = self.0.as_ref().map_or("", QueueName::as_str);
        out.extend_from_slice(name.as_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        match text(from)? {
            "" => Some(Self(None)),
            name => QueueName::new(name).map(|name| Self(Some(name))),
        }
    }
}

/// All that is left, as text.
fn text<'r>(from: &mut &'r [u8]) -> Option<&'r str> {
    str::from_utf8(std::mem::take(from)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn rows_come_back_and_belong_to_their_place() {
        let (hash, other) = ([1; 16], [2; 16]);
        is_checked(&Progress(vec![1, 2]), (1, 2), (2, 1));
        is_checked(&AccountNumber(7), hash, other);
        is_checked(&ArrivedRow { account: 7, at: Millis(8) }, hash, other);
        is_checked(&Tombstone(Millis(8)), hash, other);
        is_checked(&DeviceRow { account: 7, since: Millis(8) }, hash, other);
        is_checked(&UserRow(UserId::new("ann").unwrap()), 1, 2);
        is_checked(&QueueRow(QueueName::new("all")), 1, 2);
        is_checked(&QueueRow(None), 1, 2);
    }

    #[test]
    fn a_key_lies_as_it_is_wrapped() {
        let mut value = Vec::new();
        WrappedKey(vec![1, 2]).encode((1, 2), &mut value);
        assert_eq!((WrappedKey::decode((1, 2), &value), value), (Ok(WrappedKey(vec![1, 2])), vec![1, 2]));
    }
}
