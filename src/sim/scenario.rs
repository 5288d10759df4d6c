//! A scenario: steps that happen to a simulation by the clock, read from TOML. docs/SIMULATE.md describes the file.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::action::{self, Action};

/// What happens, and how long after the step before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub after: Duration,
    pub action: Action,
}

const FIELDS: [&str; 10] =
    ["after", "fault", "times", "account", "clear_faults", "send", "install", "visit", "revoke", "advance"];

/// Reads a scenario for these accounts.
///
/// # Errors
/// Every problem, with its line.
pub fn scenario(text: &str, accounts: &[Arc<str>]) -> Result<Vec<Step>, Vec<String>> {
    let line = |offset| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    let file = DeTable::parse(text).map_err(|error| {
        vec![format!("line {}: {}", line(error.span().map_or(0, |span| span.start)), error.message())]
    })?;
    let file = file.get_ref();
    let stranger = file.keys().find(|key| key.get_ref() != "step");
    if let Some(stranger) = stranger {
        let at = line(stranger.span().start);
        return Err(vec![format!("line {at}: `{}` is not known; steps are [[step]]", stranger.get_ref())]);
    }
    let written = file.get("step").and_then(|steps| steps.get_ref().as_array());
    let written = written.ok_or_else(|| vec!["there is no [[step]]".to_owned()])?;
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    let mut accounts = accounts.to_vec();
    for raw in written {
        match step(raw.get_ref().as_table(), &accounts) {
            Ok(step) => {
                if let Action::Install(new) = &step.action {
                    accounts.push(new.as_str().into());
                }
                steps.push(step);
            }
            Err(words) => problems.push(format!("the step at line {}: {words}", line(raw.span().start))),
        }
    }
    if problems.is_empty() { Ok(steps) } else { Err(problems) }
}

fn step(table: Option<&DeTable<'_>>, accounts: &[Arc<str>]) -> Result<Step, String> {
    let fields = Fields(table.ok_or("a table is due")?);
    fields.are_known()?;
    let account = fields.text("account")?;
    let revoke = fields.text("revoke")?;
    let known = |id: &&&str| accounts.iter().any(|account| **account == ***id);
    if let Some(stranger) = account.iter().chain(&revoke).find(|id| !known(id)) {
        return Err(action::no_account(stranger));
    }
    let after = fields.text("after")?.map_or(Ok(Duration::ZERO), action::duration)?;
    let (fault, send, advance) = (fields.text("fault")?, fields.text("send")?, fields.text("advance")?);
    let (install, visit) = (fields.text("install")?, fields.text("visit")?);
    let (times, clear) = (fields.number("times")?, fields.is_set("clear_faults")?);
    if times.is_some() && fault.is_none() {
        return Err("`times` goes with `fault`".into());
    }
    if account.is_some() && fault.is_none() && send.is_none() {
        return Err("`account` goes with `fault` or `send`".into());
    }
    let account = account.map(str::to_owned);
    let mut actions = Vec::new();
    if let Some(fault) = fault {
        actions.push(Action::Fault(action::plan(fault, times, account.clone())?));
    }
    if let Some(event) = send {
        actions.push(Action::Send { event: action::event(event)?, account });
    }
    if let Some(by) = advance {
        actions.push(Action::Advance(action::duration(by)?));
    }
    actions.extend(clear.then_some(Action::ClearFaults));
    // Whoever adds the app need not be known before.
    actions.extend(install.map(|account| Action::Install(account.to_owned())));
    actions.extend(visit.map(|account| Action::Visit(account.to_owned())));
    actions.extend(revoke.map(|account| Action::Revoke(account.to_owned())));
    let (Some(action), true) = (actions.pop(), actions.is_empty()) else {
        return Err("exactly one of fault, clear_faults, send, install, visit, revoke, advance is due".into());
    };
    Ok(Step { after, action })
}

/// A step as it is written.
struct Fields<'t>(&'t DeTable<'t>);

impl<'t> Fields<'t> {
    fn are_known(&self) -> Result<(), String> {
        let stranger = self.0.keys().find(|key| !FIELDS.contains(&key.get_ref().as_ref()));
        let words = |key: &str| format!("`{key}` is not known; there are: {}", FIELDS.join(", "));
        stranger.map_or(Ok(()), |key| Err(words(key.get_ref())))
    }

    fn get(&self, key: &str) -> Option<&'t DeValue<'t>> {
        self.0.get(key).map(Spanned::get_ref)
    }

    fn text(&self, key: &str) -> Result<Option<&'t str>, String> {
        let text = |value: &'t DeValue<'t>| value.as_str().ok_or(format!("`{key}` is a text in quotes"));
        self.get(key).map(text).transpose()
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let number = |value: &DeValue<'_>| {
            let digits = value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
            digits.ok_or(format!("`{key}` is a number of 1 or more"))
        };
        self.get(key).map(number).transpose()
    }

    fn is_set(&self, key: &str) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(false),
            Some(DeValue::Boolean(true)) => Ok(true),
            Some(_) => Err(format!("`{key}` is true or not there")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Step>, Vec<String>> {
        scenario(text, &["a".into()])
    }

    #[test]
    fn every_kind_of_step_is_read() {
        let text = "[[step]]\nafter = \"5s\"\nfault = \"oauth-500\"\ntimes = 3\n[[step]]\nsend = \"motion_detected\"\n\
                    [[step]]\nrevoke = \"a\"\n[[step]]\nadvance = \"25d\"\n[[step]]\nclear_faults = true\n";
        let steps = read(text).unwrap();
        let plan = action::plan("oauth-500", Some(3), None).unwrap();
        assert_eq!(steps[0], Step { after: Duration::from_secs(5), action: Action::Fault(plan) });
        assert_eq!(steps[3].action, Action::Advance(Duration::from_hours(25 * 24)));
        assert_eq!(steps.len(), 5);
        let link = read("[[step]]\ninstall = \"new\"\n[[step]]\nvisit = \"new\"\n").unwrap();
        assert_eq!(link[0].action, Action::Install("new".into()));
        assert_eq!(link[1].action, Action::Visit("new".into()));
    }

    #[test]
    fn words_say_what_is_wrong_and_where() {
        for (text, says) in [
            ("", "there is no [[step]]"),
            ("[[step]]\nafter = \"soon\"\nadvance = \"1d\"", "the step at line 1: `soon` is not a time"),
            ("\n[[step]]\nfault = \"oauth-999\"", "line 2: `oauth-999` is no fault"),
            ("[[step]]\nfault = \"oauth-500\"\ntimes = 0", "at least 1"),
            ("[[step]]\nsend = \"motion\"", "`motion` is no event"),
            ("[[step]]\nrevoke = \"b\"", "there is no account `b`"),
            ("[[step]]\nafter = \"1s\"", "exactly one of"),
            ("[[step]]\nadvance = \"1d\"\nsend = \"motion_detected\"", "exactly one of"),
            ("[[step]]\nadvance = \"1d\"\ntimes = 2", "`times` goes with `fault`"),
            ("[[step]]\nadvance = \"1d\"\naccount = \"a\"", "`account` goes with"),
            ("[[step]]\nclear_faults = false", "true or not there"),
            ("[[step]]\nwait = \"1d\"", "`wait` is not known"),
            ("step = 3", "there is no [[step]]"),
            ("\nsteps = []", "line 2: `steps` is not known"),
            ("[[step]]\nadvance = 3", "`advance` is a text"),
            ("[[step]\n", "line 1: "),
        ] {
            let problems = read(text).unwrap_err().join("; ");
            assert!(problems.contains(says), "{text}: {problems}");
        }
        let two = "[[step]]\nsend = \"x\"\n[[step]]\nfault = \"y\"\n";
        assert_eq!(read(two).unwrap_err().len(), 2, "all at once");
    }
}
