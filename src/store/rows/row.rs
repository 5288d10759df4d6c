//! A row of a table: its key, how it lies on disk, and its checksum.
//!
//! redb does not verify its pages on ordinary reads, so nothing is believed unchecked: what is in the clear carries an XXH3
//! checksum over table, key and value, what is sealed has its AEAD tag. Integers are big-endian.

use bytes::{Buf, BufMut};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::text::to_u32;

const CHECK_LEN: usize = 8;

/// A record is not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a record of table {0} is damaged")]
pub(crate) struct Damaged(pub &'static str);

/// A row of a table.
pub(crate) trait Row: Sized {
    const TABLE: Table;
    type Key: Key;

    /// Appends what the row says.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads that back, up to its end; nothing when it is something else.
    fn read(from: &mut &[u8]) -> Option<Self>;

    /// Appends the row with its checksum.
    fn encode(&self, key: Self::Key, out: &mut Vec<u8>) {
        let start = out.len();
        self.write(out);
        stamp::<Self>(key, start, out);
    }

    /// Reads a row back that fits its table, its key and its checksum.
    fn decode(key: Self::Key, value: &[u8]) -> Result<Self, Damaged> {
        let mut body = stamped::<Self>(key, value)?;
        let row = Self::read(&mut body);
        row.filter(|_| body.is_empty()).ok_or(Self::TABLE.damaged())
    }
}

/// Appends the checksum of what lies behind `start`.
pub(super) fn stamp<R: Row>(key: R::Key, start: usize, out: &mut Vec<u8>) {
    let check = checksum::<R>(key, &out[start..]);
    out.put_u64(check);
}

/// The value without its checksum, which must fit table, key and value.
pub(super) fn stamped<R: Row>(key: R::Key, value: &[u8]) -> Result<&[u8], Damaged> {
    let (body, check) = value.split_last_chunk::<CHECK_LEN>().ok_or(R::TABLE.damaged())?;
    if checksum::<R>(key, body) == u64::from_be_bytes(*check) { Ok(body) } else { Err(R::TABLE.damaged()) }
}

fn checksum<R: Row>(key: R::Key, body: &[u8]) -> u64 {
    let mut head = [0u8; 32];
    head[..8].copy_from_slice(&xxh3_64(R::TABLE.name().as_bytes()).to_be_bytes());
    head[8..16].copy_from_slice(&xxh3_64(key.bytes().as_ref()).to_be_bytes());
    head[16..24].copy_from_slice(&xxh3_64(body).to_be_bytes());
    xxh3_64(&head)
}

/// Appends a row whose end is sealed: the length of its head, its head with the length of the rest and its checksum, the rest.
pub(super) fn encode_sealed<R: Row>(row: &R, sealed: &[u8], key: R::Key, out: &mut Vec<u8>) {
    let start = out.len() + 4;
    out.put_u32(0);
    row.write(out);
    out.put_u32(to_u32(sealed.len()));
    stamp::<R>(key, start, out);
    let len = to_u32(out.len() - start);
    out[start - 4..start].copy_from_slice(&len.to_be_bytes());
    out.extend_from_slice(sealed);
}

/// The head of such a row, and what is sealed.
pub(super) fn decode_sealed<R: Row>(key: R::Key, value: &[u8]) -> Result<(R, &[u8]), Damaged> {
    let damaged = R::TABLE.damaged();
    let (len, rest) = value.split_first_chunk().ok_or(damaged)?;
    let (head, sealed) = rest.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(damaged)?;
    let (mut head, len) = stamped::<R>(key, head)?.split_last_chunk().ok_or(damaged)?;
    let row = R::read(&mut head).ok_or(damaged)?;
    let is_whole = head.is_empty() && sealed.len() == u32::from_be_bytes(*len) as usize;
    if is_whole { Ok((row, sealed)) } else { Err(damaged) }
}

/// All that is left: what is sealed at the end of a row.
pub(super) fn rest(from: &mut &[u8]) -> Vec<u8> {
    std::mem::take(from).to_vec()
}

/// Reads the version of a row, which is the first byte of those that have one.
pub(super) fn version(from: &mut &[u8], known: u8) -> Option<()> {
    (from.try_get_u8().ok()? == known).then_some(())
}

/// A table, by what its rows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Small facts by name.
    Meta,
    /// First sequence of a chunk to the chunk.
    Chunks,
    /// Row number to remembered ids.
    Ids,
    /// (First sequence of a chunk, queue) to a bitmap of what the queue has done.
    Progress,
    /// (Queue, sequence) to failed attempts.
    Attempts,
    /// (Kind, account or queue or time, sequence, queue) to a record kept outside the chunks.
    OffQueue,
    Accounts,
    /// Hash of an account's id to its number.
    AccountIds,
    Tokens,
    /// Account to the refresh that is under way, or whose outcome nobody knows.
    Journal,
    /// Hash of a refresh token that came without its account to that account, and when it was given to it.
    Arrived,
    /// Hash of a forgotten account's id to when it was forgotten.
    Forgotten,
    /// Account to who may claim it, and how far its last claim is.
    Claims,
    /// Hash of an authorization code to what became of it.
    Codes,
    /// (Account, purpose) to a wrapped data key.
    Keys,
    Users,
    /// Hash of a device id to its account, as far as it was merged.
    Devices,
    Queues,
    /// Block of accounts to when their webhooks came.
    Freshness,
    /// Row number to what one commit did to events.
    Receipts,
    /// (Kind, number) to an act of a caller of the admin API.
    Audit,
    /// Row number to what one commit wrote of devices.
    DeviceLog,
}

impl Table {
    /// All of them, in their order, with their names in the file.
    pub(crate) const ALL: [(Self, &'static str); 22] = [
        (Self::Meta, "meta"),
        (Self::Chunks, "chunks"),
        (Self::Ids, "ids"),
        (Self::Progress, "progress"),
        (Self::Attempts, "attempts"),
        (Self::OffQueue, "off_queue"),
        (Self::Accounts, "accounts"),
        (Self::AccountIds, "account_ids"),
        (Self::Tokens, "tokens"),
        (Self::Journal, "journal"),
        (Self::Arrived, "arrived"),
        (Self::Forgotten, "forgotten"),
        (Self::Claims, "claims"),
        (Self::Codes, "codes"),
        (Self::Keys, "keys"),
        (Self::Users, "users"),
        (Self::Devices, "devices"),
        (Self::Queues, "queues"),
        (Self::Freshness, "freshness"),
        (Self::Receipts, "receipts"),
        (Self::Audit, "audit"),
        (Self::DeviceLog, "device_log"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The table of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(table, _)| table)
    }

    /// What is said of a row of it that is not what was written.
    pub(crate) fn damaged(self) -> Damaged {
        Damaged(self.name())
    }
}

/// A key of a table. Its bytes are in its own order.
pub(crate) trait Key: Copy {
    /// Appends its bytes.
    fn write(self, out: &mut KeyBytes);

    /// Reads it back from the start of `from`.
    fn read(from: &mut &[u8]) -> Option<Self>;

    fn bytes(self) -> KeyBytes {
        let mut out = KeyBytes { bytes: [0; KEY_LEN], len: 0 };
        self.write(&mut out);
        out
    }

    fn of_bytes(mut bytes: &[u8]) -> Option<Self> {
        let key = Self::read(&mut bytes);
        key.filter(|_| bytes.is_empty())
    }
}

/// The longest key.
const KEY_LEN: usize = 24;

/// A key as it lies on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyBytes {
    bytes: [u8; KEY_LEN],
    len: usize,
}

impl KeyBytes {
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }
}

impl AsRef<[u8]> for KeyBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

macro_rules! number_keys {
    ($($number:ty),*) => {$(
        impl Key for $number {
            fn write(self, out: &mut KeyBytes) {
                out.push(&self.to_be_bytes());
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                let (number, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(Self::from_be_bytes(*number))
            }
        }
    )*};
}

number_keys!(u8, u16, u32, u64);

impl<A: Key, B: Key> Key for (A, B) {
    fn write(self, out: &mut KeyBytes) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

impl<A: Key, B: Key, C: Key, D: Key> Key for (A, B, C, D) {
    fn write(self, out: &mut KeyBytes) {
        ((self.0, self.1), (self.2, self.3)).write(out);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?, C::read(from)?, D::read(from)?))
    }
}

/// A hash that stands for an id.
impl Key for [u8; 16] {
    fn write(self, out: &mut KeyBytes) {
        out.push(&self);
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        let (hash, rest) = from.split_first_chunk()?;
        *from = rest;
        Some(*hash)
    }
}

/// A name that the program knows, which is why it is never read back.
impl Key for &'static str {
    fn write(self, out: &mut KeyBytes) {
        out.push(self.as_bytes());
    }

    fn read(_: &mut &[u8]) -> Option<Self> {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::privacy::Sheet;

    fn encoded<R: Row>(row: &R, key: R::Key) -> Vec<u8> {
        let mut value = Vec::new();
        row.encode(key, &mut value);
        value
    }

    /// The row comes back, and belongs to its key alone.
    pub(crate) fn comes_back<R: Row + Debug>(row: &R, key: R::Key, other: R::Key) {
        let value = encoded(row, key);
        let again = R::decode(key, &value).unwrap();
        assert_eq!(format!("{again:?}"), format!("{row:?}"));
        assert_eq!(encoded(&again, key), value, "also what is not shown");
        assert!(R::decode(other, &value).is_err(), "under another key");
    }

    /// The same, and no byte of it changes unnoticed.
    pub(crate) fn is_checked<R: Row + Debug>(row: &R, key: R::Key, other: R::Key) {
        comes_back(row, key, other);
        let value = encoded(row, key);
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(R::decode(key, &changed).is_err(), "byte {at}");
            assert!(R::decode(key, &value[..at]).is_err(), "cut to {at}");
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    struct One;
    impl Row for One {
        const TABLE: Table = Table::Users;
        type Key = u32;
        fn write(&self, out: &mut Vec<u8>) {
            out.put_u8(1);
        }
        fn read(from: &mut &[u8]) -> Option<Self> {
            version(from, 1).map(|()| Self)
        }
    }

    /// Says the same in another table.
    #[derive(Debug, PartialEq, Eq)]
    struct Other;
    impl Row for Other {
        const TABLE: Table = Table::Accounts;
        type Key = u32;
        fn write(&self, out: &mut Vec<u8>) {
            One.write(out);
        }
        fn read(from: &mut &[u8]) -> Option<Self> {
            One::read(from).map(|One| Self)
        }
    }

    #[test]
    fn a_row_fits_one_place_only() {
        is_checked(&One, 7, 8);
        assert_eq!(Other::decode(7, &encoded(&One, 7)), Err(Damaged("accounts")));
        let mut longer = vec![1, 1];
        stamp::<One>(7, 0, &mut longer);
        assert_eq!(One::decode(7, &longer), Err(Damaged("users")), "with something behind it");
    }

    #[test]
    fn every_table_has_its_name() {
        for (at, (table, name)) in Table::ALL.into_iter().enumerate() {
            assert_eq!((table as usize, table.name(), Table::named(name)), (at, name, Some(table)));
        }
    }

    #[test]
    fn every_table_is_told_of_in_the_privacy_sheet() {
        let sheet = Sheet::of(&crate::domain::privacy::tests::facts());
        let told: BTreeSet<&str> =
            sheet.kept.iter().flat_map(|element| element.tables.iter().map(String::as_str)).collect();
        let tables = Table::ALL.into_iter().map(|(_, name)| name).collect();
        assert_eq!(told, tables, "domain/privacy/kept.rs says what lies in each table, why and how long");
    }

    fn in_order<K: Key + Ord + Debug>(one: K, other: K) -> Result<(), TestCaseError> {
        prop_assert_eq!(K::of_bytes(one.bytes().as_ref()), Some(one));
        prop_assert_eq!(one.cmp(&other), one.bytes().as_ref().cmp(other.bytes().as_ref()));
        Ok(())
    }

    proptest! {
        #[test]
        fn keys_come_back_and_their_bytes_are_in_their_order(
            one: (u8, u64, u64, u32), other: (u8, u64, u64, u32), hashes: ([u8; 16], [u8; 16]),
        ) {
            in_order(one, other)?;
            in_order((one.0, one.1, other.2, one.3), one)?;
            in_order((one.1, one.3), (other.1, other.3))?;
            in_order((7u16, one.1), (7, other.1))?;
            in_order((one.3, one.0), (one.3, other.0))?;
            in_order(hashes.0, hashes.1)?;
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(One::decode(7, &bytes).is_err());
            prop_assert!(decode_sealed::<One>(7, &bytes).is_err());
            let _ = <(u8, u64, u64, u32)>::of_bytes(&bytes);
        }
    }
}
