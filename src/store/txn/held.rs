//! Events that wait for a user of their account: held, released in order, or buried.

use super::transaction::Txn;
use super::{accounts, chunks, keys, letters, off_queue, receipts, routing, tombstones};
use crate::domain::event::Event;
use crate::domain::link::{Owner, Tenure};
use crate::domain::marks::Mark;
use crate::domain::receipt::{Ending, Renewal};
use crate::domain::released::Released;
use crate::failpoint;
use crate::store::command::Class;
use crate::store::kv::error::Fault;
use crate::store::memory::core::HeldEvent;
use crate::store::memory::index::{NO_USER, seconds};
use crate::store::memory::shared::bump;
use crate::store::rows::aside::{Aside, HELD};
use crate::store::rows::text::to_u32;

/// Puts an event of an unclaimed account aside until it is claimed. What passes the bounds goes to the dead
/// letters, oldest first: of this account for its own bounds, of all for the common one.
pub(crate) fn hold(
    txn: &mut Txn<'_>,
    seq: u64,
    account: u32,
    event: &Event,
    queues: Vec<u16>,
) -> Result<(), Fault> {
    let sealed = chunks::seal(txn, seq, account, event)?;
    let bytes = to_u32(sealed.len());
    let aside = Aside {
        seq,
        account,
        user: NO_USER,
        at: txn.now,
        queues,
        failures: 0,
        detail: String::new(),
        sealed,
    };
    txn.tables.put((HELD, u64::from(account), seq, 0), &aside)?;
    txn.core.hold(seq, HeldEvent { account, bytes, at: seconds(txn.now) });
    let bounds = txn.options.held;
    while txn
        .core
        .held_by_account
        .get(&account)
        .is_some_and(|t| t.events > bounds.max_events || t.bytes > bounds.max_bytes)
    {
        let Some(&oldest) = held_of(txn, account, 1)?.first() else { break };
        bury_held(txn, oldest, "more held for the account than [held] allows")?;
    }
    while txn.core.held_bytes > bounds.total_bytes {
        let Some((&oldest, _)) = txn.core.held.first_key_value() else { break };
        bury_held(txn, oldest, "more held for all accounts than [held] total_bytes")?;
    }
    Ok(())
}

/// Moves a held event to the dead letters, also one that queues without an owner had already: its user never had it.
pub(crate) fn bury_held(txn: &mut Txn<'_>, seq: u64, why: &str) -> Result<(), Fault> {
    let Some(event) = txn.core.unhold(seq) else { return Ok(()) };
    let Some(aside) = off_queue::take_aside(txn, (HELD, u64::from(event.account), seq, 0))? else {
        return Ok(());
    };
    txn.counts.dead += 1;
    receipts::left(txn, (0, event.account, seq), Ending::Dead, why)?;
    off_queue::bury(txn, Class::Dead, 0, &Aside { detail: why.to_owned(), ..aside })
}

/// Lets held events go to whom they belong to, in the order in which they came; before anything that is accepted later.
pub(crate) fn release(txn: &mut Txn<'_>, number: u32) -> Result<(), Fault> {
    if !txn.core.held_by_account.contains_key(&number) {
        return Ok(());
    }
    let Some(row) = accounts::read_account(txn, number)? else { return Ok(()) };
    for seq in held_of(txn, number, usize::MAX)? {
        release_one(txn, number, seq, &row.tenure, false)?;
    }
    Ok(())
}

/// The same for one. Where the hold `is_over`, no further link is waited for. Whether a user has it now.
pub(crate) fn release_one(
    txn: &mut Txn<'_>,
    number: u32,
    seq: u64,
    tenure: &Tenure,
    is_over: bool,
) -> Result<bool, Fault> {
    let Some(aside) = txn.tables.row::<Aside>((HELD, u64::from(number), seq, 0))? else {
        txn.core.unhold(seq);
        return Ok(false);
    };
    let event = match keys::open_event(txn, seq, number, &aside.sealed) {
        Ok(Some(event)) => event,
        Ok(None) => {
            take_held(txn, number, seq)?;
            return Ok(false);
        }
        Err(fault) => {
            fault.of_one_record()?;
            bump(&txn.shared.stats.damaged);
            txn.released.add(Released { events: 1, dead: 1, ..Released::default() });
            return bury_held(txn, seq, "the record is damaged").map(|()| false);
        }
    };
    match tenure.whose(&event.kind, txn.ring.plausible(event.time, tenure.newest())) {
        Owner::User(user) => hand_over(txn, number, seq, user, event, &aside)?,
        Owner::NextOr(user) if is_over && user != NO_USER => {
            hand_over(txn, number, seq, user, event, &aside)?;
        }
        Owner::Nobody => {
            bury_held(txn, seq, "its link ended before anybody claimed it")?;
            return Ok(false);
        }
        Owner::Forgotten => {
            take_held(txn, number, seq)?;
            tombstones::drop_event(txn)?;
            return Ok(false);
        }
        Owner::Next | Owner::NextOr(_) => return Ok(false),
    }
    Ok(true)
}

fn hand_over(
    txn: &mut Txn<'_>,
    number: u32,
    seq: u64,
    user: u32,
    mut event: Event,
    aside: &Aside,
) -> Result<(), Fault> {
    failpoint!("store.releasing");
    take_held(txn, number, seq)?;
    event.user = accounts::user_name(txn, user);
    event.marks.insert(Mark::Held);
    let queues = routing::queues_for(txn, &event, &aside.queues);
    txn.counts.released += 1;
    if !queues.is_empty() {
        txn.released.to_queues(txn.core.queue_names(&queues));
        let to = routing::enqueue(txn, number, user, &event, &queues)?;
        receipts::renewed(txn, (seq, to), (number, user), Renewal::Released, queues)?;
    } else if aside.queues.is_empty() {
        txn.released.add(Released { events: 1, unrouted: 1, ..Released::default() });
        txn.counts.unrouted += 1;
        let to = letters::put_letter(txn, Class::Unrouted, number, user, &event, "no queue wants it")?;
        receipts::renewed(txn, (seq, to), (number, user), Renewal::Released, Vec::new())?;
    } else {
        receipts::renewed(txn, (seq, seq), (number, user), Renewal::Released, Vec::new())?;
        txn.released.add(Released { events: 1, delivered_before: 1, ..Released::default() });
    }
    Ok(())
}

/// Takes a held event out for good.
pub(crate) fn take_held(txn: &mut Txn<'_>, number: u32, seq: u64) -> Result<(), Fault> {
    txn.core.unhold(seq);
    off_queue::take_aside(txn, (HELD, u64::from(number), seq, 0))?;
    Ok(())
}

pub(crate) fn held_of(txn: &mut Txn<'_>, number: u32, limit: usize) -> Result<Vec<u64>, Fault> {
    if !txn.core.held_by_account.contains_key(&number) {
        return Ok(Vec::new());
    }
    let scope = u64::from(number);
    let range = txn.tables.range::<Aside>((HELD, scope, 0, 0)..=(HELD, scope, u64::MAX, u32::MAX))?;
    range.take(limit).map(|found| Ok(found?.key()?.2)).collect()
}
