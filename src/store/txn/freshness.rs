//! Which accounts are silent, told once when it begins and once when it ends, and when webhooks came written to disk: in small
//! steps, a minute apart, inside ordinary commits.

use std::time::Duration;

use super::accounts;
use super::transaction::Txn;
use crate::domain::ids::AccountId;
use crate::domain::link::LinkState;
use crate::domain::units::span;
use crate::store::kv::error::Fault;
use crate::store::memory::freshness::Turned;
use crate::store::rows::freshness::Rhythms;
use crate::store::rows::text::to_u32;

const STEP: Duration = Duration::from_mins(1);
/// Accounts that are looked at in a step: a million in a quarter of an hour.
const LOOKED_AT: usize = 1 << 16;
/// Rows that are written in a step: a million accounts in two hours, if all of them change. What a crash loses is no more.
const WRITTEN: usize = 32;

/// One step, if it is time.
pub(crate) fn maintain(txn: &mut Txn<'_>) -> Result<(), Fault> {
    let freshness = &mut txn.core.freshness;
    if txn.now < freshness.next_step && freshness.next_step.since(txn.now) <= STEP {
        return Ok(());
    }
    freshness.next_step = txn.now.plus(STEP);
    let ended = std::mem::take(&mut freshness.ended);
    let began = look(txn);
    tell(txn, &began, |account, silence| {
        let silence = span(silence);
        tracing::info!(%account, %silence, "no webhook of this account has arrived for longer than expected");
    })?;
    tell(txn, &ended, |account, silence| {
        let silence = span(silence);
        tracing::info!(%account, %silence, "webhooks of this account arrive again");
    })?;
    for block in txn.core.freshness.take_dirty(WRITTEN) {
        let row = Rhythms(txn.core.freshness.block(block).to_vec());
        txn.tables.put(to_u32(block), &row)?;
    }
    Ok(())
}

/// Nothing is said of one account while nothing comes of all.
fn look(txn: &mut Txn<'_>) -> Turned {
    let mut began = Turned::default();
    let (now, core, bounds) = (txn.now, &mut *txn.core, &txn.options.silence.account);
    let since = core.freshness.since;
    if core.freshness.intake().is_told() || since.is_none() {
        return began;
    }
    let (from, all) = (core.freshness.look_from, core.freshness.accounts());
    let until = (from + LOOKED_AT).min(all);
    for number in (from.max(1)..until).map(to_u32) {
        let rhythm = core.freshness.get(number);
        let is_linked = core.accounts.get(number).is_some_and(|slot| slot.state == LinkState::Linked);
        if rhythm.is_told() {
            // Nobody waits for a webhook of a link that has ended.
            let waits = is_linked && !rhythm.is_given_up(now, bounds);
            core.freshness.set_told(number, waits);
        } else if let Some(silence) = rhythm.silence(now, since, bounds).filter(|_| is_linked) {
            core.freshness.set_told(number, true);
            began.add(number, silence);
        }
    }
    core.freshness.look_from = if until == all { 0 } else { until };
    began
}

/// Says it of some by their names, and of the rest how many they are.
fn tell(txn: &mut Txn<'_>, turned: &Turned, words: fn(&AccountId, Duration)) -> Result<(), Fault> {
    for &(number, silence) in &turned.named {
        if let Some(id) = accounts::read_account(txn, number)?.and_then(|row| row.id) {
            words(&id, silence);
        }
    }
    let others = turned.count - turned.named.len() as u64;
    if others > 0 {
        tracing::info!(accounts = others, "the same of more accounts");
    }
    Ok(())
}
