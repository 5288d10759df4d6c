//! The memory of request ids inside a transaction: looked up, added to, and forgotten from its old end.

use redb::ReadableTable;

use super::batch::Batch;
use crate::domain::dedup::Identity;
use crate::store::kv::error::Fault;
use crate::store::memory::seen::Row;

impl Batch<'_> {
    /// The hash of what came with this id before.
    pub(crate) fn seen(&mut self, id: &[u8; 16]) -> Result<Option<[u8; 8]>, Fault> {
        let rows: Vec<u64> = self.core.seen.rows(id).collect();
        for number in rows {
            let found = if number == self.core.tail_number {
                self.core.tail.find(id)
            } else {
                let table = self.tables.ids()?;
                let row = table.get(number)?;
                row.map_or(Ok(None), |row| Row::find_in(number, row.value(), id))?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Remembers an id in the newest row.
    pub(crate) fn remember(&mut self, identity: &Identity) -> Result<(), Fault> {
        if self.core.tail.is_full() {
            self.write_tail()?;
            self.core.tail = Row::default();
            self.core.tail_number += 1;
        }
        self.core.tail.add(identity, self.now);
        if self.core.seen.len() == 0 {
            self.core.oldest_at = self.now;
        }
        self.core.seen.insert(&identity.id, self.core.tail_number);
        self.tail_changed = true;
        while self.core.seen.len() > self.shared.options.max_ids && self.forget_oldest_row()? {}
        Ok(())
    }

    /// Forgets the oldest row of ids; never the newest, which carries the next sequence.
    pub(crate) fn forget_oldest_row(&mut self) -> Result<bool, Fault> {
        let number = self.core.oldest_row;
        if number >= self.core.tail_number {
            return Ok(false);
        }
        if let Some(row) = self.read_row(number)? {
            for (id, _) in &row.ids {
                self.core.seen.remove(id, number);
            }
            self.tables.ids()?.remove(number)?;
        }
        self.core.oldest_row += 1;
        let next = self.core.oldest_row;
        let row = if next == self.core.tail_number { None } else { self.read_row(next)? };
        self.core.oldest_at = row.map_or(self.core.tail.first_at, |row| row.first_at);
        Ok(true)
    }

    pub(crate) fn read_row(&mut self, number: u64) -> Result<Option<Row>, Fault> {
        let table = self.tables.ids()?;
        let Some(value) = table.get(number)? else { return Ok(None) };
        Ok(Some(Row::decode(number, value.value())?))
    }

    pub(crate) fn write_tail(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.tail_changed) {
            return Ok(());
        }
        self.core.tail.next_seq = self.core.next_seq;
        let number = self.core.tail_number;
        let value = self.core.tail.encode(number);
        self.tables.ids()?.insert(number, value.as_slice())?;
        Ok(())
    }
}
