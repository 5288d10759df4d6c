//! What was written of devices and is not in their table yet: the memtable of an LSM tree of two levels.
//!
//! A device lies in a random place of its table, so a commit that put new devices there would write a page for each. They go into the
//! log `device_log` instead, in the order in which they were written, and are kept here. When as many were written as may wait, they are
//! merged into the table in the order of their keys: some with each commit that adds to the log, so that a page takes many of them, no
//! commit waits long, and the merge is done before as many wait again. Each row of the log says how far it is, so a start finds all as it was.

use std::collections::BTreeMap;

use crate::store::rows::device_log::{DeviceHash, DeviceLogRow};
use crate::store::rows::row::{Damaged, Row};
use crate::store::rows::small::DeviceRow;

/// Devices that may wait for a merge: about 50 bytes each, and as many again while that is under way, 13 MiB at most.
pub const DEVICES_WAITING: usize = 1 << 17;
/// Merged at once; what is owed gathers until then.
const STEP: usize = 256;
/// Entries of one row of the log.
const ROW_ENTRIES: usize = 1024;

/// Devices that wait, and how far their merge is.
#[derive(Debug, Default)]
pub(crate) struct DeviceLog {
    /// Written since the merge under way began.
    young: BTreeMap<DeviceHash, DeviceRow>,
    /// How often that was; the log holds each.
    written: usize,
    /// Not yet merged by the merge under way.
    old: BTreeMap<DeviceHash, DeviceRow>,
    /// Written by the transaction, and not in the log yet; empty between two.
    unlogged: Vec<(DeviceHash, DeviceRow)>,
    /// Rows of the log: the first that is there, the first that is not wholly merged, the first that is not being merged, and the next.
    first: u64,
    merged: u64,
    merging: u64,
    next: u64,
    /// Entries that may be merged beside those that come, and as many of the log be removed; nothing right after a start.
    owed: Option<usize>,
}

impl DeviceLog {
    pub(crate) fn get(&self, device: &DeviceHash) -> Option<DeviceRow> {
        self.young.get(device).or_else(|| self.old.get(device)).copied()
    }

    /// Writes a row. Whether so many are not in the log yet that they should go there.
    pub(crate) fn put(&mut self, device: DeviceHash, row: DeviceRow) -> bool {
        self.young.insert(device, row);
        self.unlogged.push((device, row));
        self.unlogged.len() >= ROW_ENTRIES
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.unlogged.is_empty()
    }

    /// How many entries are to be merged, and to be removed from the log, with the row that comes next; `most` may wait.
    pub(crate) fn due(&mut self, most: usize) -> usize {
        let step = STEP.min(most);
        // Twice as many as come, so that a merge ends before the next one has to begin. After a start at once: what was owed is not known.
        let owed = self.owed.unwrap_or(step) + 2 * self.unlogged.len();
        let due = if owed < step { 0 } else { owed };
        self.owed = Some(owed - due);
        due
    }

    /// Takes the next entry to be merged.
    pub(crate) fn merge_next(&mut self) -> Option<(DeviceHash, DeviceRow)> {
        let next = self.old.pop_first();
        if self.old.is_empty() {
            self.merged = self.merging;
        }
        next
    }

    /// Takes the number of a row of the log that is merged and can go.
    pub(crate) fn remove_next(&mut self) -> Option<u64> {
        let number = self.first;
        (number < self.merged).then(|| {
            self.first += 1;
            number
        })
    }

    /// The next row of the log. Where `most` were written and no merge is under way, one begins.
    pub(crate) fn next_row(&mut self, most: usize) -> (u64, DeviceLogRow) {
        let (number, entries) = (self.next, std::mem::take(&mut self.unlogged));
        self.next += 1;
        self.written += entries.len();
        if self.old.is_empty() && self.written >= most {
            self.old = std::mem::take(&mut self.young);
            (self.merging, self.written) = (self.next, 0);
        }
        let from = self.old.first_key_value().map_or([0; 16], |(&device, _)| device);
        (number, DeviceLogRow { merged: self.merged, merging: self.merging, from, entries })
    }

    /// As it was when the newest row of the log was written; the rows that are not merged come next. `first` is the first that is there.
    pub(crate) fn of(first: u64, (number, newest): (u64, &DeviceLogRow)) -> Result<Self, Damaged> {
        let &DeviceLogRow { merged, merging, .. } = newest;
        let next = number.saturating_add(1);
        if first > merged || merged > merging || merging > next {
            return Err(DeviceLogRow::TABLE.damaged());
        }
        Ok(Self { first, merged, merging, next, ..Self::default() })
    }

    /// Takes a row that is not wholly merged; entries below `from` are. Rows come in order.
    pub(crate) fn load(&mut self, number: u64, row: DeviceLogRow, from: &DeviceHash) {
        if number >= self.merging {
            self.written += row.entries.len();
            self.young.extend(row.entries);
        } else {
            self.old.extend(row.entries.into_iter().filter(|(device, _)| device >= from));
        }
    }

    /// The first row of the log that is not wholly merged.
    pub(crate) fn unmerged(&self) -> u64 {
        self.merged
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
