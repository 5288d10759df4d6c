//! What a local worker asks for when it needs an access token, and what it is told.

use std::time::Duration;

use super::ids::AccountId;
use super::secret::Secret;
use super::time::Millis;

/// An access token is wanted.
#[derive(Debug, Clone)]
pub struct AccessRequest {
    pub account: AccountId,
    /// How long it must still be good at least.
    pub min_life: Duration,
    /// The generation of one that Ring answered 401 to: it must be newer than that.
    pub refused: Option<u64>,
}

/// An access token. The refresh token never leaves the process.
#[derive(Debug)]
pub struct AccessToken {
    pub token: Secret<String>,
    pub expires_at: Millis,
    /// How long that is from now, by the clock that said so.
    pub expires_in: Duration,
    /// Names this token of its account, to say that it was refused.
    pub generation: u64,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No such account, or it has no tokens.
    NoTokens,
    /// OAuth does not honour the refresh token: only the user can bring the link back.
    Lapsed,
    Revoked,
    /// The store is an older copy than the tokens that were in use; nothing is refreshed until told to.
    Guarded,
    /// The configuration does not say who we are at Ring.
    NotConfigured,
    /// OAuth can't be reached, or fails.
    OauthDown,
    /// Ring asks us to send nothing for a while.
    Throttled,
    /// OAuth does not honour our own client secret.
    ClientRefused,
    /// The last try for this account failed; the next comes.
    Failing,
    /// OAuth has refused the refresh token, and is asked once more before the link is given up.
    Refused,
    /// OAuth's last answer can't be read and may hold the new tokens, so that the old one is not sent for a while.
    Unreadable,
    /// A refresh is under way, and took too long for this call.
    UnderWay,
    /// No token lives so long.
    TooLong,
    /// The one that was refused has just been made: a newer one would be refused as well.
    JustRenewed,
    /// Ring's API can't be reached or fails where it is told of a link.
    ApiDown,
    /// Ring's API does not say whose an access token is.
    UsersMe,
    /// The store can't be read or written.
    Store,
}

impl Reason {
    pub const ALL: [Self; 17] = [
        Self::NoTokens,
        Self::Lapsed,
        Self::Revoked,
        Self::Guarded,
        Self::NotConfigured,
        Self::OauthDown,
        Self::Throttled,
        Self::ClientRefused,
        Self::Failing,
        Self::Refused,
        Self::Unreadable,
        Self::UnderWay,
        Self::TooLong,
        Self::JustRenewed,
        Self::ApiDown,
        Self::UsersMe,
        Self::Store,
    ];

    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoTokens => "no_tokens",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
            Self::Guarded => "guarded",
            Self::NotConfigured => "not_configured",
            Self::OauthDown => "oauth_down",
            Self::Throttled => "throttled",
            Self::ClientRefused => "client_refused",
            Self::Failing => "failing",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable_answer",
            Self::UnderWay => "under_way",
            Self::TooLong => "too_long",
            Self::JustRenewed => "just_renewed",
            Self::ApiDown => "api_down",
            Self::UsersMe => "users_me",
            Self::Store => "store",
        }
    }

    /// Words for people, with the way out.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoTokens => {
                "there are no tokens of such an account: none were put in, or its user removed the app. See `ringhookd accounts \
                 list`"
            }
            Self::Lapsed => {
                "the link has lapsed: its refresh token was not used for 30 days, and Ring's OAuth refuses it (invalid_grant). The \
                 user has to remove the app in Ring and add it again"
            }
            Self::Revoked => {
                "the link was revoked: Ring's OAuth refuses the refresh token (invalid_grant), because the user removed the app, or \
                 because it was used elsewhere. The user has to add the app in Ring again"
            }
            Self::Guarded => {
                "the store is an older copy: nothing is refreshed until `ringhookd accept-restored`"
            }
            Self::NotConfigured => {
                "no access token that is here will do, and without [ring] client_id nothing is refreshed"
            }
            Self::OauthDown => "Ring's OAuth can't be reached, or fails; it is tried again",
            Self::Throttled => "Ring asks us to wait",
            Self::ClientRefused => "Ring's OAuth refuses our own client id or secret: see [ring]",
            Self::Failing => "the last refresh failed; it is tried again",
            Self::Refused => {
                "Ring's OAuth refuses the refresh token (invalid_grant): it was mistyped or used elsewhere, or the user removed the \
                 app. OAuth is asked once more before the link is given up. See `ringhookd accounts show`"
            }
            Self::Unreadable => {
                "Ring's OAuth gave an answer that can't be read and may hold the new tokens: the old one is not sent for a while. \
                 See `ringhookd accounts show`"
            }
            Self::UnderWay => "Ring takes longer than this call may; it goes on",
            Self::TooLong => "no access token of Ring's lives as long as that",
            Self::JustRenewed => {
                "that token was made a moment ago: what Ring refused it for, a newer one won't mend"
            }
            Self::ApiDown => {
                "Ring's API (app-integrations) can't be reached, fails, or does not take the access token; it is tried again"
            }
            Self::UsersMe => {
                "Ring's OAuth has taken the token, and Ring's API (users/me) does not say whose account it is; it is asked again"
            }
            Self::Store => "the store can't be used now",
        }
    }
}

/// There is no token, and when to ask again, where that may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub reason: Reason,
    pub retry_after: Option<Duration>,
}

impl Denied {
    /// Asking again does not help.
    pub fn for_good(reason: Reason) -> Self {
        Self { reason, retry_after: None }
    }

    /// Asking again after so long may.
    pub fn for_now(reason: Reason, retry_after: Duration) -> Self {
        Self { reason, retry_after: Some(retry_after) }
    }
}
