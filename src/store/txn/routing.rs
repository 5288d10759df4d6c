//! Where an event goes: its queues, its followers, and the state of a link to whom it concerns.

use bytes::Bytes;

use super::transaction::Txn;
use super::{accounts, chunks, keys, receipts};
use crate::domain::event::Event;
use crate::domain::link::{LinkState, Owner};
use crate::domain::receipt::{self, Origin};
use crate::domain::routing::Fate;
use crate::domain::time::Millis;
use crate::store::command::Published;
use crate::store::kv::error::Fault;
use crate::store::memory::index::NO_ACCOUNT;
use crate::store::memory::options::QueueSpec;

/// Where an event goes.
pub(crate) struct Destination {
    pub queues: Vec<u16>,
    /// Also held for queues that want its user's events only.
    pub hold: bool,
}

pub(crate) fn destination(txn: &Txn<'_>, event: &Event, account_number: u32, owner: Owner) -> Destination {
    let subject = event.subject();
    let claimable = matches!(owner, Owner::Next | Owner::NextOr(_)) && account_number != NO_ACCOUNT;
    let (mut queues, mut awaited) = (Vec::new(), false);
    for (number, spec) in &txn.core.routes {
        match spec.filter.fate(spec.unclaimed, &subject) {
            Fate::Taken => queues.push(*number),
            Fate::Held => awaited = true,
            Fate::Not(_) => {}
        }
    }
    // What no queue wants today may be wanted by one that is there when the account gets its user.
    let hold = claimable && (awaited || queues.is_empty());
    Destination { queues, hold }
}

/// Queues that take an event of this user, without those in `but`.
pub(crate) fn queues_for(txn: &Txn<'_>, event: &Event, but: &[u16]) -> Vec<u16> {
    let subject = event.subject();
    let wants = |spec: &QueueSpec| spec.filter.fate(spec.unclaimed, &subject) == Fate::Taken;
    txn.core.routes.iter().filter(|(n, spec)| !but.contains(n) && wants(spec)).map(|(n, _)| *n).collect()
}

/// Appends the event for `queues`, and tells their followers. Returns its sequence.
pub(crate) fn enqueue(
    txn: &mut Txn<'_>,
    account: u32,
    user: u32,
    event: &Event,
    queues: &[u16],
) -> Result<u64, Fault> {
    let seq = chunks::append(txn, account, user, event, queues.to_vec())?;
    publish(txn, seq, queues, event);
    Ok(seq)
}

/// The id of an event of our own. The sequence that it gets makes it unique for the life of the store.
pub(crate) fn own_key(txn: &Txn<'_>) -> String {
    format!("{}-{}", txn.shared.identity.store, txn.core.next_seq)
}

fn publish(txn: &mut Txn<'_>, seq: u64, queues: &[u16], event: &Event) {
    if !txn.shared.feed.is_followed() {
        return;
    }
    let names = txn.core.queue_names(queues).collect();
    // A copy of the body: followers may lag, and what they hold must not count as in flight.
    let body = Bytes::copy_from_slice(&event.body);
    txn.published.push(Published { seq, queues: names, event: Event { body, ..event.clone() } });
}

/// Tells a change of state of an account to the queues that ask for it by name.
pub(crate) fn announce(
    txn: &mut Txn<'_>,
    number: u32,
    state: &str,
    lapses_at: Option<Millis>,
) -> Result<(), Fault> {
    let Some(row) = accounts::read_account(txn, number)? else { return Ok(()) };
    // Nobody knows yet whose it is, so nobody is told.
    let (state_of_link, holder) = (row.tenure.state, row.tenure.holder());
    let Some(account) = row.id.filter(|_| state_of_link != LinkState::Arriving) else { return Ok(()) };
    let user = accounts::user_name(txn, holder);
    let event = Event::of_link(own_key(txn), state, account, user, lapses_at, txn.now);
    let queues = queues_for(txn, &event, &[]);
    let full = txn.core.kept_bytes() >= txn.options.max_bytes;
    // What may be lost to a full store is the word, not the state.
    if queues.is_empty() || full || keys::event_key(txn, number).is_err() {
        return Ok(());
    }
    let seq = enqueue(txn, number, holder, &event, &queues)?;
    receipts::kept(
        txn,
        (seq, number, holder),
        &event,
        &Origin::default(),
        receipt::Destination::Queued,
        queues,
    )
}
