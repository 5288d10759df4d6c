//! Before an account is disconnected, Ring is asked to pause the app's integration. This says what is known after each answer.
//!
//! ```text
//! noted: asked ──PATCH awaiting──▶ taken ──▶ the account is forgotten
//!      ▲                     ├──▶ refused, not sent: the note goes, unless an earlier request had no answer
//!      └──the operator asks again◀── no answer: the note stays, because Ring may have paused it
//! ```
//!
//! Nothing is destroyed here before Ring has paused the integration, unless the operator said beforehand that it is forgotten anyway.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access_token::{Denied, Reason};
use super::deletion::Deletion;
use super::heard::{Doubt, Heard, Hindrance, Objection};
use super::units::span;

/// How Ring's side stands when the account is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtRing {
    /// Ring has paused the integration.
    Paused,
    /// The user removed the app before.
    Removed,
    /// Ring is not known to have paused it, and the operator wanted the account forgotten anyway.
    NotPaused,
}

/// The receipt of `accounts disconnect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnection {
    pub ring: AtRing,
    /// Why Ring is not known to have paused it.
    pub why: Option<String>,
    #[serde(flatten)]
    pub deletion: Deletion,
}

impl fmt::Display for Disconnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ring, why, deletion } = self;
        let why = why.as_deref().unwrap_or_default();
        writeln!(f, "{deletion}.")?;
        f.write_str(match ring {
            AtRing::Paused => {
                "Ring has paused the app on the account. It stays there until the user removes it: ask the user to remove the app in \
                 the Ring app. No partner can do that."
            }
            AtRing::Removed => "The user has removed the app in Ring before: nothing is left to do there.",
            AtRing::NotPaused => {
                "Ring is not known to have paused the app, and may go on sending webhooks of the account. Ask the user to remove the \
                 app in the Ring app: that ends it."
            }
        })?;
        if why.is_empty() { Ok(()) } else { write!(f, " (Not paused, because {why}.)") }
    }
}

/// Why Ring is not known to have paused an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPaused {
    /// There is no access token to ask with.
    NoToken(Denied),
    /// The link is being confirmed at Ring just now.
    Busy,
    /// The daemon stops, or could not note the request.
    Ours,
    /// Ring has answered that it does not do it.
    Refused(Objection),
    /// Ring asks us to wait.
    Throttled { retry_after: Option<Duration> },
    /// There was no connection.
    NoConnection,
    /// Ring may have done it or not.
    Unknown { retry_after: Option<Duration> },
}

impl NotPaused {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoToken(denied) => denied.reason.as_str(),
            Self::Busy => "link_under_way",
            Self::Ours => "store",
            Self::Refused(Objection::AccessToken) => "token_not_honoured",
            Self::Refused(Objection::Request) => "invalid_transition",
            Self::Refused(Objection::Missing) => "no_integration",
            Self::Refused(_) => "rejected",
            Self::Throttled { .. } => "throttled",
            Self::NoConnection => "unreachable",
            Self::Unknown { .. } => "no_answer",
        }
    }

    /// Words for people: a clause that begins with the subject.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoToken(denied) => denied.reason.words(),
            Self::Busy => "Ring is being told of the account's link just now",
            Self::Ours => "the daemon stops, or its store can't be used now",
            Self::Refused(Objection::AccessToken) => "Ring does not honour the account's access token",
            Self::Refused(Objection::Request) => {
                "Ring refuses to pause the app, most likely because its link was never completed, or is paused already"
            }
            Self::Refused(Objection::Missing) => "Ring knows of no such app on the account",
            Self::Refused(_) => "Ring refuses to pause the app",
            Self::Throttled { .. } => "Ring asks us to wait",
            Self::NoConnection => "Ring's API can't be reached",
            Self::Unknown { .. } => {
                "Ring's API has given no answer that says so, and may have paused the app all the same"
            }
        }
    }

    /// When asking again may help.
    pub fn retry_after(self) -> Option<Duration> {
        /// Where nobody knows better.
        const SOON: Duration = Duration::from_secs(5);
        match self {
            Self::NoToken(denied) => denied.retry_after,
            Self::Refused(_) => None,
            Self::Throttled { retry_after } | Self::Unknown { retry_after } => {
                Some(retry_after.unwrap_or(SOON))
            }
            Self::Busy | Self::Ours | Self::NoConnection => Some(SOON),
        }
    }

    /// What the operator is told: that nothing is lost, and what to do next. `may_be_paused` where a request of ours had no answer.
    pub fn advice(self, may_be_paused: bool) -> String {
        let words = self.words();
        let again = match self.retry_after() {
            Some(wait) => format!("Ask again after {}", span(wait.max(Duration::from_secs(1)))),
            None => "Asking again does not help".to_owned(),
        };
        let at_ring = if may_be_paused { ", and the app may be paused at Ring by now" } else { "" };
        format!(
            "{words}. Nothing was destroyed: the account is kept as it was{at_ring}. {again}; `--anyway` forgets the account though Ring \
             is not known to have paused the app"
        )
    }
}

/// What Ring's answer to the pause says, where `asked_before` an earlier request had no answer.
///
/// # Errors
/// Why it is not known to be paused.
pub fn heard(heard: Heard<()>, asked_before: bool) -> Result<(), NotPaused> {
    match heard {
        Heard::Answer(()) => Ok(()),
        // The earlier request has done it: from there on the transition is refused.
        Heard::Refused(Objection::Request) if asked_before => Ok(()),
        Heard::Refused(objection) => Err(NotPaused::Refused(objection)),
        Heard::NotSent(Hindrance::Throttled { retry_after }) => Err(NotPaused::Throttled { retry_after }),
        Heard::NotSent(Hindrance::NoConnection) => Err(NotPaused::NoConnection),
        Heard::NotSent(Hindrance::Ours) => Err(NotPaused::Ours),
        Heard::Unknown(Doubt::Silent) => Err(NotPaused::Unknown { retry_after: None }),
        Heard::Unknown(Doubt::Failed { retry_after }) => Err(NotPaused::Unknown { retry_after }),
    }
}

/// Whether a request that came out so may have been done by Ring.
pub fn may_be_done(outcome: Result<(), NotPaused>) -> bool {
    matches!(outcome, Ok(()) | Err(NotPaused::Unknown { .. }))
}

/// The reason where the configuration does not say who we are at Ring.
pub const NOT_CONFIGURED: NotPaused =
    NotPaused::NoToken(Denied { reason: Reason::NotConfigured, retry_after: None });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::QueueName;

    #[test]
    fn a_refused_transition_is_a_pause_only_after_a_request_without_an_answer() {
        let refused = Heard::Refused(Objection::Request);
        assert_eq!(heard(refused, true), Ok(()));
        assert_eq!(heard(refused, false), Err(NotPaused::Refused(Objection::Request)));
        for asked_before in [false, true] {
            assert_eq!(heard(Heard::Answer(()), asked_before), Ok(()));
            for no in [Objection::AccessToken, Objection::Missing, Objection::Other] {
                assert_eq!(heard(Heard::Refused(no), asked_before), Err(NotPaused::Refused(no)));
            }
        }
    }

    #[test]
    fn only_what_may_have_arrived_may_be_done() {
        for (said, may_be) in [
            (Heard::Answer(()), true),
            (Heard::SILENT, true),
            (Heard::failed(None), true),
            (Heard::NO_CONNECTION, false),
            (Heard::WITHHELD, false),
            (Heard::throttled(None), false),
            (Heard::Refused(Objection::AccessToken), false),
        ] {
            assert_eq!(may_be_done(heard(said, false)), may_be, "{said:?}");
        }
    }

    #[test]
    fn the_operator_is_told_what_holds_and_what_to_do_next() {
        let wait = Some(Duration::from_secs(30));
        let told = NotPaused::Throttled { retry_after: wait }.advice(false);
        assert!(told.starts_with("Ring asks us to wait. Nothing was destroyed"), "{told}");
        assert!(told.contains("Ask again after 30 s") && !told.contains("may be paused"), "{told}");
        let told = NotPaused::Refused(Objection::Missing).advice(true);
        assert!(told.contains("Asking again does not help; `--anyway`"), "{told}");
        assert!(told.contains("the app may be paused at Ring by now"), "{told}");
    }

    #[test]
    fn the_receipt_says_what_is_left_to_the_user() {
        let deletion = Deletion {
            account_id: "a".into(),
            forgotten_at: "2026-01-02T03:04:05.000Z".into(),
            tokens: true,
            waiting: 0,
            held: 0,
            dead_letters: 0,
            queues_told: vec![QueueName::new("home").unwrap()],
        };
        let with = |ring, why: Option<&str>| {
            Disconnection { ring, why: why.map(Into::into), deletion: deletion.clone() }.to_string()
        };
        assert!(
            with(AtRing::Paused, None).ends_with("remove the app in the Ring app. No partner can do that.")
        );
        assert!(with(AtRing::Removed, None).ends_with("nothing is left to do there."));
        let told = with(AtRing::NotPaused, Some("Ring's API can't be reached"));
        assert!(
            told.starts_with("destroyed: ")
                && told.ends_with("(Not paused, because Ring's API can't be reached.)")
        );
    }
}
