//! Whether what the public name answers is what Ring's reviewers look for, and what to do where it is not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hello::{Heard, Old};
use crate::domain::doctor::{Fault, Finding, fault};
use crate::domain::units::count;

const TLS: &str = "tls";
const WEBHOOK: &str = "webhook";
const TIME: &str = "time";
const CODE: &str = "code";
const LINK: &str = "link";
/// Ring gives up after this.
pub const LIMIT: Duration = Duration::from_secs(5);
/// From here on a busy hour may be too much.
const SLOW: Duration = Duration::from_millis(2_500);
const LOOK: &str = "look at the front, and at the way to it";

/// The status of an answer, or why there is none.
pub type Answer = Result<u16, String>;

/// What the daemon noted meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Landed {
    /// Of the test event, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Webhooks whose signature did not hold, whatever they were.
    pub mismatches: u64,
}

impl Landed {
    fn times(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or_default()
    }
}

/// A version of TLS that has to be taken: 1.2, because Ring may speak no later one, and 1.3.
pub fn tls(version: &str, needed: bool, shaken: Result<(), String>) -> Finding {
    match shaken {
        Ok(()) => Finding::well(TLS, format!("{version} is taken")),
        Err(why) if needed => Finding::failed(TLS, format!("{version} is not taken: {why}"))
            .so("have the front take TLS 1.2, too"),
        Err(why) => Finding::warning(TLS, format!("{version} is not taken: {why}"))
            .so("have the front take TLS 1.3, too"),
    }
}

/// A version that has to be refused.
pub fn old_tls(old: Old, heard: Result<Heard, String>) -> Finding {
    let name = old.as_str();
    match heard {
        Ok(Heard::Taken) => Finding::failed(TLS, format!("{name} is taken, though it is out of use")).so(
            "set the least version to TLS 1.2: nginx by ssl_protocols, Cloudflare by Minimum TLS Version",
        ),
        Ok(_) => Finding::well(TLS, format!("{name} is refused")),
        Err(why) => Finding::note(TLS, format!("{name}: it can't be told: {why}")),
    }
}

/// The first of the signed test events.
pub fn signed(path: &str, answer: &Answer, landed: &Landed) -> Finding {
    accepted(&format!("Webhook URL, {path}: a signed event"), answer, landed, 1)
}

/// The same again.
pub fn duplicate(path: &str, answer: &Answer, landed: &Landed) -> Finding {
    accepted(&format!("Webhook URL, {path}: its duplicate"), answer, landed, 2)
}

fn accepted(name: &str, answer: &Answer, landed: &Landed, times: u64) -> Finding {
    let failed = |words: &str, action: &str| Finding::failed(WEBHOOK, format!("{name} {words}")).so(action);
    match answer {
        Ok(200) if landed.times("test_event") >= times => {
            Finding::well(WEBHOOK, format!("{name} is answered 200"))
        }
        Ok(200) => failed("is answered 200, and the daemon did not get it", ELSEWHERE),
        Ok(503) if landed.times("store_down") + landed.times("not_durable") > 0 => failed(
            "has come to the daemon, which could not keep it (503)",
            "ringhookd status says what is wrong with the store",
        ),
        Ok(status @ (401 | 503)) if landed.mismatches > 0 => failed(
            &format!("has come to the daemon with a signature that does not hold ({status})"),
            "have the front pass the body and X-Signature on as they come, byte for byte; and compare the keys: ringhookd doctor says whether the running daemon has those of the configuration",
        ),
        Ok(status) => other(name, *status),
        Err(why) => failed(&format!("has no answer: {why}"), LOOK),
    }
}

const ELSEWHERE: &str = "something before the daemon answers by itself, as Caddy does to a name that its file does not have, or the name leads to another daemon: look at the front's configuration";

fn other(name: &str, status: u16) -> Finding {
    match fault(status) {
        Some(Fault { words, action }) => Finding::failed(WEBHOOK, format!("{name}: {words}")).so(action),
        None => Finding::failed(WEBHOOK, format!("{name} is answered {status}")).so(LOOK),
    }
}

/// The test event with a signature that no key made.
pub fn forged(path: &str, answer: &Answer, landed: &Landed) -> Finding {
    let name = format!("Webhook URL, {path}: a forged event");
    match answer {
        Ok(401) if landed.times("test_forged") > 0 => {
            Finding::well(WEBHOOK, format!("{name} is answered 401"))
        }
        Ok(status @ (200 | 401)) => {
            let words = format!("{name} is answered {status}, and the daemon did not get it");
            Finding::failed(WEBHOOK, words).so(ELSEWHERE)
        }
        Ok(status) => other(&name, *status),
        Err(why) => Finding::failed(WEBHOOK, format!("{name} has no answer: {why}")).so(LOOK),
    }
}

/// The times of all answers that came.
pub fn time(took: &[Duration]) -> Finding {
    let Some(slowest) = took.iter().max() else {
        return Finding::note(TIME, "no answer came, so none can be timed");
    };
    let words = format!(
        "{}, the slowest after {}; Ring waits {} s",
        count(took.len() as u64, "answer"),
        seconds(*slowest),
        LIMIT.as_secs()
    );
    let action = "look at the way between the front and the daemon, and at the disk: ringhookd_commit_duration_seconds says how long a commit takes";
    if *slowest >= LIMIT {
        Finding::failed(TIME, words).so(action)
    } else if *slowest >= SLOW {
        Finding::warning(TIME, words).so(action)
    } else {
        Finding::well(TIME, words)
    }
}

/// `0.042 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}

/// The Token Exchange URL and a code that nobody gave.
pub fn code(path: &str, answer: &Answer, can_exchange: bool) -> Finding {
    let name = format!("Token Exchange URL, {path}: a code that nobody gave");
    let failed = |words: String, action: &str| Finding::failed(CODE, words).so(action);
    match answer {
        Ok(200) => Finding::well(CODE, format!("{name} is answered 200")),
        Ok(503) if !can_exchange => failed(
            format!("{name} is answered 503, because no code can be exchanged"),
            "write client_id and the client secret into [ring]",
        ),
        Ok(status) => match fault(*status) {
            Some(Fault { words, action }) => failed(format!("{name}: {words}"), action),
            None => failed(format!("{name} is answered {status}"), LOOK),
        },
        Err(why) => failed(format!("{name} has no answer: {why}"), LOOK),
    }
}

/// Where a browser ends that Ring sends to the Account Link URL; nothing where that URL is not known.
pub fn link(ended: Option<Result<Page, String>>) -> Finding {
    let action = "open the Account Link URL in a browser in which nobody is signed in: it has to end on your own sign-in, by https";
    match ended {
        None => Finding::note(
            LINK,
            "Account Link URL: a page of your own web app, and its address is not known here",
        )
        .so("say where it is: --account-link-url https://www.example.com/ring/link"),
        Some(Err(why)) => Finding::failed(LINK, format!("Account Link URL: {why}")).so(action),
        Some(Ok(Page { address, is_https: false, .. })) => {
            Finding::failed(LINK, format!("Account Link URL: it leads to {address}, which is not https"))
                .so(action)
        }
        Some(Ok(Page { address, status: 200, is_html: true, .. })) => {
            Finding::well(LINK, format!("Account Link URL: it leads to a page at {address}"))
        }
        Some(Ok(Page { address, status: 200, .. })) => Finding::warning(
            LINK,
            format!("Account Link URL: it leads to {address}, which is no page of HTML"),
        )
        .so(action),
        Some(Ok(Page { address, status, .. })) => Finding::failed(
            LINK,
            format!("Account Link URL: it leads to {address}, which is answered {status}"),
        )
        .so(action),
    }
}

/// The page that the last of all redirections leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Without its query.
    pub address: String,
    pub is_https: bool,
    pub status: u16,
    pub is_html: bool,
}

/// What a forgery of others is answered: a test event proves no key. `ever` is whether a webhook of Ring's has.
pub fn other_forgeries(ever: bool) -> Finding {
    let until = if ever { "" } else { "; none has come yet" };
    Finding::note(
        WEBHOOK,
        format!(
            "a forgery that is no test event is answered 401 in the ten minutes after a webhook of Ring's, and 503 at other times, because our own key may be what is wrong then{until}"
        ),
    )
    .so("have Ring send a webhook right before the review: add the app in the Ring app, and ring a bell")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::State;

    fn landed(outcomes: &[(&str, u64)], mismatches: u64) -> Landed {
        let outcomes = outcomes.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Landed { outcomes, mismatches }
    }

    fn judged(found: &Finding, state: State, words: &str) {
        assert_eq!(found.state, state, "{found:?}");
        assert!(found.words.contains(words), "{words}: {found:?}");
        assert_eq!(found.action.is_some(), state > State::Note, "{found:?}");
    }

    #[test]
    fn a_200_counts_only_where_the_daemon_gave_it() {
        let none = Landed::default();
        for (answer, landed, state, words) in [
            (Ok(200), landed(&[("test_event", 1)], 0), State::Well, "is answered 200"),
            (Ok(200), none.clone(), State::Failed, "the daemon did not get it"),
            (Ok(401), landed(&[], 1), State::Failed, "does not hold (401)"),
            (Ok(503), landed(&[], 1), State::Failed, "does not hold (503)"),
            (Ok(503), landed(&[("store_down", 1)], 1), State::Failed, "could not keep it"),
            (Ok(503), none.clone(), State::Failed, "does not reach the daemon (503)"),
            (Ok(403), none.clone(), State::Failed, "lets it not through (403)"),
            (Ok(308), none.clone(), State::Failed, "leads elsewhere (308)"),
            (Ok(418), none.clone(), State::Failed, "answered 418"),
            (Err("no answer in time".to_owned()), none.clone(), State::Failed, "no answer in time"),
        ] {
            judged(&signed("/hook", &answer, &landed), state, words);
        }
        judged(
            &duplicate("/hook", &Ok(200), &landed(&[("test_event", 1)], 0)),
            State::Failed,
            "did not get it",
        );
        judged(&duplicate("/hook", &Ok(200), &landed(&[("test_event", 2)], 0)), State::Well, "duplicate");
    }

    #[test]
    fn a_forgery_has_to_be_refused_by_the_daemon() {
        let seen = landed(&[("test_forged", 1)], 0);
        judged(&forged("/hook", &Ok(401), &seen), State::Well, "is answered 401");
        judged(&forged("/hook", &Ok(401), &Landed::default()), State::Failed, "did not get it");
        judged(&forged("/hook", &Ok(200), &seen), State::Failed, "is answered 200");
        judged(&forged("/hook", &Ok(502), &seen), State::Failed, "(502)");
    }

    #[test]
    fn the_slowest_answer_is_told_and_judged_by_what_ring_waits() {
        let ms = Duration::from_millis;
        for (slowest, state) in [(42, State::Well), (2_500, State::Warning), (5_000, State::Failed)] {
            judged(
                &time(&[ms(7), ms(slowest), ms(9)]),
                state,
                &format!("3 answers, the slowest after {}", seconds(ms(slowest))),
            );
        }
        assert_eq!(seconds(ms(42)), "0.042 s");
        judged(&time(&[]), State::Note, "none can be timed");
    }

    #[test]
    fn codes_and_versions_and_sign_ins() {
        judged(&code("/ring/token", &Ok(200), true), State::Well, "answered 200");
        judged(&code("/ring/token", &Ok(503), false), State::Failed, "no code can be exchanged");
        judged(&code("/ring/token", &Ok(503), true), State::Failed, "does not reach the daemon (503)");
        judged(&code("/ring/token", &Ok(400), true), State::Failed, "answered 400");
        judged(&tls("TLS 1.2", true, Err("x".into())), State::Failed, "not taken: x");
        judged(&tls("TLS 1.3", false, Err("x".into())), State::Warning, "not taken: x");
        judged(&old_tls(Old::Tls10, Ok(Heard::Taken)), State::Failed, "TLS 1.0 is taken");
        judged(&old_tls(Old::Tls11, Ok(Heard::Refused)), State::Well, "TLS 1.1 is refused");
        let page = |status, is_https, is_html| {
            Some(Ok(Page { address: "https://x/sign-in".into(), is_https, status, is_html }))
        };
        judged(&link(page(200, true, true)), State::Well, "leads to a page at https://x/sign-in");
        judged(&link(page(200, true, false)), State::Warning, "no page of HTML");
        judged(&link(page(404, true, true)), State::Failed, "answered 404");
        judged(&link(page(200, false, true)), State::Failed, "not https");
        judged(&link(Some(Err("no connection".into()))), State::Failed, "no connection");
        assert_eq!(link(None).state, State::Note);
    }
}
