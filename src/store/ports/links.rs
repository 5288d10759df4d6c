//! The port of links: accounts, their users, their tokens, and claims.

use crate::store::command::Claimable;
use crate::store::txn::{forget, import, receipts};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::actor::Actor;
use crate::domain::arrival::Arrival;
use crate::domain::claim::Bid;
use crate::domain::deletion::Deletion;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::refresh::Notice;
use crate::domain::time::Millis;
use crate::store::StoreError;
use crate::store::command::STEP;
use crate::store::command::{AccountRefusal, AccountView, Bound, Import};
use crate::store::kv::error::Fault;
use crate::store::memory::changes::Subscription;
use crate::store::memory::shared::Shared;
use crate::store::read::export::{ExportFrom, KeptEvent, Whose};
use crate::store::read::{export, reader};
use crate::store::txn::claims::{Claim, Claimed};
use crate::store::txn::journal::{Access, TokenRecord};
use crate::store::txn::transaction::Txn;
use crate::store::txn::unidentified::{Arrived, Identified};
use crate::store::txn::{claim_rows, claims, refresh, rivals, unidentified};
use crate::store::writer::handle::Handle;

/// Where it is kept whose an account is, and with which tokens.
#[derive(Debug, Clone)]
pub struct Links(pub(crate) Arc<Handle>, pub(crate) Actor);

impl Links {
    /// The same, for changes that `actor` causes.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        Self(Arc::clone(&self.0), actor)
    }

    // ── accounts ──

    /// Puts an account with its user and tokens into the store.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn import(&self, import: Import) -> Result<Result<Bound, AccountRefusal>, StoreError> {
        self.submit(move |txn| import::import(txn, &import)).await
    }

    /// Puts accounts into the store, in their order and in one commit; each is taken or refused on its own.
    ///
    /// # Errors
    /// When it could not be made durable: none is taken.
    pub async fn import_all(
        &self,
        imports: Vec<Import>,
    ) -> Result<Vec<Result<Bound, AccountRefusal>>, StoreError> {
        self.submit(move |txn| imports.iter().map(|import| import::import(txn, import)).collect()).await
    }

    /// Gives an account another user; events held for it go to that user's queues.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn set_user(
        &self,
        account: AccountId,
        user: UserId,
        replace: bool,
    ) -> Result<Result<Bound, AccountRefusal>, StoreError> {
        self.submit(move |txn| import::set_user(txn, &account, &user, replace)).await
    }

    /// Destroys an account with its keys, tokens and events: in one commit nobody can read any of it any more, and then
    /// its events are taken out step by step. Queues that may have got them are told by an event.
    ///
    /// # Errors
    /// When it could not be made durable. If the account is unknown after that, the store takes out the rest by itself.
    pub async fn forget(&self, account: AccountId) -> Result<Result<Deletion, AccountRefusal>, StoreError> {
        self.forget_because(account, None).await
    }

    /// The same, with the reason for the audit.
    ///
    /// # Errors
    /// As of [`Links::forget`].
    pub async fn forget_because(
        &self,
        account: AccountId,
        why: Option<&'static str>,
    ) -> Result<Result<Deletion, AccountRefusal>, StoreError> {
        let (number, mut deletion) = match self.submit(move |txn| forget::forget(txn, &account, why)).await? {
            Ok(forgotten) => forgotten,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut more = true;
        while more {
            let step = self.0.submit(move |txn| forget::drop_events_of(txn, number, STEP)).await?;
            (deletion.dead_letters, more) = step;
        }
        while self.0.submit(receipts::erase).await? {}
        Ok(Ok(deletion))
    }

    async fn submit<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Txn<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.submit_by(self.1.clone(), run).await
    }

    /// One account.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn account(&self, account: AccountId) -> Result<Option<AccountView>, StoreError> {
        let read = |shared: &Shared, number, account: &AccountId| {
            Ok(reader::account(shared, number)?.filter(|view| view.account == *account))
        };
        self.read_of(account, read).await
    }

    /// Up to `limit` accounts behind the number `after` (0 for the first), and where to go on.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn accounts(
        &self,
        after: u32,
        limit: usize,
    ) -> Result<(Vec<AccountView>, Option<u32>), StoreError> {
        self.0.read(move |shared| reader::accounts(shared, after, limit)).await
    }

    /// Those of these numbers that are accounts, in the same order.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn accounts_of(&self, numbers: Vec<u32>) -> Result<Vec<AccountView>, StoreError> {
        let read = move |shared: &Shared| {
            numbers.iter().filter_map(|&number| reader::account(shared, number).transpose()).collect()
        };
        self.0.read(read).await
    }

    /// What `read` finds of the account under its number; it must find nothing where the number is another's.
    async fn read_of<T: Send + 'static>(
        &self,
        account: AccountId,
        read: fn(&Shared, u32, &AccountId) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>, StoreError> {
        let look = move |shared: &Shared| {
            let Some(number) = reader::number_of(shared, &account)? else { return Ok(None) };
            read(shared, number, &account)
        };
        self.0.read(look).await
    }

    // ── what is kept of one user's account ──

    /// A page of events that are kept of it, and where to go on.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn kept(
        &self,
        whose: Whose,
        from: ExportFrom,
    ) -> Result<(Vec<KeptEvent>, Option<ExportFrom>), StoreError> {
        self.0.read(move |shared| export::page(shared, whose, from)).await
    }

    /// How many devices are known as the account's.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn devices_of(&self, number: u32) -> Result<u64, StoreError> {
        self.0.read(move |shared| export::devices(shared, number)).await
    }

    // ── tokens whose account is not known yet ──

    /// Takes in a refresh token; one that is here already is for the user who asked last.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn arrive(&self, arrival: Arrival) -> Result<Arrived, StoreError> {
        self.0.submit(move |txn| unidentified::arrive(txn, &arrival)).await
    }

    /// The numbers of accounts whose own id is not known yet.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn arriving(&self) -> Result<Vec<u32>, StoreError> {
        self.0.read(reader::arriving).await
    }

    /// Gives what arrived under `number` to its account, and the account to the user it arrived for, unless another one has it.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn identify(&self, number: u32, account: AccountId) -> Result<Identified, StoreError> {
        self.0.submit(move |txn| unidentified::identify(txn, number, &account)).await
    }

    /// Forgets what arrived under `number`.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn turn_away(&self, number: u32) -> Result<(), StoreError> {
        self.0.submit(move |txn| unidentified::leave_arrival(txn, number).map(drop)).await
    }

    /// Notes that Ring does not honour the access token of what arrived under `number`.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn refused_by_ring(&self, number: u32) -> Result<(), StoreError> {
        self.0.submit(move |txn| rivals::note_refused(txn, number)).await
    }

    // ── tokens ──

    /// Up to `limit` accounts with tokens behind number `after`, in order.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn token_records(&self, after: u32, limit: usize) -> Result<Vec<TokenRecord>, StoreError> {
        self.0.read(move |shared| reader::token_records(shared, after, limit)).await
    }

    /// One account's; nothing when it has no tokens.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn token_record(&self, number: u32) -> Result<Option<TokenRecord>, StoreError> {
        let next = self.token_records(number.saturating_sub(1), 1).await?.pop();
        Ok(next.filter(|record| record.number == number))
    }

    /// An account's access token. Never its refresh token.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn access(&self, account: AccountId) -> Result<Option<Access>, StoreError> {
        self.read_of(account, reader::access).await
    }

    /// The same, by number; also of one whose id is not known yet.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn access_of(&self, number: u32) -> Result<Option<Access>, StoreError> {
        let read = move |shared: &Shared| {
            let Some(view) = reader::account(shared, number)? else { return Ok(None) };
            reader::access(shared, number, &view.account)
        };
        self.0.read(read).await
    }

    /// Notes what people are told of an account's tokens, and with it that OAuth ended them, if it did; in the same commit the event
    /// that tells it goes to its queues. Returns the account, if it still has the tokens that were renewed then (to the second).
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn tell(
        &self,
        number: u32,
        renewed_at: Millis,
        notice: Notice,
    ) -> Result<Option<AccountId>, StoreError> {
        self.0.submit(move |txn| refresh::tell(txn, number, renewed_at, notice)).await
    }

    /// Tells which accounts' tokens are put in or destroyed from now on.
    pub fn token_changes(&self) -> Subscription {
        self.0.shared.token_changes.subscribe()
    }

    // ── claims ──

    /// Looks at every account that may be claimed, by its id, for the last one that `matches`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn claimable(
        &self,
        now: Millis,
        matches: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Result<Claimable, StoreError> {
        self.0.read(move |shared| claims::claimable(shared, now, matches)).await
    }

    /// The accounts under these numbers, or all, that may be claimed and are `wanted`, by their ids.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn claimable_among(
        &self,
        among: Option<BTreeSet<u32>>,
        now: Millis,
        wanted: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Result<Vec<(u32, String)>, StoreError> {
        self.0.read(move |shared| claims::claimable_among(shared, among.as_ref(), now, wanted)).await
    }

    /// Takes away what is known of claims that are long over.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn forget_claims(&self, numbers: Vec<u32>) -> Result<(), StoreError> {
        let forget = move |txn: &mut Txn<'_>| {
            numbers.iter().try_for_each(|&number| claim_rows::forget_stale_claim(txn, number))
        };
        self.0.submit(forget).await
    }

    /// Claims the account under `number` for the bid's user, if the visit, which is the account's, may.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn claim(&self, number: u32, bid: Bid, skew: Duration) -> Result<Claimed, StoreError> {
        self.submit(move |txn| claims::claim(txn, number, &bid, skew)).await
    }

    /// The account's last claim.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn claim_of(&self, number: u32) -> Result<Option<Claim>, StoreError> {
        self.0.read(move |shared| claims::claim_of(shared, number)).await
    }

    /// Tells which accounts come that may be claimed, and which claims go on, from now on.
    pub fn claim_changes(&self) -> Subscription {
        self.0.shared.claim_changes.subscribe()
    }
}
