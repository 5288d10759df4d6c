//! Records outside the log inside a transaction: put aside, taken back, buried, and dropped from their old end.

use redb::ReadableTable;

use super::batch::Batch;
use crate::logging::audit::{Entry, What};
use crate::store::command::Class;
use crate::store::kv::error::Fault;
use crate::store::kv::tables::{AsideKey, aside_key_bytes};
use crate::store::memory::core::Total;
use crate::store::memory::options::Bounds;
use crate::store::rows::codec::Aside;

impl Batch<'_> {
    pub(crate) fn put_aside(&mut self, key: AsideKey, aside: &Aside) -> Result<(), Fault> {
        let value = aside.encode("aside", &aside_key_bytes(key));
        self.tables.aside()?.insert(key, value.as_slice())?;
        Ok(())
    }

    pub(crate) fn take_aside(&mut self, key: AsideKey) -> Result<Option<Aside>, Fault> {
        let mut table = self.tables.aside()?;
        let Some(value) = table.remove(key)? else { return Ok(None) };
        Ok(Some(Aside::decode("aside", &aside_key_bytes(key), value.value())?))
    }

    pub(crate) fn read_aside(&mut self, key: AsideKey) -> Result<Option<Aside>, Fault> {
        let table = self.tables.aside()?;
        let Some(value) = table.get(key)? else { return Ok(None) };
        Ok(Some(Aside::decode("aside", &aside_key_bytes(key), value.value())?))
    }

    /// Buries a record in its class; what passes the bounds of the class leaves for good, oldest first.
    pub(crate) fn bury(&mut self, class: Class, queue: u16, aside: &Aside) -> Result<(), Fault> {
        let key = (class as u8, self.now.0, aside.seq, u32::from(queue));
        self.put_aside(key, aside)?;
        self.letters(class).add(aside.sealed.len() as u64);
        if class == Class::Dead {
            self.note_dead(queue, aside)?;
        }
        let bounds = self.bounds(class);
        while self.letters(class).bytes > bounds.max_bytes || self.letters(class).events > bounds.max_events {
            if !self.drop_oldest_letter(class)? {
                break;
            }
        }
        Ok(())
    }

    fn note_dead(&mut self, queue: u16, aside: &Aside) -> Result<(), Fault> {
        self.note(What::EventDead, |batch, entry| {
            let account = batch.read_account(aside.account)?.and_then(|row| row.id);
            let queue = batch.core.queue_names(&[queue]).next();
            let queue = queue.map(|name| format!(", from queue {name}")).unwrap_or_default();
            let detail = Some(format!("sequence {}{queue}: {}", aside.seq, aside.detail));
            Ok(Entry { account, user: batch.user_name(aside.user), detail, ..entry })
        })
    }

    pub(crate) fn drop_oldest_letter(&mut self, class: Class) -> Result<bool, Fault> {
        let Some(key) = self.oldest_letter(class)? else { return Ok(false) };
        self.remove_letter(key)?;
        self.counts.dropped += 1;
        Ok(true)
    }

    pub(crate) fn oldest_letter(&mut self, class: Class) -> Result<Option<AsideKey>, Fault> {
        let table = self.tables.aside()?;
        let class = class as u8;
        let mut range = table.range((class, 0, 0, 0)..=(class, u64::MAX, u64::MAX, u32::MAX))?;
        Ok(range.next().transpose()?.map(|(key, _)| key.value()))
    }

    pub(crate) fn remove_letter(&mut self, key: AsideKey) -> Result<Option<Aside>, Fault> {
        let Some(class) = Class::ALL.into_iter().find(|c| *c as u8 == key.0) else { return Ok(None) };
        let aside = self.take_aside(key)?;
        if let Some(aside) = &aside {
            self.letters(class).sub(aside.sealed.len() as u64);
        }
        Ok(aside)
    }

    fn letters(&mut self, class: Class) -> &mut Total {
        &mut self.core.letters[usize::from(class as u8 - Class::Dead as u8)]
    }

    pub(crate) fn bounds(&self, class: Class) -> Bounds {
        match class {
            Class::Dead => self.shared.options.dead,
            Class::Unrouted => self.shared.options.unrouted,
            Class::Quarantined => self.shared.options.quarantined,
        }
    }
}
