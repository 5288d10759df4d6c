//! The port of what is under way at Ring: refreshes, authorization codes, confirmations and pauses, each noted before it is sent.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::act::Act;
use crate::domain::actor::Actor;
use crate::domain::code::{CodeEnd, Grant};
use crate::domain::confirm::Progress;
use crate::domain::heard::Heard;
use crate::domain::ids::{AccountId, UserId};
use crate::domain::time::Millis;
use crate::domain::tokens::Granted;
use crate::store::StoreError;
use crate::store::memory::load;
use crate::store::memory::shared::Shared;
use crate::store::rows::act::Whom;
use crate::store::rows::code::CodeId;
use crate::store::rows::journal::Which;
use crate::store::txn::claims::Claim;
use crate::store::txn::codes::{Exchanged, KeptCode, WaitingCode};
use crate::store::txn::disconnect::{Asking, NoAsking};
use crate::store::txn::journal::{NoRefresh, RefreshIntent};
use crate::store::txn::transaction::Txn;
use crate::store::txn::{acts, claims, codes, disconnect, journal, refresh};
use crate::store::writer::handle::Handle;

/// Where what is sent to Ring is noted first.
#[derive(Debug, Clone)]
pub struct Outbox(pub(crate) Arc<Handle>);

impl Outbox {
    // ── refreshes ──

    /// Begins a refresh: the intent is durable when this returns. No other attempt of the account begins before it is
    /// settled, or `lease` is over.
    ///
    /// # Errors
    /// When it could not be made durable: nothing may be sent.
    pub async fn begin_refresh(
        &self,
        number: u32,
        which: Which,
        lease: Duration,
    ) -> Result<Result<RefreshIntent, NoRefresh>, StoreError> {
        self.0.submit(move |txn| refresh::begin_refresh(txn, number, which, lease)).await
    }

    /// Records what was heard of an attempt, at that time, durably. Returns the new pair's generation, if there is one; nothing is recorded when the account
    /// was given other tokens, or lost them, since the attempt began.
    ///
    /// # Errors
    /// When it could not be made durable; it may be said again.
    pub async fn settle_refresh(
        &self,
        number: u32,
        fence: u64,
        at: Millis,
        heard: Arc<Heard<Granted>>,
    ) -> Result<Option<u64>, StoreError> {
        self.0.submit(move |txn| refresh::settle_refresh(txn, number, fence, at, &heard)).await
    }

    /// Puts an answer that lay outside the store beside its attempt, where the next attempt finds it. Returns whether it still matters.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn take_back_answer(
        &self,
        number: u32,
        fence: u64,
        sealed: Vec<u8>,
    ) -> Result<bool, StoreError> {
        self.0.submit(move |txn| refresh::take_back_answer(txn, number, fence, &sealed)).await
    }

    /// How many intents were ever noted: what a copy of the store from before is recognised by.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn epoch(&self) -> Result<u64, StoreError> {
        self.0.read(|shared: &Shared| load::epoch(&shared.view()?)).await
    }

    /// Raises the epoch above `seen`, at `by`'s word that the store may be used though it is an older copy. Returns it.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn raise_epoch(&self, seen: u64, by: Actor) -> Result<u64, StoreError> {
        let raise = move |txn: &mut Txn<'_>| {
            txn.core.epoch = txn.core.epoch.max(seen);
            acts::note(txn, Act::AcceptRestored, Whom::default(), None)?;
            journal::raise_epoch(txn)
        };
        self.0.submit_by(by, raise).await
    }

    // ── authorization codes ──

    /// Keeps a code; it is durable when this returns.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn keep_code(&self, grant: Grant) -> Result<KeptCode, StoreError> {
        self.0.submit(move |txn| codes::keep_code(txn, &grant)).await
    }

    /// Codes that a run before left on their way.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn waiting_codes(&self) -> Result<Vec<WaitingCode>, StoreError> {
        self.0.read(codes::waiting).await
    }

    /// Notes that the code is about to be sent, durably, and opens it. Nothing when it is at its end.
    ///
    /// # Errors
    /// When it could not be made durable: it must not be sent.
    pub async fn send_code(&self, id: CodeId) -> Result<Option<Grant>, StoreError> {
        self.0.submit(move |txn| codes::send_code(txn, id)).await
    }

    /// Notes that it was not sent after all.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn unsend_code(&self, id: CodeId) -> Result<(), StoreError> {
        self.0.submit(move |txn| codes::unsend_code(txn, id)).await
    }

    /// Notes what became of a code that brought no tokens, and destroys it.
    ///
    /// # Errors
    /// When it could not be made durable; it may be said again.
    pub async fn end_code(&self, id: CodeId, end: CodeEnd) -> Result<(), StoreError> {
        self.0.submit(move |txn| codes::end_code(txn, id, end)).await
    }

    /// Records the tokens that OAuth gave for a code, and destroys it. Returns the number of the account that stands for
    /// theirs until it is known.
    ///
    /// # Errors
    /// When it could not be made durable; it may be said again.
    pub async fn exchanged_code(&self, id: CodeId, exchanged: Arc<Exchanged>) -> Result<u32, StoreError> {
        self.0.submit(move |txn| codes::exchanged_code(txn, id, &exchanged)).await
    }

    // ── pauses before an account is disconnected ──

    /// Notes, for `by`, that Ring is about to be asked to pause the app on an account of `holder`, durably.
    ///
    /// # Errors
    /// When it could not be made durable: Ring must not be asked.
    pub async fn begin_pause(
        &self,
        account: AccountId,
        holder: Option<UserId>,
        by: Actor,
    ) -> Result<Result<Asking, NoAsking>, StoreError> {
        self.0.submit_by(by, move |txn| disconnect::begin(txn, &account, holder.as_ref())).await
    }

    /// Notes that Ring has not paused it, durably.
    ///
    /// # Errors
    /// When it could not be made durable: it counts as a request without an answer.
    pub async fn not_paused(&self, number: u32) -> Result<(), StoreError> {
        self.0.submit(move |txn| disconnect::end(txn, number)).await
    }

    // ── confirmations of claims ──

    /// The numbers of accounts whose claim is not at its end.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn claims_under_way(&self) -> Result<Vec<u32>, StoreError> {
        self.0.read(claims::under_way).await
    }

    /// Notes how far the claim with this visit is. Returns whether it was as far as `from`, still.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn advance_claim(&self, claim: &Claim, to: Progress) -> Result<bool, StoreError> {
        let (number, nonce, from) = (claim.number, *claim.visit.nonce(), claim.progress);
        self.0.submit(move |txn| claims::advance_claim(txn, number, &nonce, from, to)).await
    }
}
