//! Records outside the log inside a transaction: put aside, taken back, buried, and dropped from their old end.

use super::transaction::Txn;
use super::{accounts, receipts};
use crate::domain::receipt::Ending;
use crate::logging::audit::{Entry, What};
use crate::store::command::Class;
use crate::store::kv::error::Fault;
use crate::store::memory::core::Total;
use crate::store::memory::options::Bounds;
use crate::store::rows::aside::{Aside, AsideKey};

/// Takes a record out, which has to be what was written.
pub(crate) fn take_aside(txn: &mut Txn<'_>, key: AsideKey) -> Result<Option<Aside>, Fault> {
    Ok(txn.tables.remove(key)?.map(|found| found.row()).transpose()?)
}

/// Buries a record in its class; what passes the bounds of the class leaves for good, oldest first.
pub(crate) fn bury(txn: &mut Txn<'_>, class: Class, queue: u16, aside: &Aside) -> Result<(), Fault> {
    let key = (class as u8, txn.now.0, aside.seq, u32::from(queue));
    txn.tables.put(key, aside)?;
    letters(txn, class).add(aside.sealed.len() as u64);
    if class == Class::Dead {
        note_dead(txn, queue, aside)?;
    }
    let bounds = bounds(txn, class);
    while letters(txn, class).bytes > bounds.max_bytes || letters(txn, class).events > bounds.max_events {
        if !drop_oldest_letter(txn, class)? {
            break;
        }
    }
    Ok(())
}

fn note_dead(txn: &mut Txn<'_>, queue: u16, aside: &Aside) -> Result<(), Fault> {
    txn.note(What::EventDead, |txn, entry| {
        let account = accounts::read_account(txn, aside.account)?.and_then(|row| row.id);
        let queue = txn.core.queue_names(&[queue]).next();
        let queue = queue.map(|name| format!(", from queue {name}")).unwrap_or_default();
        let detail = Some(format!("sequence {}{queue}: {}", aside.seq, aside.detail));
        Ok(Entry { account, user: accounts::user_name(txn, aside.user), detail, ..entry })
    })
}

pub(crate) fn drop_oldest_letter(txn: &mut Txn<'_>, class: Class) -> Result<bool, Fault> {
    let Some(key) = oldest_letter(txn, class)? else { return Ok(false) };
    drop_letter(txn, key, "beyond the bounds of its class")?;
    txn.counts.dropped += 1;
    Ok(true)
}

pub(crate) fn oldest_letter(txn: &mut Txn<'_>, class: Class) -> Result<Option<AsideKey>, Fault> {
    let class = class as u8;
    let mut range = txn.tables.range::<Aside>((class, 0, 0, 0)..=(class, u64::MAX, u64::MAX, u32::MAX))?;
    Ok(range.next().transpose()?.map(|found| found.key()).transpose()?)
}

/// Drops a letter for good. Whether it was there.
pub(crate) fn drop_letter(txn: &mut Txn<'_>, key: AsideKey, why: &str) -> Result<bool, Fault> {
    let Some(Aside { seq, account, .. }) = remove_letter(txn, key)? else { return Ok(false) };
    receipts::left(txn, (u16::try_from(key.3).unwrap_or(0), account, seq), Ending::Dropped, why)?;
    Ok(true)
}

pub(crate) fn remove_letter(txn: &mut Txn<'_>, key: AsideKey) -> Result<Option<Aside>, Fault> {
    let Some(class) = Class::ALL.into_iter().find(|c| *c as u8 == key.0) else { return Ok(None) };
    let aside = take_aside(txn, key)?;
    if let Some(aside) = &aside {
        letters(txn, class).sub(aside.sealed.len() as u64);
    }
    Ok(aside)
}

fn letters<'t>(txn: &'t mut Txn<'_>, class: Class) -> &'t mut Total {
    &mut txn.core.letters[usize::from(class as u8 - Class::Dead as u8)]
}

pub(crate) fn bounds(txn: &Txn<'_>, class: Class) -> Bounds {
    match class {
        Class::Dead => txn.options.dead,
        Class::Unrouted => txn.options.unrouted,
        Class::Quarantined => txn.options.quarantined,
    }
}
