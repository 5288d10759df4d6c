//! Claims at rest: which accounts may be claimed, who claimed them with which nonce, and how far Ring has been told.
//!
//! A row is there for every account that a claim may be for: one that nobody has claimed, one that Ring gave a code for since
//! its last claim, one whose claim is not done, and for a while after that. The row is what a nonce is looked for in, so it has all
//! that takes.

use std::collections::BTreeSet;
use std::mem::{replace, take};
use std::time::Duration;

use super::transaction::Txn;
use super::{accounts, acts, claim_rows, links};
use crate::domain::act::Act;
use crate::domain::claim::{Bid, Ruling};
use crate::domain::confirm::{Progress, Step};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::{Answer, Event, LastClaim};
use crate::domain::released::Released;
use crate::domain::time::Millis;
use crate::domain::visit::Visit;
use crate::store::command::Claimable;
use crate::store::kv::error::Fault;
use crate::store::kv::view::View;
use crate::store::memory::shared::Shared;
use crate::store::rows::account::AccountRow;
use crate::store::rows::claim::ClaimRow;
use crate::store::rows::row::Table;

/// Rows that are read at a time when a nonce is looked for: a long read makes the file grow.
const PAGE: usize = 4096;
/// Rows that are past use which one look at all of them gives back, to be taken away.
const STALE: usize = 256;

/// A claim as it is kept.
#[derive(Debug, Clone)]
pub struct Claim {
    pub number: u32,
    pub account: AccountId,
    pub user: UserId,
    pub visit: Visit,
    pub identifier: Option<String>,
    pub progress: Progress,
    /// When Ring gave the last code for the account; 0 where none came.
    pub code_at: Millis,
}

/// What came of a bid, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The account is the user's.
    Taken {
        released: Released,
    },
    Not(Ruling),
}

/// Looks at every account that may be claimed for the last one that `matches`.
pub(crate) fn claimable(
    shared: &Shared,
    now: Millis,
    mut matches: impl FnMut(&str) -> bool,
) -> Result<Claimable, Fault> {
    let (mut after, mut seen) = (None, Claimable::default());
    loop {
        let mut rows = 0;
        let read = |number, row: &ClaimRow| {
            rows += 1;
            if row.claiming.is_claimable(now) {
                if matches(row.account.as_str()) {
                    seen.found = Some((number, row.account.as_str().to_owned()));
                }
            } else if seen.stale.len() < STALE {
                seen.stale.push(number);
            }
            rows < PAGE
        };
        match each_row(shared, after, read)? {
            Some(last) => after = Some(last),
            None => return Ok(seen),
        }
    }
}

/// The accounts under these numbers, or all, that may be claimed and are `wanted`.
pub(crate) fn claimable_among(
    shared: &Shared,
    among: Option<&BTreeSet<u32>>,
    now: Millis,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<(u32, String)>, Fault> {
    let mut found = Vec::new();
    let mut see = |number: u32, row: &ClaimRow| {
        if row.claiming.is_claimable(now) && wanted(row.account.as_str()) {
            found.push((number, row.account.as_str().to_owned()));
        }
    };
    let Some(numbers) = among else {
        let (mut after, mut rows) = (None, 0);
        loop {
            let read = |number, row: &ClaimRow| {
                see(number, row);
                rows += 1;
                rows % PAGE != 0
            };
            match each_row(shared, after, read)? {
                Some(last) => after = Some(last),
                None => return Ok(found),
            }
        }
    };
    let table = shared.view()?.table()?;
    for &number in numbers {
        if let Some(row) = table.row(number)? {
            see(number, &row);
        }
    }
    Ok(found)
}

/// The numbers of accounts whose claim is not at its end.
pub(crate) fn under_way(shared: &Shared) -> Result<Vec<u32>, Fault> {
    let (mut after, mut numbers) = (None, Vec::new());
    loop {
        let mut rows = 0;
        let read = |number, row: &ClaimRow| {
            rows += 1;
            let under_way = row.claiming.last.as_ref().is_some_and(|last| last.progress.call().is_some());
            numbers.extend(under_way.then_some(number));
            rows < PAGE
        };
        match each_row(shared, after, read)? {
            Some(last) => after = Some(last),
            None => return Ok(numbers),
        }
    }
}

/// Reads rows behind `after` until `read` wants no more; then, where to go on. One that is damaged is passed over.
fn each_row(
    shared: &Shared,
    after: Option<u32>,
    mut read: impl FnMut(u32, &ClaimRow) -> bool,
) -> Result<Option<u32>, Fault> {
    let from = after.map_or(0, |after| after.saturating_add(1));
    for found in shared.view()?.table()?.range(from..)? {
        let found = found?;
        let number = found.key()?;
        let Ok(row) = found.row() else {
            crate::store::memory::shared::bump(&shared.stats.damaged);
            tracing::error!(account_number = number, "the record of who may claim an account is damaged");
            continue;
        };
        if !read(number, &row) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// How far the account's last claim is.
pub(crate) fn step_of(view: &View, number: u32) -> Result<Option<Step>, Fault> {
    let row = view.table::<ClaimRow>()?.get(number)?.and_then(|found| found.row().ok());
    Ok(row.and_then(|row| row.claiming.last).map(|last| last.progress.step))
}

pub(crate) fn claim_of(shared: &Shared, number: u32) -> Result<Option<Claim>, Fault> {
    let view = shared.view()?;
    let Some(ClaimRow { account, claiming }) = view.row(number)? else { return Ok(None) };
    let Some(LastClaim { visit, user, identifier, progress, .. }) = claiming.last else { return Ok(None) };
    let code_at = view.row(number)?.map_or(Millis(0), |row: AccountRow| row.tenure.code_at);
    let user = shared.users().name(user).and_then(|name| UserId::new(name).ok());
    let user = user.ok_or(Table::Claims.damaged())?;
    Ok(Some(Claim { number, account, user, visit, identifier, progress, code_at }))
}

pub(crate) fn claim(txn: &mut Txn<'_>, number: u32, bid: &Bid, skew: Duration) -> Result<Claimed, Fault> {
    if accounts::read_account(txn, number)?.is_none() || claim_rows::claim_row(txn, number)?.is_none() {
        return Ok(Claimed::Not(Ruling::NoMatch));
    }
    let before = take(&mut txn.released);
    let (visit, identifier) = (bid.visit.clone(), bid.identifier.clone());
    // A name that is not taken after all costs a row; who may name one has signed in.
    let user = accounts::user_number(txn, &bid.user)?;
    let effects = links::on_link(txn, number, Event::Claimed { visit, user, identifier, skew })?;
    let released = replace(&mut txn.released, before);
    Ok(match effects.answer {
        Answer::Not(ruling) => Claimed::Not(ruling),
        Answer::Old => Claimed::Not(Ruling::NoMatch),
        Answer::Done => {
            acts::note(txn, Act::Claim, acts::whom(txn, number), None)?;
            Claimed::Taken { released }
        }
    })
}

pub(crate) fn advance_claim(
    txn: &mut Txn<'_>,
    number: u32,
    nonce: &[u8; 32],
    from: Progress,
    to: Progress,
) -> Result<bool, Fault> {
    if accounts::read_account(txn, number)?.is_none() {
        return Ok(false);
    }
    Ok(links::on_link(txn, number, Event::Advanced { nonce: *nonce, from, to })?.answer == Answer::Done)
}
