//! A refresh token whose account nobody knows yet: exchanged first, since only its access token tells whose it is.

use super::access_token::Reason;
use super::ids::{AccountId, UserId};
use super::released::Released;
use super::secret::Secret;

/// A refresh token that somebody put in without its account.
#[derive(Debug)]
pub struct Arrival {
    pub refresh_token: Secret<String>,
    pub user: Option<UserId>,
    /// Also when another user has the account.
    pub replace: bool,
    /// The only account that whoever brings it may give a user; any, if nothing.
    pub expects: Option<AccountId>,
}

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// Its account has new tokens.
    Linked { account: AccountId, created: bool, released: Released },
    /// It goes on by itself; why it is not done yet.
    Pending(Reason),
}

/// Why it is not taken. Nothing of it is kept, unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    #[error(
        "Ring's OAuth does not honour this refresh token (invalid_grant): it was used before, has lapsed, or belongs to \
         another app"
    )]
    NotHonoured,
    #[error(
        "without account_id the token has to be exchanged at Ring, and the configuration has no [ring] client_id"
    )]
    NotConfigured,
    #[error(
        "without account_id the token has to be exchanged at Ring, and nothing is until `ringhookd accept-restored`"
    )]
    Guarded,
    #[error(
        "{account} belongs to user {user}, who keeps it, with these newer tokens; `ringhookd accounts set-user --replace` moves it"
    )]
    OtherUser { account: AccountId, user: UserId },
    #[error("Ring says that the token is of another account than account_id")]
    AnotherAccount,
    #[error("the store can't be used now: {0}")]
    Store(String),
}
