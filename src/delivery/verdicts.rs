//! From a sink's verdicts to what the store is told, in the order that keeps each account's.

use std::collections::HashSet;
use std::time::Duration;

use super::{Options, Verdict};
use crate::domain::ids::AccountId;
use crate::domain::time::Millis;
use crate::store::{Leased, Outcome};

/// What is to be settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be made durable, and before anything is given back: an account that is given back can be leased at once,
    /// with all that is not settled by then.
    pub durable: Vec<(u64, Outcome)>,
    /// Given back then, for another try without an attempt counted.
    pub returned: Vec<(u64, Outcome)>,
    /// Set when the sink can't take anything now.
    pub busy: Option<Busy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Busy {
    pub retry_after: Option<Duration>,
    pub why: String,
}

/// Decides what becomes of `events`; a verdict that is missing is a failure.
pub(super) fn plan(events: &[Leased], verdicts: Vec<Verdict>, now: Millis, options: &Options) -> Plan {
    let mut plan = Plan::default();
    let mut stopped: HashSet<Option<&AccountId>> = HashSet::new();
    let missing = || Verdict::Failed { why: "the sink said nothing about it".to_owned() };
    let verdicts = verdicts.into_iter().chain(std::iter::repeat_with(missing));
    for (Leased { seq, attempt, event }, verdict) in events.iter().zip(verdicts) {
        let account = event.account.as_ref();
        match verdict {
            Verdict::Done => plan.durable.push((*seq, Outcome::Done)),
            Verdict::Refused { why } => plan.durable.push((*seq, Outcome::Dead { why })),
            Verdict::Failed { why } if stopped.insert(account) => {
                let due = now.plus(options.retry.wait(*attempt, (options.random)()));
                plan.durable.push((*seq, Outcome::Failed { due, why }));
            }
            Verdict::Failed { .. } => plan.returned.push((*seq, Outcome::Returned)),
            Verdict::Untried => {
                stopped.insert(account);
                plan.returned.push((*seq, Outcome::Returned));
            }
            Verdict::Busy { retry_after, why } => {
                stopped.insert(account);
                plan.returned.push((*seq, Outcome::Returned));
                plan.busy.get_or_insert(Busy { retry_after, why });
            }
        }
    }
    plan
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::backoff::Backoff;
    use crate::domain::event::Event;

    pub(in crate::delivery) fn leased(seq: u64, account: &str, attempt: u32) -> Leased {
        let event = Event {
            key: seq.to_string(),
            kind: "motion_detected".into(),
            sub_kind: None,
            device: None,
            account: AccountId::new(account).ok(),
            user: None,
            received_at: Millis(0),
            time: None,
            marks: crate::domain::marks::Marks::default(),
            body: bytes::Bytes::new(),
        };
        Leased { seq, attempt, event }
    }

    fn options() -> Options {
        let retry = Backoff { least: Duration::from_secs(1), most: Duration::from_hours(1) };
        Options { retry, random: || u64::MAX, ..Options::default() }
    }

    fn failed() -> Verdict {
        Verdict::Failed { why: "no".into() }
    }

    fn busy(ms: u64) -> Verdict {
        Verdict::Busy { retry_after: Some(Duration::from_millis(ms)), why: "full".into() }
    }

    #[test]
    fn a_failure_counts_once_and_stops_its_account_only() {
        let events = [leased(1, "a", 3), leased(2, "a", 1), leased(3, "b", 1), leased(4, "a", 1)];
        let plan = plan(&events, vec![failed(), failed(), Verdict::Done, busy(5)], Millis(100), &options());
        let due = Millis(100 + 7_999);
        let why = || "no".to_owned();
        assert_eq!(plan.durable, [(1, Outcome::Failed { due, why: why() }), (3, Outcome::Done)]);
        assert_eq!(plan.returned, [(2, Outcome::Returned), (4, Outcome::Returned)]);
    }

    #[test]
    fn what_was_delivered_or_refused_stays_so_whatever_is_before_it() {
        let events = [leased(1, "a", 1), leased(2, "a", 1), leased(3, "a", 1), leased(4, "a", 1)];
        let refused = Verdict::Refused { why: "never".into() };
        let plan = plan(&events, vec![busy(5), Verdict::Done, refused, failed()], Millis(0), &options());
        assert_eq!(plan.durable, [(2, Outcome::Done), (3, Outcome::Dead { why: "never".into() })]);
        assert_eq!(plan.returned, [(1, Outcome::Returned), (4, Outcome::Returned)], "no attempt for either");
    }

    #[test]
    fn the_first_reason_to_pause_is_the_one() {
        let events = [leased(1, "a", 1), leased(2, "b", 1)];
        let plan = plan(&events, vec![busy(5), busy(9)], Millis(0), &options());
        let expected = Busy { retry_after: Some(Duration::from_millis(5)), why: "full".into() };
        assert_eq!(plan.busy, Some(expected));
        assert!(plan.durable.is_empty());
    }

    #[test]
    fn what_was_not_tried_goes_back_and_nothing_pauses() {
        let events = [leased(1, "a", 1), leased(2, "a", 1), leased(3, "b", 1)];
        let plan = plan(&events, vec![Verdict::Untried, failed(), Verdict::Done], Millis(0), &options());
        assert_eq!(plan.durable, [(3, Outcome::Done)], "no attempt behind what was not tried");
        assert_eq!(plan.returned, [(1, Outcome::Returned), (2, Outcome::Returned)]);
        assert_eq!(plan.busy, None);
    }

    #[test]
    fn a_sink_that_forgets_an_event_has_failed_it() {
        let plan = plan(&[leased(1, "a", 1), leased(2, "b", 1)], vec![Verdict::Done], Millis(0), &options());
        assert!(matches!(&plan.durable[1], (2, Outcome::Failed { why, .. }) if why.contains("said nothing")));
    }
}
