//! Claims at rest: which accounts may be claimed, who claimed them with which nonce, and how far Ring has been told.
//!
//! A row is there for every account that a claim may be for: one that nobody has claimed, one that Ring gave a code for since
//! its last claim, one whose claim is not done, and for a while after that. The row is what a nonce is looked for in, so it has all
//! that takes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BufMut};
use data_encoding::BASE64URL_NOPAD;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::accounts::AccountRow;
use super::batch::{Batch, Staged};
use super::codec::{Damaged, get_text, put_text, stamp, stamped};
use super::error::Fault;
use super::shared::Shared;
use super::tables::{ACCOUNTS, CLAIMS, begin_read};
use super::{Store, StoreError};
use crate::domain::claim::{ANSWERED_FOR, Bid, Last, Ruling, Standing};
use crate::domain::confirm::{Progress, Step};
use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::{Change, LinkState};
use crate::domain::time::Millis;
use crate::domain::visit::Visit;

const VERSION: u8 = 1;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The account is the user's, and so many held events went to its queues.
    Taken {
        released: u64,
    },
    Not(Ruling),
}

impl Store {
    /// Shows every account that may be claimed, by its number and id. Returns some that need not be looked at again, for
    /// [`Store::forget_claims`].
    ///
    /// # Errors
    /// When the file can't be read. Blocks for short reads, as many as there are pages of accounts.
    pub fn claimable(&self, now: Millis, mut show: impl FnMut(u32, &str)) -> Result<Vec<u32>, StoreError> {
        let (mut after, mut stale) = (None, Vec::new());
        loop {
            let mut rows = 0;
            let read = |number, row: &ClaimRow| {
                rows += 1;
                if row.is_claimable(now) {
                    show(number, row.account.as_str());
                } else if stale.len() < STALE {
                    stale.push(number);
                }
                rows < PAGE
            };
            match each_row(&self.shared, after, read)? {
                Some(last) => after = Some(last),
                None => return Ok(stale),
            }
        }
    }

    /// Takes away what is known of claims that are long over.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn forget_claims(&self, numbers: Vec<u32>) -> Result<(), StoreError> {
        self.write(move |batch| numbers.iter().try_for_each(|&number| batch.forget_stale_claim(number))).await
    }

    /// Claims the account under `number` for the bid's user, if the visit, which is the account's, may.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn claim(&self, number: u32, bid: Bid, skew: Duration) -> Result<Claimed, StoreError> {
        self.write(move |batch| batch.claim(number, &bid, skew)).await
    }

    /// Notes how far the claim with this visit is. Returns whether it was as far as `from`, still.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn advance_claim(&self, claim: &Claim, to: Progress) -> Result<bool, StoreError> {
        let (number, nonce, from) = (claim.number, *claim.visit.nonce(), claim.progress);
        self.write(move |batch| batch.advance_claim(number, &nonce, from, to)).await
    }

    /// The account's last claim.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a short read.
    pub fn claim_of(&self, number: u32) -> Result<Option<Claim>, StoreError> {
        Ok(claim_of(&self.shared, number)?)
    }

    /// The numbers of accounts whose claim is not at its end.
    ///
    /// # Errors
    /// When the file can't be read. Blocks for a read of every account that may be claimed.
    pub fn claims_under_way(&self) -> Result<Vec<u32>, StoreError> {
        let (mut after, mut numbers) = (None, Vec::new());
        loop {
            let mut rows = 0;
            let read = |number, row: &ClaimRow| {
                rows += 1;
                let under_way = row.last.as_ref().is_some_and(|last| last.progress.call().is_some());
                numbers.extend(under_way.then_some(number));
                rows < PAGE
            };
            match each_row(&self.shared, after, read)? {
                Some(last) => after = Some(last),
                None => return Ok(numbers),
            }
        }
    }

    /// Accounts whose claims changed since this was last asked; [`Store::claims_changed`] tells when.
    pub fn changed_claims(&self) -> Vec<u32> {
        std::mem::take(&mut *self.shared.changed_claims()).into_iter().collect()
    }

    /// Whether the file was read anew since this was last asked: claims may be others than were told.
    pub fn claims_were_reloaded(&self) -> bool {
        self.shared.claims_reloaded.swap(false, Ordering::AcqRel)
    }

    /// Changes when an account comes that may be claimed, or a claim goes on.
    pub fn claims_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.claims_changed.subscribe()
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

fn claim_of(shared: &Shared, number: u32) -> Result<Option<Claim>, Fault> {
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
    fn claim(&mut self, number: u32, bid: &Bid, skew: Duration) -> Result<Claimed, Fault> {
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
            removed_at: Some(row.removed_at).filter(|at| at.0 != 0),
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
        self.set_link(number, &AccountRow { user, state, linked_at, ..row })?;
        let released = self.release(number, user, &bid.user)?;
        Ok(Claimed::Taken { released })
    }

    fn advance_claim(
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

    /// When the link before the present tokens began, while nobody has claimed the account since they came.
    pub(super) fn link_before(&mut self, number: u32) -> Result<Option<Millis>, Fault> {
        let row = self.claim_row(number)?.filter(|row| row.open && row.before != Millis(0));
        Ok(row.map(|row| row.before))
    }

    /// The operator gave the account to a user. What Ring was told for another is at its end; where Ring gave a code, it still
    /// waits for a claim.
    pub(super) fn give_claim(&mut self, number: u32, user: u32) -> Result<(), Fault> {
        let Some(mut row) = self.claim_row(number)? else { return Ok(()) };
        row.open &= row.code_at != Millis(0);
        if let Some(last) = row.last.as_mut().filter(|last| last.user != user) {
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
        let before = row.code_at.max(removed_at);
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

    fn forget_stale_claim(&mut self, number: u32) -> Result<(), Fault> {
        let is_stale = self.claim_row(number)?.is_some_and(|row| !row.is_claimable(self.now));
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

/// A row of `claims`.
#[derive(Debug, Clone)]
struct ClaimRow {
    account: AccountId,
    /// See [`Standing::open`].
    open: bool,
    /// When Ring gave the last code for it; 0 where none came.
    code_at: Millis,
    /// When the link began that the code came over, while it is open; 0 where there was none.
    before: Millis,
    last: Option<LastClaim>,
}

#[derive(Debug, Clone)]
struct LastClaim {
    visit: Visit,
    user: u32,
    identifier: Option<String>,
    progress: Progress,
    claimed_at: Millis,
}

impl ClaimRow {
    fn new(account: &AccountId) -> Self {
        let never = Millis(0);
        Self { account: account.clone(), open: false, code_at: never, before: never, last: None }
    }

    fn is_claimable(&self, now: Millis) -> bool {
        let asked_for = |last: &LastClaim| {
            let is_recent = now.since(last.claimed_at) <= ANSWERED_FOR;
            is_recent || !matches!(last.progress.step, Step::Done | Step::Undone)
        };
        self.open || self.last.as_ref().is_some_and(asked_for)
    }

    fn encode(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.open));
        out.put_u64(self.code_at.0);
        out.put_u64(self.before.0);
        put_text(&mut out, Some(self.account.as_str()));
        if let Some(last) = &self.last {
            out.extend_from_slice(last.visit.nonce());
            out.put_u32(last.user);
            out.extend_from_slice(&last.progress.to_bytes());
            out.put_u64(last.claimed_at.0);
            put_text(&mut out, Some(last.visit.time()));
            put_text(&mut out, last.identifier.as_deref());
        }
        stamp("claims", &number.to_be_bytes(), &mut out);
        out
    }

    fn decode(number: u32, value: &[u8]) -> Result<Self, Damaged> {
        let body = stamped("claims", &number.to_be_bytes(), value)?;
        Self::read(body).ok_or(Damaged("claims"))
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let open = from.try_get_u8().ok()? != 0;
        let (code_at, before) = (Millis(from.try_get_u64().ok()?), Millis(from.try_get_u64().ok()?));
        let account = AccountId::new(&get_text(&mut from)??).ok()?;
        let last = if from.is_empty() { None } else { Some(LastClaim::read(from)?) };
        Some(Self { account, open, code_at, before, last })
    }
}

impl LastClaim {
    /// What only Ring needs to be told goes with the last step.
    fn forget_if_over(&mut self) {
        if self.progress.call().is_none() {
            self.identifier = None;
        }
    }

    fn read(mut from: &[u8]) -> Option<Self> {
        let nonce: [u8; 32] = *from.first_chunk()?;
        from.advance(nonce.len());
        let user = from.try_get_u32().ok()?;
        let progress = Progress::from_bytes([from.try_get_u8().ok()?, from.try_get_u8().ok()?])?;
        let claimed_at = Millis(from.try_get_u64().ok()?);
        let visit = Visit::new(&BASE64URL_NOPAD.encode(&nonce), &get_text(&mut from)??).ok()?;
        let identifier = get_text(&mut from)?;
        Some(Self { visit, user, identifier, progress, claimed_at })
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::*;
    use crate::store::tables::{begin_write, create_all};

    fn visit(time: &str) -> Visit {
        Visit::new(&BASE64URL_NOPAD.encode(&[7; 32]), time).unwrap()
    }

    fn rows() -> Vec<ClaimRow> {
        let account = AccountId::new("a").unwrap();
        let claim = |identifier: Option<&str>| LastClaim {
            visit: visit("1700000000000"),
            user: 3,
            identifier: identifier.map(str::to_owned),
            progress: Progress { step: Step::Patching { posted: true, again: false }, posts: 2 },
            claimed_at: Millis(9),
        };
        [None, Some(claim(None)), Some(claim(Some("a***@example.com")))]
            .map(|last| ClaimRow { open: true, code_at: Millis(1), last, ..ClaimRow::new(&account) })
            .into()
    }

    #[test]
    fn rows_come_back_and_belong_to_their_account() {
        for row in rows() {
            let value = row.encode(3);
            assert_eq!(ClaimRow::decode(3, &value).unwrap().encode(3), value);
            assert!(ClaimRow::decode(4, &value).is_err());
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1;
                assert!(ClaimRow::decode(3, &changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_claim_can_be_asked_about_for_a_while_and_is_forgotten_then() {
        let row = |step, open| {
            let mut row = rows().remove(1);
            row.open = open;
            row.last.as_mut().unwrap().progress.step = step;
            row
        };
        let (soon, later) = (Millis(9).plus(ANSWERED_FOR), Millis(10).plus(ANSWERED_FOR));
        assert!(row(Step::Done, false).is_claimable(soon) && !row(Step::Done, false).is_claimable(later));
        assert!(row(Step::Done, true).is_claimable(later) && row(Step::Posting, false).is_claimable(later));
    }

    #[test]
    fn what_nobody_had_before_there_were_claims_may_be_claimed() {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = begin_write(&db).unwrap();
        create_all(&txn).unwrap();
        for (number, state) in (1..).zip(LinkState::ALL) {
            let id = (state != LinkState::Forgotten).then(|| AccountId::new(state.name()).unwrap());
            let never = Millis(0);
            let row =
                AccountRow { id, user: 0, state, created_at: never, linked_at: never, removed_at: never };
            txn.open_table(ACCOUNTS).unwrap().insert(number, row.encode(number).as_slice()).unwrap();
        }
        open_unclaimed(&txn).unwrap();
        let claims = txn.open_table(CLAIMS).unwrap();
        let found: Vec<_> = claims.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        assert_eq!(found, [1], "the unclaimed one");
    }
}
