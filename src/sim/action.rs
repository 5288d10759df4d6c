//! What can be done to a running simulation: by a scenario's step, or by a developer's POST.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::events;
use super::fault::Fault;
use super::faults::Plan;
use super::shared::Shared;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// From now on this goes wrong.
    Fault(Plan),
    ClearFaults,
    /// Sends an event; of the first account when none is named.
    Send {
        event: String,
        account: Option<String>,
    },
    /// The user adds the app.
    Install(String),
    /// The user goes on to sign in with the partner.
    Visit(String),
    /// The user removes the app.
    Revoke(String),
    /// Lets time pass for tokens.
    Advance(Duration),
}

impl Action {
    /// Does it.
    ///
    /// # Errors
    /// Words that say why not.
    pub(super) fn perform(self, shared: &Arc<Shared>) -> Result<(), String> {
        match self {
            Self::Fault(plan) => shared.world().faults.add(plan),
            Self::ClearFaults => shared.world().faults.clear(),
            Self::Send { event, account } => {
                return shared.send(&event, account.as_deref(), shared.clock.now());
            }
            Self::Install(account) => return shared.install(&account),
            Self::Visit(account) => {
                let (visit, url) = shared.visit(&account).ok_or_else(|| not_added(&account))?;
                shared.say(|| url.unwrap_or(format!("visit nonce={}&time={}", visit.nonce, visit.time)));
            }
            Self::Revoke(account) if !shared.revoke(&account, true) => return Err(no_account(&account)),
            Self::Revoke(_) => {}
            Self::Advance(by) => shared.clock.advance(by),
        }
        Ok(())
    }
}

/// In words, for who watches.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(Plan { fault, times, account }) => {
                write!(f, "fault {fault}")?;
                times.map_or(write!(f, ", every time"), |times| write!(f, ", the next {times}"))?;
                account.as_ref().map_or(Ok(()), |account| write!(f, ", of {account}"))
            }
            Self::ClearFaults => f.write_str("no more faults"),
            Self::Send { event, .. } => write!(f, "send {event}"),
            Self::Install(account) => write!(f, "install {account}"),
            Self::Visit(account) => write!(f, "visit {account}"),
            Self::Revoke(account) => write!(f, "revoke {account}"),
            Self::Advance(by) => write!(f, "advance {}", humantime::format_duration(*by)),
        }
    }
}

pub(super) fn no_account(account: &str) -> String {
    format!("there is no account `{account}`")
}

pub(super) fn not_added(account: &str) -> String {
    format!("the app is not added to `{account}`: install it first")
}

/// A fault by its text, `times` and account; all of them words from outside.
pub(super) fn plan(fault: &str, times: Option<u64>, account: Option<String>) -> Result<Plan, String> {
    let fault: Fault = fault.parse().map_err(|error: super::NoFault| error.to_string())?;
    if times == Some(0) {
        return Err("`times` is at least 1; without it the fault happens every time".into());
    }
    Ok(Plan { fault, times, account })
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let readable = humantime::parse_duration(text);
    readable.map_err(|_| format!("`{text}` is not a time such as 500ms, 5s, 4h or 25d"))
}

pub(super) fn event(name: &str) -> Result<String, String> {
    if events::KINDS.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("`{name}` is no event of Ring's; events are: {}", events::KINDS.join(", ")))
}
