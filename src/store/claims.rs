//! Claims at rest: which accounts may be claimed, who claimed them with which nonce, and how far Ring has been told.
//!
//! A row is there for every account that a claim may be for: one that nobody has claimed, one that Ring gave a code for since
//! its last claim, one whose claim is not done, and for a while after that. The row is what a nonce is looked for in, so it has all
//! that takes.

use std::collections::BTreeSet;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::accounts::AccountRow;
use super::batch::{Batch, Staged};
use super::claim_row::{ClaimRow, LastClaim};
use super::codec::Damaged;
use super::error::Fault;
use super::ports::Claimable;
use super::shared::Shared;
use super::tables::{ACCOUNTS, CLAIMS, begin_read};
use crate::domain::claim::{Bid, Last, Ruling, Standing};
use crate::domain::confirm::{Progress, Step};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::{Change, LinkState};
use crate::domain::released::Released;
use crate::domain::time::Millis;
use crate::domain::visit::Visit;

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
pub(super) fn claimable(
    shared: &Shared,
    now: Millis,
    mut matches: impl FnMut(&str) -> bool,
) -> Result<Claimable, Fault> {
    let (mut after, mut seen) = (None, Claimable::default());
    loop {
        let mut rows = 0;
        let read = |number, row: &ClaimRow| {
            rows += 1;
            if row.is_claimable(now) {
                if matches(row.account.as_str()) {
                    seen.found = Some((number, row.account.as_str().to_owned()));
                }
            } else if row.is_stale(now) && seen.stale.len() < STALE {
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
pub(super) fn claimable_among(
    shared: &Shared,
    among: Option<&BTreeSet<u32>>,
    now: Millis,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<(u32, String)>, Fault> {
    let mut found = Vec::new();
    let mut see = |number: u32, row: &ClaimRow| {
        if row.is_claimable(now) && wanted(row.account.as_str()) {
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
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(CLAIMS)?;
    for &number in numbers {
        if let Some(value) = table.get(number)? {
            see(number, &ClaimRow::decode(number, value.value())?);
        }
    }
    Ok(found)
}

/// The numbers of accounts whose claim is not at its end.
pub(super) fn under_way(shared: &Shared) -> Result<Vec<u32>, Fault> {
    let (mut after, mut numbers) = (None, Vec::new());
    loop {
        let mut rows = 0;
        let read = |number, row: &ClaimRow| {
            rows += 1;
            let under_way = row.last.as_ref().is_some_and(|last| last.progress.call().is_some());
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
    let txn = shared.with_db(begin_read)?;
    let from = after.map_or(0, |after| after.saturating_add(1));
    for row in txn.open_table(CLAIMS)?.range(from..)? {
        let (number, value) = row?;
        let number = number.value();
        let Ok(row) = ClaimRow::decode(number, value.value()) else {
            super::shared::bump(&shared.stats.damaged);
            tracing::error!(account_number = number, "the record of who may claim an account is damaged");
            continue;
        };
        if !read(number, &row) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Lets every account that nobody has be claimed, in a file from before there were claims.
pub(super) fn open_unclaimed(txn: &WriteTransaction) -> Result<(), Fault> {
    let (accounts, mut claims) = (txn.open_table(ACCOUNTS)?, txn.open_table(CLAIMS)?);
    for row in accounts.iter()? {
        let (number, value) = row?;
        let number = number.value();
        let row = AccountRow::decode(number, value.value())?;
        if let (LinkState::Unclaimed, Some(account)) = (row.state, &row.id) {
            let row = ClaimRow { open: true, ..ClaimRow::new(account) };
            claims.insert(number, row.encode(number).as_slice())?;
        }
    }
    Ok(())
}

/// How far the account's last claim is.
pub(super) fn step_of(txn: &ReadTransaction, number: u32) -> Result<Option<Step>, Fault> {
    let table = txn.open_table(CLAIMS)?;
    let Some(value) = table.get(number)? else { return Ok(None) };
    let row = ClaimRow::decode(number, value.value()).ok();
    Ok(row.and_then(|row| row.last).map(|last| last.progress.step))
}

pub(super) fn claim_of(shared: &Shared, number: u32) -> Result<Option<Claim>, Fault> {
    let txn = shared.with_db(begin_read)?;
    let table = txn.open_table(CLAIMS)?;
    let Some(value) = table.get(number)? else { return Ok(None) };
    let ClaimRow { account, code_at, last, .. } = ClaimRow::decode(number, value.value())?;
    let Some(LastClaim { visit, user, identifier, progress, .. }) = last else { return Ok(None) };
    let user = shared.users().name(user).and_then(|name| UserId::new(name).ok());
    let user = user.ok_or(Damaged("claims"))?;
    Ok(Some(Claim { number, account, user, visit, identifier, progress, code_at }))
}

impl Batch<'_> {
    pub(super) fn claim(&mut self, number: u32, bid: &Bid, skew: Duration) -> Result<Claimed, Fault> {
        let Some(row) = self.read_account(number)? else { return Ok(Claimed::Not(Ruling::NoMatch)) };
        let Some(claim) = self.claim_row(number)? else { return Ok(Claimed::Not(Ruling::NoMatch)) };
        let holder = self.user_name(row.holder());
        let user_of_last = claim.last.as_ref().and_then(|last| self.user_name(last.user));
        let last = claim.last.as_ref().zip(user_of_last.as_ref()).map(|(last, user)| Last {
            nonce: last.visit.nonce(),
            time: last.visit.at(),
            user,
            step: last.progress.step,
        });
        let standing = Standing {
            link: row.state,
            holder: holder.as_ref(),
            open: claim.open,
            removed_at: Some(self.believed(row.removed_at)).filter(|at| at.0 != 0),
            last,
        };
        let ruling = standing.rule(&bid.visit, &bid.user, self.now, skew);
        if ruling != Ruling::Take {
            return Ok(Claimed::Not(ruling));
        }
        let user = self.user_number(&bid.user)?;
        // Where Ring may have taken a POST of the claim before, it need not be mailed again; what it gave a code for since, it has
        // taken nothing of.
        let progress = match &claim.last {
            Some(last) if last.progress.call().is_some() && !claim.open => last.progress,
            _ => Progress::NEW,
        };
        let (visit, identifier) = (bid.visit.clone(), bid.identifier.clone());
        let last = LastClaim { visit, user, identifier, progress, claimed_at: self.now };
        self.write_claim(number, &ClaimRow { open: false, last: Some(last), ..claim })?;
        let state = row.state.after(Change::Claim);
        let linked_at = if row.linked_at == Millis(0) { self.now } else { row.linked_at };
        self.set_link(number, &AccountRow { state, linked_at, ..row.given_to(user) })?;
        let released = self.release(number, user, &bid.user)?;
        Ok(Claimed::Taken { released })
    }

    pub(super) fn advance_claim(
        &mut self,
        number: u32,
        nonce: &[u8; 32],
        from: Progress,
        to: Progress,
    ) -> Result<bool, Fault> {
        let Some(mut row) = self.claim_row(number)? else { return Ok(false) };
        let Some(last) = row.last.as_mut().filter(|last| last.visit.nonce() == nonce) else {
            return Ok(false);
        };
        if last.progress != from {
            return Ok(false);
        }
        last.progress = to;
        last.forget_if_over();
        self.write_claim(number, &row)?;
        match to.step {
            Step::Done => self.change_link(number, Change::Confirmed)?,
            Step::Refused(_) => self.change_link(number, Change::RefusedByRing)?,
            _ => {}
        }
        Ok(true)
    }

    fn change_link(&mut self, number: u32, change: Change) -> Result<(), Fault> {
        let row = self.read_account(number)?.ok_or(Damaged("accounts"))?;
        let state = row.state.after(change);
        self.set_link(number, &AccountRow { state, ..row })
    }

    /// Nobody has claimed the account since it came.
    pub(super) fn open_claim(&mut self, number: u32, account: &AccountId) -> Result<(), Fault> {
        let row = self.claim_row(number)?.unwrap_or_else(|| ClaimRow::new(account));
        self.write_claim(number, &ClaimRow { open: true, ..row })
    }

    /// Ring gave a code for the account, at `code_at`, over a link that began at `linked_at`. A claim that is under way is for
    /// it too, and Ring has taken nothing of that; else it waits to be claimed.
    pub(super) fn code_came(
        &mut self,
        number: u32,
        account: &AccountId,
        code_at: Millis,
        linked_at: Millis,
    ) -> Result<(), Fault> {
        let mut row = self.claim_row(number)?.unwrap_or_else(|| ClaimRow::new(account));
        if !row.open {
            row.before = linked_at;
        }
        row.code_at = code_at;
        row.open = true;
        if let Some(last) = row.last.as_mut().filter(|last| last.progress.call().is_some()) {
            (last.progress, row.open) = (Progress::NEW, false);
        }
        self.write_claim(number, &row)
    }

    /// When the last code came for the account; 0 where none did.
    pub(super) fn last_code(&mut self, number: u32) -> Result<Millis, Fault> {
        Ok(self.claim_row(number)?.map_or(Millis(0), |row| row.code_at))
    }

    /// When the link before the present tokens began, unless somebody claimed the account after a removal at `removed_at`.
    pub(super) fn link_before(&mut self, number: u32, removed_at: Millis) -> Result<Option<Millis>, Fault> {
        let is_of_before = |row: &ClaimRow| {
            let claimed_before = row.last.as_ref().is_some_and(|last| last.visit.at() <= removed_at);
            row.before != Millis(0) && (row.open || claimed_before)
        };
        Ok(self.claim_row(number)?.filter(is_of_before).map(|row| row.before))
    }

    /// The operator gave the account to a user. What Ring was told for another is at its end; where Ring gave a code, it still
    /// waits for a claim.
    pub(super) fn give_claim(&mut self, number: u32, user: u32) -> Result<(), Fault> {
        let Some(mut row) = self.claim_row(number)? else { return Ok(()) };
        row.open &= row.code_at != Millis(0);
        // No removal from before this ends what the operator did.
        row.before = Millis(0);
        if let Some(last) = row.last.as_mut().filter(|last| last.user != user) {
            // Whoever has it now may go on where Ring was not told to the end.
            row.open |= last.progress.step != Step::Done && row.code_at != Millis(0);
            last.progress.step = Step::Undone;
            last.forget_if_over();
        }
        if row.open || row.last.is_some() {
            return self.write_claim(number, &row);
        }
        self.drop_claim(number)
    }

    /// The user removed the app: what was claimed is at its end. Only what came since `is_open` to be claimed.
    pub(super) fn undo_claim(&mut self, number: u32, is_open: bool) -> Result<(), Fault> {
        let Some(mut row) = self.claim_row(number)? else { return Ok(()) };
        row.open = is_open;
        if let Some(last) = &mut row.last {
            last.progress.step = Step::Undone;
            last.forget_if_over();
        } else if !is_open {
            return self.drop_claim(number);
        }
        self.write_claim(number, &row)
    }

    /// `app_integration_added`: Ring has completed what was claimed, if it speaks of this link and not of one before.
    pub(super) fn confirm_claim(&mut self, number: u32, happened_at: Millis) -> Result<(), Fault> {
        let Some(mut row) = self.claim_row(number)? else { return Ok(()) };
        let removed_at = self.read_account(number)?.map_or(Millis(0), |row| row.removed_at);
        let before = self.believed(row.code_at).max(self.believed(removed_at));
        // Ring can't have completed a claim before it sent its browser.
        let is_of_it = |last: &&mut LastClaim| happened_at > before.max(last.visit.at());
        let Some(last) = row.last.as_mut().filter(is_of_it) else { return Ok(()) };
        if matches!(last.progress.step, Step::Done | Step::Undone) {
            return Ok(());
        }
        last.progress.step = Step::Done;
        last.forget_if_over();
        self.write_claim(number, &row)?;
        self.change_link(number, Change::Confirmed)
    }

    /// A time that was noted by a clock that was ahead tells nothing.
    pub(super) fn believed(&self, noted: Millis) -> Millis {
        if noted > self.now { Millis(0) } else { noted }
    }

    pub(super) fn forget_stale_claim(&mut self, number: u32) -> Result<(), Fault> {
        let is_stale = self.claim_row(number)?.is_some_and(|row| row.is_stale(self.now));
        if is_stale { self.drop_claim(number) } else { Ok(()) }
    }

    pub(super) fn drop_claim(&mut self, number: u32) -> Result<(), Fault> {
        if self.tables.claims()?.remove(number)?.is_some() {
            self.staged.push(Staged::Claim { account: number });
        }
        Ok(())
    }

    /// Nothing as well where it does not read: nobody can claim the account then, and everything else goes on.
    fn claim_row(&mut self, number: u32) -> Result<Option<ClaimRow>, Fault> {
        let table = self.tables.claims()?;
        let Some(value) = table.get(number)? else { return Ok(None) };
        let row = ClaimRow::decode(number, value.value());
        if row.is_err() {
            super::shared::bump(&self.shared.stats.damaged);
        }
        Ok(row.ok())
    }

    fn write_claim(&mut self, number: u32, row: &ClaimRow) -> Result<(), Fault> {
        let value = row.encode(number);
        self.tables.claims()?.insert(number, value.as_slice())?;
        self.staged.push(Staged::Claim { account: number });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::*;
    use crate::store::tables::{begin_write, create_all};

    #[test]
    fn what_nobody_had_before_there_were_claims_may_be_claimed() {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = begin_write(&db).unwrap();
        create_all(&txn).unwrap();
        for (number, state) in (1..).zip(LinkState::ALL) {
            let id = (state != LinkState::Forgotten).then(|| AccountId::new(state.name()).unwrap());
            let never = Millis(0);
            let row = AccountRow {
                id,
                user: 0,
                state,
                created_at: never,
                linked_at: never,
                removed_at: never,
                former: 0,
            };
            txn.open_table(ACCOUNTS).unwrap().insert(number, row.encode(number).as_slice()).unwrap();
        }
        open_unclaimed(&txn).unwrap();
        let claims = txn.open_table(CLAIMS).unwrap();
        let found: Vec<_> = claims.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        assert_eq!(found, [1], "the unclaimed one");
    }
}
