//! Dead letters at the operator's word: replayed or dropped, in steps.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::RangeBounds;

use super::transaction::Txn;
use super::{accounts, acts, chunks, devices, keys, off_queue, receipts, routing};
use crate::domain::act::Act;
use crate::domain::event::Event;
use crate::domain::ids::QueueName;
use crate::domain::marks::Mark;
use crate::domain::receipt::Renewal;
use crate::domain::time::Millis;
use crate::store::command::{Class, LetterFilter, LetterId, LettersDone};
use crate::store::kv::error::Fault;
use crate::store::kv::found::Range;
use crate::store::memory::index::{NO_ACCOUNT, NO_USER};
use crate::store::rows::account::AccountRow;
use crate::store::rows::act::Whom;
use crate::store::rows::aside::{Aside, AsideKey};

/// What shall happen to letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetterAction {
    Replay,
    Drop,
}

/// Where letters behind `after` lie.
pub(crate) fn behind(after: Option<AsideKey>) -> impl RangeBounds<AsideKey> {
    (after.map_or(Included((Class::Dead as u8, 0, 0, 0)), Excluded), Unbounded)
}

/// The first keys of a range.
pub(crate) fn first_keys(range: Range<'_, Aside>, limit: usize) -> Result<Vec<AsideKey>, Fault> {
    range.take(limit).map(|found| Ok(found?.key()?)).collect()
}

pub(crate) fn letter_key(id: LetterId) -> AsideKey {
    (id.class as u8, id.buried_at.0, id.seq, u32::from(id.queue))
}

pub(crate) fn letter_id(key: AsideKey) -> Option<LetterId> {
    let class = Class::ALL.into_iter().find(|c| *c as u8 == key.0)?;
    Some(LetterId { class, buried_at: Millis(key.1), seq: key.2, queue: u16::try_from(key.3).ok()? })
}

pub(crate) fn put_letter(
    txn: &mut Txn<'_>,
    class: Class,
    account: u32,
    user: u32,
    event: &Event,
    why: &str,
) -> Result<u64, Fault> {
    let seq = chunks::sequence_aside(txn);
    let sealed = chunks::seal(txn, seq, account, event)?;
    let aside = Aside {
        seq,
        account,
        user,
        at: txn.now,
        queues: Vec::new(),
        failures: 0,
        detail: why.to_owned(),
        sealed,
    };
    off_queue::bury(txn, class, 0, &aside)?;
    Ok(seq)
}

/// Goes over at most `limit` letters from `after` on.
pub(crate) fn letters_step(
    txn: &mut Txn<'_>,
    action: LetterAction,
    filter: &LetterFilter,
    after: Option<LetterId>,
    limit: usize,
) -> Result<LettersDone, Fault> {
    let mut out = LettersDone::default();
    let keys = if filter.ids.is_empty() {
        first_keys(txn.tables.range(behind(after.map(letter_key)))?, limit)?
    } else {
        filter.ids.iter().map(|&id| letter_key(id)).collect()
    };
    if filter.ids.is_empty() && keys.len() == limit {
        out.next = keys.last().and_then(|&key| letter_id(key));
    }
    for key in keys {
        let Some(id) = letter_id(key) else { continue };
        let queue = queue_name(txn, id.queue);
        if !filter.covers(id.class, queue.as_ref()) {
            continue;
        }
        let done = match action {
            LetterAction::Drop => off_queue::drop_letter(txn, key, "by hand")?,
            LetterAction::Replay => replay(txn, key, id)?,
        };
        if done { out.done += 1 } else { out.refused += 1 }
    }
    if out.done > 0 {
        let act = match action {
            LetterAction::Replay => Act::ReplayLetters,
            LetterAction::Drop => Act::DropLetters,
        };
        acts::note(txn, act, Whom::default(), Some(&format!("{} letters in this step", out.done)))?;
    }
    Ok(out)
}

/// Puts a letter back into the queue it left, or routes it anew when it was in none.
fn replay(txn: &mut Txn<'_>, key: AsideKey, id: LetterId) -> Result<bool, Fault> {
    let Some(aside) = txn.tables.row::<Aside>(key)? else { return Ok(false) };
    if id.class == Class::Quarantined {
        return Ok(false);
    }
    let Aside { seq, account, .. } = aside;
    let mut event = match keys::open_event(txn, seq, account, &aside.sealed) {
        Ok(Some(event)) => event,
        Ok(None) => return Ok(false),
        Err(fault) => return fault.of_one_record().map(|_| false),
    };
    event.marks.insert(Mark::Replayed);
    let (mut account, mut user) = (account, aside.user);
    let queues = if id.queue == 0 {
        // Never was in a queue. Whose it was when it was accepted it stays; else the account, which its device may
        // tell by now, has the user who has it now.
        if account == NO_ACCOUNT {
            account = devices::account_of_devices(txn, event.device.iter())?;
            event.account = accounts::read_account(txn, account)?.and_then(|row| row.id);
        }
        if user == NO_USER && account != NO_ACCOUNT {
            let row = accounts::read_account(txn, account)?;
            user = row.map_or(NO_USER, |AccountRow { tenure, .. }| {
                tenure.whose(&event.kind, txn.ring.plausible(event.time, tenure.newest())).user()
            });
        }
        event.user = accounts::user_name(txn, user);
        routing::queues_for(txn, &event, &aside.queues)
    } else {
        txn.core.routes.iter().map(|(n, _)| *n).filter(|&n| n == id.queue).collect()
    };
    if queues.is_empty() {
        return Ok(false);
    }
    off_queue::remove_letter(txn, key)?;
    let to = routing::enqueue(txn, account, user, &event, &queues)?;
    receipts::renewed(txn, (seq, to), (account, user), Renewal::Replayed, queues)?;
    Ok(true)
}

fn queue_name(txn: &Txn<'_>, number: u16) -> Option<QueueName> {
    txn.shared.queues().get(&number).map(|q| q.name.clone())
}
