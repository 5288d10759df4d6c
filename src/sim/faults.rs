//! Which faults are due: the next so many, or each time, for everybody or for one account.

use std::collections::HashMap;
use std::time::Duration;

use super::fault::{Fault, Kind, Place};

/// A fault that is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub fault: Fault,
    /// Nothing is every time, until the plans are cleared.
    pub times: Option<u64>,
    /// Only for this account.
    pub account: Option<String>,
}

/// What happens to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) kind: Option<Kind>,
}

/// The plans, and how often what happened.
#[derive(Debug, Default)]
pub(super) struct Faults {
    plans: Vec<Plan>,
    fired: HashMap<String, u64>,
}

impl Faults {
    pub(super) fn add(&mut self, plan: Plan) {
        self.plans.push(plan);
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }

    pub(super) fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// By the fault's name.
    pub(super) fn fired(&self) -> &HashMap<String, u64> {
        &self.fired
    }

    /// Takes what is due for a request: the oldest plan that fits, and besides it the oldest of each delay.
    pub(super) fn take(&mut self, place: Place, account: Option<&str>) -> Due {
        let mut due = Due::default();
        for plan in &mut self.plans {
            let fits = plan.fault.place == place
                && plan.times != Some(0)
                && plan.account.as_deref().is_none_or(|id| Some(id) == account);
            let free = match plan.fault.kind {
                Kind::SlowBefore(_) => due.before.is_zero(),
                Kind::SlowAfter(_) => due.after.is_zero(),
                _ => due.kind.is_none(),
            };
            if !fits || !free {
                continue;
            }
            match &plan.fault.kind {
                Kind::SlowBefore(time) => due.before = *time,
                Kind::SlowAfter(time) => due.after = *time,
                kind => due.kind = Some(kind.clone()),
            }
            plan.times = plan.times.map(|times| times - 1);
            *self.fired.entry(plan.fault.to_string()).or_default() += 1;
        }
        self.plans.retain(|plan| plan.times != Some(0));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(fault: &str, times: Option<u64>, account: Option<&str>) -> Plan {
        Plan { fault: fault.parse().unwrap(), times, account: account.map(Into::into) }
    }

    #[test]
    fn plans_are_spent_in_order_and_by_account() {
        let mut faults = Faults::default();
        faults.add(plan("oauth-500", Some(1), None));
        faults.add(plan("oauth-502", Some(2), Some("a")));
        faults.add(plan("oauth-slow-before:1s", None, None));
        let mut kind = |account| faults.take(Place::OAuth, Some(account)).kind;
        assert_eq!(kind("a"), Some(Kind::Status(500)));
        assert_eq!(kind("b"), None);
        assert_eq!(
            (kind("a"), kind("a"), kind("a")),
            (Some(Kind::Status(502)), Some(Kind::Status(502)), None)
        );
        assert_eq!(faults.take(Place::UsersMe, None), Due::default());
        assert_eq!((faults.fired()["oauth-502"], faults.fired()["oauth-slow-before"]), (2, 5));
        faults.clear();
        assert_eq!(faults.take(Place::OAuth, None), Due::default());
    }
}
