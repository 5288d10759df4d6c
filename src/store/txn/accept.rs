//! Keeps a verified webhook: seen before? whose? for which queues?, all in the one transaction that is its 2xx.

use super::routing::Destination;
use super::transaction::Txn;
use super::{accounts, chunks, devices, held, ids, keys, letters, links, receipts, routing, tombstones};
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, DeviceId};
use crate::domain::link::{Event as Link, Owner};
use crate::domain::marks::Mark;
use crate::domain::receipt::{Destination as To, Origin};
use crate::domain::time::Millis;
use crate::store::command::{Accepted, Class, Incoming};
use crate::store::kv::error::{Fault, StoreError};
use crate::store::memory::index::{NO_ACCOUNT, NO_USER};
use crate::store::memory::shared::bump;
use crate::store::rows::account::AccountRow;

/// The account that an event is of, by its number, and whose it is there.
#[derive(Clone, Copy)]
struct Whose {
    account: u32,
    owner: Owner,
}

/// Nobody reads `incoming` again. The event stays in it, so that it is freed where it was made: the system's allocator is
/// slow at anything else.
pub(crate) fn accept(
    txn: &mut Txn<'_>,
    incoming: &mut Incoming,
) -> Result<Result<Accepted, StoreError>, Fault> {
    let Incoming { event, identity, related, anomaly, origin } = incoming;
    txn.core.freshness.intake_heard(txn.now, &txn.options.silence);
    if let Some(before) = ids::seen(txn, &identity.id)? {
        if identity.content == before {
            txn.counts.duplicates += 1;
            return Ok(Ok(Accepted::Duplicate));
        }
        (event.key, *identity) = identity.conflicting(&event.key);
        if ids::seen(txn, &identity.id)?.is_some() {
            txn.counts.duplicates += 1;
            return Ok(Ok(Accepted::Duplicate));
        }
        txn.counts.conflicts += 1;
        event.marks.insert(Mark::Conflict);
    }
    if txn.core.kept_bytes().saturating_add(event.body.len() as u64) > txn.options.max_bytes {
        return Ok(Err(StoreError::Full));
    }
    event.time = event.time.map(|at| if txn.ring.allows(at) { at } else { txn.ring.likely });
    let whose = match anomaly {
        None => whose(txn, event, related)?,
        Some(_) => Whose { account: NO_ACCOUNT, owner: Owner::Nobody },
    };
    txn.core.freshness.heard(whose.account, txn.now, &txn.options.silence);
    if whose.owner == Owner::Forgotten {
        ids::remember(txn, identity)?;
        txn.counts.accepted += 1;
        tombstones::drop_event(txn)?;
        return Ok(Ok(Accepted::OfForgotten));
    }
    if let Err(fault) = keys::event_key(txn, whose.account) {
        let error = fault.of_one_record()?;
        bump(&txn.shared.stats.damaged);
        return Ok(Err(error));
    }
    ids::remember(txn, identity)?;
    txn.counts.accepted += 1;
    if let Some(anomaly) = anomaly {
        txn.counts.quarantined += 1;
        let seq = letters::put_letter(txn, Class::Quarantined, NO_ACCOUNT, NO_USER, event, anomaly)?;
        let place = (seq, NO_ACCOUNT, NO_USER);
        receipts::kept(txn, place, event, origin, To::Quarantined, Vec::new())?;
        return Ok(Ok(Accepted::Quarantined { seq }));
    }
    let whose = if learn(txn, event, related, whose.account)? {
        Whose { owner: owner(txn, whose.account, event)?, ..whose }
    } else {
        whose
    };
    place(txn, event, origin, whose).map(Ok)
}

/// Finds the account, by its id or by the device, and its user; an account seen for the first time gets a number.
fn whose(txn: &mut Txn<'_>, event: &mut Event, related: &[DeviceId]) -> Result<Whose, Fault> {
    let number = match &event.account {
        Some(id) => match txn.core.accounts.find(id) {
            Some(number) => number,
            // Nothing of a forgotten account comes back with an event from before.
            None if is_of_forgotten(txn, id, event.time)? => {
                return Ok(Whose { account: NO_ACCOUNT, owner: Owner::Forgotten });
            }
            None => links::add_unclaimed(txn, id)?,
        },
        None => devices::account_of_devices(txn, event.device.iter().chain(related))?,
    };
    if event.account.is_none() {
        event.account = accounts::read_account(txn, number)?.and_then(|row| row.id);
        let mark = if event.account.is_some() { Mark::AccountByDevice } else { Mark::NoAccount };
        event.marks.insert(mark);
    }
    Ok(Whose { account: number, owner: owner(txn, number, event)? })
}

/// Whose the event is; its user is noted in it.
fn owner(txn: &mut Txn<'_>, number: u32, event: &mut Event) -> Result<Owner, Fault> {
    let owner = match txn.core.accounts.get(number).copied() {
        _ if number == NO_ACCOUNT => Owner::Nobody,
        Some(slot) if slot.simple => Owner::User(slot.user),
        _ => {
            let row = accounts::read_account(txn, number)?;
            row.map_or(Owner::Nobody, |AccountRow { tenure, .. }| {
                tenure.whose(&event.kind, txn.ring.plausible(event.time, tenure.newest()))
            })
        }
    };
    event.user = accounts::user_name(txn, owner.user());
    Ok(owner)
}

fn is_of_forgotten(txn: &mut Txn<'_>, id: &AccountId, at: Option<Millis>) -> Result<bool, Fault> {
    let forgotten_at = tombstones::find(txn, id)?;
    Ok(forgotten_at
        .is_some_and(|forgotten_at| txn.ring.plausible(at, forgotten_at).is_some_and(|at| at < forgotten_at)))
}

/// The newest time of Ring's that the account's link knows, where the event says something of the link.
fn newest_of_link(txn: &mut Txn<'_>, kind: &str, account: u32) -> Result<Millis, Fault> {
    const OF_LINKS: [&str; 4] =
        ["app_integration_removed", "app_integration_added", "device_removed", "device_added"];
    let row = if OF_LINKS.contains(&kind) { accounts::read_account(txn, account)? } else { None };
    Ok(row.map_or(Millis(0), |row| row.tenure.newest()))
}

/// Keeps the device map current, and tells the link what the event says of it. Whether that changes whose events are, this one too.
fn learn(txn: &mut Txn<'_>, event: &Event, related: &[DeviceId], account: u32) -> Result<bool, Fault> {
    if account == NO_ACCOUNT {
        return Ok(false);
    }
    let known = newest_of_link(txn, &event.kind, account)?;
    let happened_at = txn.ring.plausible(event.time, known);
    let told = match (event.kind.as_str(), happened_at) {
        ("app_integration_removed", at) => {
            let at = at.unwrap_or(txn.ring.likely);
            return links::on_link(txn, account, Link::Removed { at }).map(|effects| effects.release);
        }
        // One that does not say when it happened may be of a link before.
        ("app_integration_added", Some(at)) => Some(Link::Added { at }),
        ("device_added", Some(at)) => Some(Link::DeviceAdded { at }),
        _ => None,
    };
    let effects = told.map(|told| links::on_link(txn, account, told)).transpose()?;
    let others = related.iter().filter(|device| Some(*device) != event.device.as_ref());
    let mut devices = event.device.iter().chain(others);
    match event.kind.as_str() {
        "device_removed" => {
            devices.try_for_each(|device| devices::forget_device(txn, device, account, happened_at))
        }
        "device_added" => {
            devices.try_for_each(|device| devices::add_device(txn, device, account, happened_at))
        }
        _ => {
            // What the map itself has told says nothing new of it.
            let at = happened_at.filter(|_| !event.marks.contains(Mark::AccountByDevice));
            devices.try_for_each(|device| devices::note_device(txn, device, account, at))
        }
    }?;
    Ok(effects.is_some_and(|effects| effects.release))
}

fn place(
    txn: &mut Txn<'_>,
    event: &Event,
    origin: &Origin,
    Whose { account, owner }: Whose,
) -> Result<Accepted, Fault> {
    let of = |seq| (seq, account, owner.user());
    let Destination { queues, hold } = routing::destination(txn, event, account, owner);
    if queues.is_empty() && !hold {
        txn.counts.unrouted += 1;
        let why = match owner {
            Owner::Nobody if account != NO_ACCOUNT => "its link ended before anybody claimed it",
            _ => "no queue wants it",
        };
        let seq = letters::put_letter(txn, Class::Unrouted, account, owner.user(), event, why)?;
        receipts::kept(txn, of(seq), event, origin, To::Unrouted, queues)?;
        return Ok(Accepted::Unrouted { seq });
    }
    let count = queues.len();
    let seq = if queues.is_empty() {
        chunks::sequence_aside(txn)
    } else {
        routing::enqueue(txn, account, owner.user(), event, &queues)?
    };
    let to = if hold { To::Held } else { To::Queued };
    receipts::kept(txn, of(seq), event, origin, to, queues.clone())?;
    if !hold {
        return Ok(Accepted::Queued { seq, account: event.account.clone(), queues: count });
    }
    txn.counts.held += 1;
    held::hold(txn, seq, account, event, queues)?;
    Ok(Accepted::Held { seq, queues: count })
}
