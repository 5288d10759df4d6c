//! An account is forgotten: its keys at once, its events step by step.

use super::transaction::{Left, Txn};
use super::{chunks, held, links, receipts, tombstones};
use crate::domain::ids::AccountId;
use crate::domain::link::Event;
use crate::logging::audit::What;
use crate::store::command::AccountRefusal;
use crate::store::kv::error::Fault;
use crate::store::memory::index::hash;
use crate::store::rows::account::OURS;
use crate::store::rows::small::{AccountNumber, WrappedKey};
use crate::vault::Purpose;

/// Destroys an account with its tokens and keys, and with these its events wherever they lie: nobody reads one from
/// this commit on. What is left of them goes by `drop_events_of`. Returns the account's number.
pub(crate) fn forget(txn: &mut Txn<'_>, account: &AccountId) -> Result<Result<u32, AccountRefusal>, Fault> {
    let Some(number) = txn.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
    links::on_link(txn, number, Event::Forget)?;
    txn.tables.remove::<WrappedKey>((number, Purpose::Events as u8))?;
    txn.core.drop_key(number);
    txn.core.accounts.forget(number);
    txn.core.freshness.forget(number);
    txn.tables.remove::<AccountNumber>(hash(account))?;
    if !account.as_str().starts_with(OURS) {
        tombstones::put(txn, account)?;
        txn.note(What::AccountForgotten, |_, entry| Ok(entry.of(account)))?;
    }
    txn.core.forgotten.insert(number);
    receipts::begin_erasing(txn, number)?;
    Ok(Ok(number))
}

/// Takes up to `limit` waiting and as many held events of a forgotten account out. Returns whether there may be more.
pub(crate) fn drop_events_of(txn: &mut Txn<'_>, number: u32, limit: usize) -> Result<bool, Fault> {
    let waiting = drop_waiting(txn, number, limit)?;
    let held = held::held_of(txn, number, limit)?;
    for &seq in &held {
        held::take_held(txn, number, seq)?;
        txn.counts.dropped += 1;
    }
    if waiting == 0 && held.is_empty() {
        txn.core.forgotten.remove(&number);
    }
    Ok(waiting == limit || held.len() == limit)
}

/// Returns how many it has looked at.
fn drop_waiting(txn: &mut Txn<'_>, number: u32, limit: usize) -> Result<usize, Fault> {
    let waiting: Vec<(u16, u64, bool)> = {
        let queues = txn.shared.queues();
        let lanes = queues.iter().flat_map(|(&queue, state)| {
            let failed = |seq| state.backlog.failures(seq) > 0;
            state.backlog.lane(number).map(move |e| (queue, e.seq, failed(e.seq)))
        });
        lanes.take(limit).collect()
    };
    for &(queue, seq, failed) in &waiting {
        // Memory shows it until the commit, though a command before this one has settled it.
        if txn.leaves(queue, seq) {
            continue;
        }
        chunks::mark_done(txn, queue, seq, failed)?;
        txn.leave(queue, number, seq, Left::Dropped);
    }
    Ok(waiting.len())
}
