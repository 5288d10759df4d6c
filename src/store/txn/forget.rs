//! An account is forgotten: its keys at once, its events step by step.

use super::transaction::{Left, Txn};
use super::{accounts, acts, chunks, held, letters, links, off_queue, receipts, routing, tombstones};
use crate::domain::act::Act;
use crate::domain::deletion::Deletion;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, QueueName, UserId};
use crate::domain::link;
use crate::logging::audit::{Entry, What};
use crate::store::command::AccountRefusal;
use crate::store::kv::error::Fault;
use crate::store::memory::core::Leaving;
use crate::store::memory::index::{NO_ACCOUNT, hash};
use crate::store::memory::options::QueueSpec;
use crate::store::rows::account::OURS;
use crate::store::rows::act::Whom;
use crate::store::rows::aside::Aside;
use crate::store::rows::small::{AccountNumber, WrappedKey};
use crate::store::rows::token::TokenRow;
use crate::vault::Purpose;

/// Destroys an account with its tokens and keys, and with these its events wherever they lie: nobody reads one from
/// this commit on. Queues that may have got them are told in the same commit. What is left of them goes by
/// `drop_events_of`. Returns the account's number, and the receipt of it, which counts no events yet. `why` is for the audit.
pub(crate) fn forget(
    txn: &mut Txn<'_>,
    account: &AccountId,
    why: Option<&str>,
) -> Result<Result<(u32, Deletion), AccountRefusal>, Fault> {
    let Some(number) = txn.core.accounts.find(account) else { return Ok(Err(AccountRefusal::Unknown)) };
    let owners = accounts::read_account(txn, number)?.map(|row| row.tenure.owners()).unwrap_or_default();
    let tokens = txn.tables.get::<TokenRow>(number)?.is_some();
    // Who had it is not kept.
    acts::note(txn, Act::ForgetAccount, Whom { account: number, ..Whom::default() }, why)?;
    links::on_link(txn, number, link::Event::Forget)?;
    txn.tables.remove::<WrappedKey>((number, Purpose::Events as u8))?;
    txn.core.drop_key(number);
    txn.core.accounts.forget(number);
    txn.core.freshness.forget(number);
    txn.tables.remove::<AccountNumber>(hash(account))?;
    let mut queues_told = Vec::new();
    if !account.as_str().starts_with(OURS) {
        tombstones::put(txn, account)?;
        let detail = why.map(str::to_owned);
        txn.note(What::AccountForgotten, |_, entry| Ok(Entry { detail, ..entry.of(account) }))?;
        queues_told = tell(txn, account, &owners)?;
    }
    txn.core.forgotten.insert(number, Leaving { since: txn.now, ..Leaving::default() });
    receipts::begin_erasing(txn, number)?;
    let lanes =
        |account| txn.shared.queues().values().map(|state| state.backlog.lane(account).count() as u64).sum();
    let deletion = Deletion {
        account_id: account.as_str().to_owned(),
        forgotten_at: txn.now.rfc3339(),
        tokens,
        waiting: lanes(number),
        held: txn.core.held_by_account.get(&number).map_or(0, |total| total.events),
        dead_letters: 0,
        queues_told,
    };
    Ok(Ok((number, deletion)))
}

/// Tells each queue that may have got events of the account, while one of these users had it. The event is not of the account, whose
/// key is gone, and is its user's all the same.
fn tell(txn: &mut Txn<'_>, account: &AccountId, owners: &[u32]) -> Result<Vec<QueueName>, Fault> {
    let mut told: Vec<u16> = Vec::new();
    for &owner in owners {
        let user = accounts::user_name(txn, owner);
        let had = |spec: &QueueSpec| {
            spec.filter.may_have_had(spec.unclaimed, account.as_str(), user.as_ref().map(UserId::as_str))
        };
        let routes = txn.core.routes.iter().filter(|(number, spec)| !told.contains(number) && had(spec));
        let queues: Vec<u16> = routes.map(|(number, _)| *number).collect();
        if queues.is_empty() {
            continue;
        }
        let event = Event::of_forgotten(routing::own_key(txn), account.clone(), user, txn.now);
        routing::enqueue(txn, NO_ACCOUNT, owner, &event, &queues)?;
        told.extend(queues);
    }
    Ok(txn.core.queue_names(&told).collect())
}

/// Takes up to `limit` waiting and as many held events of a forgotten account out, and when none is left, looks at as many dead
/// letters. Returns how many letters left until now, and whether there may be more of anything.
pub(crate) fn drop_events_of(txn: &mut Txn<'_>, number: u32, limit: usize) -> Result<(u64, bool), Fault> {
    let waiting = drop_waiting(txn, number, limit)?;
    let held = held::held_of(txn, number, limit)?;
    for &seq in &held {
        held::take_held(txn, number, seq)?;
        txn.counts.dropped += 1;
    }
    let mut leaving = txn.core.forgotten.get(&number).copied().unwrap_or_default();
    if waiting > 0 || !held.is_empty() {
        return Ok((leaving.dead_letters, true));
    }
    let more = drop_letters(txn, number, &mut leaving, limit)?;
    if more {
        txn.core.forgotten.insert(number, leaving);
    } else {
        txn.core.forgotten.remove(&number);
    }
    Ok((leaving.dead_letters, more))
}

/// Goes on among the letters of all accounts where it was the last time. Returns whether there are more to look at.
fn drop_letters(txn: &mut Txn<'_>, number: u32, leaving: &mut Leaving, limit: usize) -> Result<bool, Fault> {
    let (mut looked_at, mut found) = (0, Vec::new());
    for letter in txn.tables.range::<Aside>(letters::behind(leaving.letter))?.take(limit) {
        let letter = letter?;
        let key = letter.key()?;
        looked_at += 1;
        leaving.letter = Some(key);
        // One that is damaged is nobody's, and leaves by its age.
        if letter.row().is_ok_and(|aside| aside.account == number) {
            found.push(key);
        }
    }
    for &key in &found {
        off_queue::remove_letter(txn, key)?;
        txn.counts.dropped += 1;
    }
    leaving.dead_letters += found.len() as u64;
    Ok(looked_at == limit)
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
