//! The request that Ring pauses the app on an account, and what it comes to.

use tokio::sync::oneshot;

use crate::domain::actor::Actor;
use crate::domain::disconnect::{AtRing, NotPaused};
use crate::domain::ids::{AccountId, UserId};
use crate::store::AccountRefusal;

/// Requests that wait to be begun.
pub(super) const WAITING: usize = 16;

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pause {
    /// The account may be forgotten.
    Ready(AtRing),
    /// Ring is not known to have paused the app; whether it may have.
    Not { why: NotPaused, may_be_paused: bool },
    /// There is no such account.
    Account(AccountRefusal),
    /// Another user has it than the caller has seen.
    Moved,
    /// Very many others are half way: they come first.
    TooMany,
}

/// Ring is to pause the app on an account.
#[derive(Debug)]
pub(super) struct PauseRequest {
    pub account: AccountId,
    pub number: u32,
    /// Who had the account when the caller was allowed to ask.
    pub holder: Option<UserId>,
    pub by: Actor,
    /// An earlier request had no answer.
    pub asked_before: bool,
    pub answer: oneshot::Sender<Pause>,
}
