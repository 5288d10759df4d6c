//! Rows of devices as they lie on disk before they are merged into their table: in the order in which they were written.

use bytes::{Buf, BufMut};

use super::row::{Row, Table, version};
use super::small::DeviceRow;
use super::text::millis;

const VERSION: u8 = 1;
const ENTRY: usize = 28;

/// The hash that stands for a device's id.
pub(crate) type DeviceHash = [u8; 16];

/// A row of `device_log`: what one commit wrote of devices, and how far the merge is since then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeviceLogRow {
    /// Rows of the log below this one are wholly in `devices`.
    pub merged: u64,
    /// Those from there on and below this one are being merged, in the order of their keys.
    pub merging: u64,
    /// The first key that is still to be merged.
    pub from: DeviceHash,
    /// In the order in which they were written: of two of one device, the second counts.
    pub entries: Vec<(DeviceHash, DeviceRow)>,
}

impl DeviceLogRow {
    /// About how many entries a row of so many bytes has; at least one.
    pub(crate) fn entries_of(bytes: usize) -> usize {
        (bytes / ENTRY).max(1)
    }
}

impl Row for DeviceLogRow {
    const TABLE: Table = Table::DeviceLog;
    /// The row's number.
    type Key = u64;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put_u64(self.merged);
        out.put_u64(self.merging);
        out.extend_from_slice(&self.from);
        for (device, row) in &self.entries {
            out.extend_from_slice(device);
            row.write(out);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let (merged, merging) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
        let first = device(from)?;
        let mut entries = Vec::with_capacity(from.len() / ENTRY);
        while !from.is_empty() {
            let (device, account) = (device(from)?, from.try_get_u32().ok()?);
            entries.push((device, DeviceRow { account, since: millis(from)? }));
        }
        Some(Self { merged, merging, from: first, entries })
    }
}

fn device(from: &mut &[u8]) -> Option<DeviceHash> {
    let (hash, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*hash)
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;
    use crate::domain::time::Millis;

    #[test]
    fn rows_come_back_and_belong_to_their_place() {
        let entry = |n: u8| ([n; 16], DeviceRow { account: u32::from(n), since: Millis(8) });
        let row = DeviceLogRow { merged: 1, merging: 2, from: [3; 16], entries: vec![entry(5), entry(4)] };
        is_checked(&row, 3, 4);
        is_checked(&DeviceLogRow::default(), 3, 4);
        let mut long = DeviceLogRow { entries: vec![entry(6); 100], ..row };
        let mut value = Vec::new();
        long.encode(3, &mut value);
        assert!((100..103).contains(&DeviceLogRow::entries_of(value.len())));
        long.entries.clear();
        value.clear();
        long.encode(3, &mut value);
        assert_eq!(DeviceLogRow::entries_of(value.len()), 1);
    }
}
