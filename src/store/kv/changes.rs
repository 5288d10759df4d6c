//! What a transaction changes in the tables, as one run of bytes: noted in order, and read back.

use bytes::{Buf, BufMut};

/// Room for a record's head.
pub(crate) const HEAD: usize = 48;
/// Length that says that the row is gone.
const GONE: u32 = u32::MAX;

/// What a transaction changes in redb's tables, in order. Room for the record's head is kept at the front.
#[derive(Debug)]
pub(crate) struct Changes(pub Vec<u8>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self::over(Vec::new())
    }

    /// None yet, in the room that others had.
    pub(crate) fn over(mut room: Vec<u8>) -> Self {
        room.clear();
        room.resize(HEAD, 0);
        Self(room)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == HEAD
    }

    pub(crate) fn put(&mut self, table: &str, key: &[u8], value: &[u8]) {
        self.key(table, key);
        self.0.put_u32(u32::try_from(value.len()).unwrap_or(GONE - 1));
        self.0.extend_from_slice(value);
    }

    pub(crate) fn remove(&mut self, table: &str, key: &[u8]) {
        self.key(table, key);
        self.0.put_u32(GONE);
    }

    fn key(&mut self, table: &str, key: &[u8]) {
        for part in [table.as_bytes(), key] {
            self.0.put_u16(u16::try_from(part.len()).unwrap_or(u16::MAX));
            self.0.extend_from_slice(part);
        }
    }
}

/// A change read back: table, key, and the new value unless the row is gone.
pub(crate) type Change<'r> = (&'r str, &'r [u8], Option<&'r [u8]>);

pub(crate) fn next_change<'r>(rest: &mut &'r [u8]) -> Option<Change<'r>> {
    let mut part = || {
        let len = rest.try_get_u16().ok()?;
        rest.split_off(..usize::from(len))
    };
    let (table, key) = (part()?, part()?);
    let value = match rest.try_get_u32().ok()? {
        GONE => None,
        len => Some(rest.split_off(..usize::try_from(len).ok()?)?),
    };
    Some((str::from_utf8(table).ok()?, key, value))
}
