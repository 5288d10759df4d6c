//! Whether Ring calls, and why it may not.

use std::time::Duration;

use super::Finding;
use crate::domain::time::Millis;
use crate::domain::units::{count, span};

const CHECK: &str = "calls";
/// A linked account that rings no bell for so long is a rare one.
const QUIET: Duration = Duration::from_hours(7 * 24);

/// What keeps Ring from calling, as far as it is known, each with what to do.
const REASONS: [(&str, &str); 6] = [
    (
        "\"Log in with Ring\" in Ring's console only adds a staging user: none of your addresses is called by it",
        "add the app in the Ring app, as a user does",
    ),
    (
        "neither the Playground nor the console's simulator sends webhooks; the Playground's tokens have no refresh token",
        "ring a bell, or try your own side with `ringhookd simulate`",
    ),
    (
        "addresses that are registered for staging do not carry over to production",
        "register the four addresses in both sets",
    ),
    (
        "Ring refuses `localhost` and http: for all four addresses, also for private apps",
        "register a public name with a certificate, and have it tried: ringhookd doctor --url https://NAME",
    ),
    (
        "without a Ring Protect plan Connect stops, and devices with end-to-end encryption are in no API",
        "look at the user's plan and devices in the Ring app",
    ),
    (
        "staging allows 10 users, a private app 5 accounts, and each account has to be on its list",
        "look at the app's users in Ring's console",
    ),
];

/// What the running daemon tells of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub last_webhook: Option<Millis>,
    pub linked_accounts: u64,
    /// POSTs to paths where nothing is: how many, and the last path.
    pub unmatched: Option<(u64, String)>,
}

/// Whether Ring calls, by the running daemon; without one the reasons alone are told.
pub fn calls(seen: Option<&Seen>, now: Millis) -> Vec<Finding> {
    let Some(Seen { last_webhook, linked_accounts, unmatched }) = seen else { return reasons() };
    let mut found = Vec::new();
    if let Some((posts, last)) = unmatched {
        let words = format!("{} came to paths where nothing is, the last to {last}", count(*posts, "POST"));
        let action = "compare it with the addresses that are registered at Ring";
        found.push(Finding::warning(CHECK, words).so(action));
    }
    let linked = *linked_accounts;
    let quiet = last_webhook.is_some_and(|last| linked > 0 && now.since(last) > QUIET);
    let words = match last_webhook {
        None if linked > 0 => {
            format!(
                "no webhook has ever come, though {} linked: Ring sends events elsewhere, or none",
                are(linked)
            )
        }
        None => "no webhook has ever come, and no account is linked".to_owned(),
        Some(last) if quiet => {
            format!("the last webhook came {} ago, though {} linked", span(now.since(*last)), are(linked))
        }
        Some(last) => format!("the last webhook came {} ago", span(now.since(*last))),
    };
    if last_webhook.is_none() || quiet {
        found.push(Finding::warning(CHECK, words).so("look at the reasons below; then ring a bell"));
        found.extend(reasons());
    } else {
        found.push(Finding::well(CHECK, words));
    }
    found
}

fn are(accounts: u64) -> String {
    format!("{} {}", count(accounts, "account"), if accounts == 1 { "is" } else { "are" })
}

fn reasons() -> Vec<Finding> {
    REASONS.into_iter().map(|(words, action)| Finding::note(CHECK, words).so(action)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{State, worst};
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn seen(days: Option<u32>, linked_accounts: u64) -> Seen {
        Seen { last_webhook: days.map(|days| NOW.minus(DAY * days)), linked_accounts, unmatched: None }
    }

    #[test]
    fn a_silence_is_told_with_the_reasons_and_a_call_without() {
        for (seen, state, words, reasons) in [
            (seen(Some(1), 2), State::Well, "24 h ago", false),
            (seen(Some(30), 0), State::Well, "30 days ago", false),
            (seen(Some(8), 2), State::Warning, "8 days ago, though 2 accounts are linked", true),
            (seen(None, 1), State::Warning, "no webhook has ever come, though 1 account is linked", true),
            (seen(None, 0), State::Warning, "no account is linked", true),
        ] {
            let found = calls(Some(&seen), NOW);
            assert_eq!(worst(&found), state, "{found:?}");
            assert!(found[0].words.contains(words), "{found:?}");
            assert_eq!(found.len() > REASONS.len(), reasons, "{found:?}");
        }
        let without = calls(None, NOW);
        assert_eq!((worst(&without), without.len()), (State::Note, REASONS.len()));
    }

    #[test]
    fn posts_to_a_wrong_path_are_told_though_webhooks_come() {
        let seen = Seen { unmatched: Some((3, "/hooks".into())), ..seen(Some(0), 1) };
        let found = calls(Some(&seen), NOW);
        assert_eq!(worst(&found), State::Warning);
        assert!(
            found[0].words.contains("3 POSTs came to paths where nothing is, the last to /hooks"),
            "{found:?}"
        );
    }

    #[test]
    fn each_reason_says_what_to_do_and_the_best_known_are_there() {
        let all = format!("{REASONS:?}");
        for known in ["Log in with Ring", "Playground", "staging", "localhost", "Ring Protect plan"] {
            assert!(all.contains(known), "{known}");
        }
        assert!(reasons().iter().all(|reason| reason.action.is_some()));
    }
}
