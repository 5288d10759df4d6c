//! The ledger outside the process: what was sent, answered, handed out and acknowledged, and every broken promise.
//!
//! ```text
//! waiting ──leased──▶ out ──settling──▶ unsure ──settled──▶ settled      nothing comes after this
//!    ▲                 │                  │
//!    └─── given back ──┘   next one came ─┴─▶ settled: the order proves it
//! ```
//!
//! What is out when the daemon dies may come again, and so may what is unsure; nothing else may.

use std::collections::HashMap;

use super::event::{Event, Seen, account_name, user_of};
use super::line::{Holder, Line, Slot};

/// A spool file may come again as long as its settlement may have been cut off in every run since.
const RUNS_UNSETTLED: u32 = 40;
/// More would only hide the first.
const MOST_COMPLAINTS: usize = 50;

/// What a queue promises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    pub(crate) name: &'static str,
    /// It takes the events whose number is a multiple of this.
    pub(crate) every: u32,
    /// Events of unclaimed accounts come at once, without a user.
    pub(crate) unclaimed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Unclaimed,
    /// The import was sent when so many events had been answered.
    Asked {
        answered: u32,
    },
    /// The import was answered when so many had been sent.
    Answered {
        answered: u32,
        sent: u32,
    },
}

#[derive(Debug)]
struct Account {
    sent: u32,
    /// All before are answered 2xx: there is one in flight at a time.
    answered: u32,
    claim: Claim,
}

/// Counts for the report.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) repeats: u64,
    pub(crate) delivered: u64,
    pub(crate) again: u64,
    pub(crate) settled: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    queues: Vec<Queue>,
    accounts: Vec<Account>,
    lines: HashMap<(usize, u32), Line>,
    /// Failures that were answered, by queue and event.
    failures: HashMap<(usize, Event), u32>,
    run: u32,
    counts: Counts,
    complaints: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(queues: &[Queue]) -> Self {
        Self {
            queues: queues.to_vec(),
            accounts: Vec::new(),
            lines: HashMap::new(),
            failures: HashMap::new(),
            run: 0,
            counts: Counts::default(),
            complaints: Vec::new(),
        }
    }

    // ── the daemon ──

    /// A daemon is about to be started; the one before is dead.
    pub(crate) fn begin_run(&mut self) -> u32 {
        self.run += 1;
        self.run
    }

    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    // ── the sender ──

    pub(crate) fn open_account(&mut self) -> u32 {
        self.accounts.push(Account { sent: 0, answered: 0, claim: Claim::Unclaimed });
        u32::try_from(self.accounts.len() - 1).unwrap()
    }

    /// The next event of an account.
    pub(crate) fn sending(&mut self, account: u32) -> Event {
        let n = &mut self.account(account).sent;
        *n += 1;
        Event { account, n: *n - 1 }
    }

    /// Notes the answer to a well signed event.
    pub(crate) fn answered(&mut self, event: Event, status: u16) {
        match status {
            200..300 => {
                let account = self.account(event.account);
                let first = event.n >= account.answered;
                account.answered = account.answered.max(event.n + 1);
                self.counts.accepted += u64::from(first);
                self.counts.repeats += u64::from(!first);
            }
            500..600 => {}
            _ => self.complain(&format!("{} was answered {status}", event.key())),
        }
    }

    pub(crate) fn claiming(&mut self, account: u32) {
        let account = self.account(account);
        if account.claim == Claim::Unclaimed {
            account.claim = Claim::Asked { answered: account.answered };
        }
    }

    pub(crate) fn claimed(&mut self, account: u32) {
        let account = self.account(account);
        if let Claim::Asked { answered } = account.claim {
            account.claim = Claim::Answered { answered, sent: account.sent };
        }
    }

    // ── readers of leases ──

    /// One lease's events, each with the number of its attempt, in the order in which they came.
    pub(crate) fn leased(&mut self, queue: usize, holder: Holder, events: &[(Seen, u32)]) {
        for (seen, attempt) in events {
            let Some(event) = self.recognise(queue, seen) else { continue };
            self.counts.delivered += 1;
            // What an earlier run said is heard late: a later run may have said more since.
            if holder.run == self.run {
                self.hand_out(queue, holder, event, *attempt);
            }
        }
    }

    /// Before the acknowledgement is sent: it may work even if no answer comes.
    pub(crate) fn settling(&mut self, queue: usize, holder: Holder, events: &[Event]) {
        self.turn(queue, holder, events, Slot::Unsure(holder));
    }

    /// Before events are given back, or the lease is left to run out.
    pub(crate) fn giving_back(&mut self, queue: usize, holder: Holder, events: &[Event]) {
        self.turn(queue, holder, events, Slot::Waiting);
    }

    /// The acknowledgement was answered.
    pub(crate) fn settled(&mut self, queue: usize, holder: Holder, events: &[Event]) {
        for &event in events {
            let position = self.position(queue, event);
            let line = self.lines.entry((queue, event.account)).or_default();
            match line.get(position) {
                Slot::Unsure(by) if by == holder => {
                    line.set(position, Slot::Settled { run: holder.run });
                    line.shrink(u32::MAX);
                }
                Slot::Settled { .. } => {}
                other => self.complain_of(queue, event, &format!("settled, yet {other:?}")),
            }
            self.failures.remove(&(queue, event));
            self.counts.settled += 1;
        }
    }

    /// A negative acknowledgement was answered: that attempt counts for ever.
    pub(crate) fn failed(&mut self, queue: usize, event: Event) {
        *self.failures.entry((queue, event)).or_default() += 1;
    }

    // ── readers of folders ──

    /// A file was there that the daemon wrote in `run`. The reader deletes it next.
    pub(crate) fn appeared(&mut self, queue: usize, run: u32, seen: &Seen) {
        let Some(event) = self.recognise(queue, seen) else { return };
        self.counts.delivered += 1;
        let position = self.position(queue, event);
        let old = self.run.saturating_sub(RUNS_UNSETTLED);
        let line = self.lines.entry((queue, event.account)).or_default();
        let before = line.get(position);
        let first_missing = line.first_open(position);
        line.set(position, Slot::Settled { run });
        line.shrink(old);
        match before {
            Slot::Settled { run: before } if before < run => self.counts.again += 1,
            Slot::Settled { .. } => self.complain_of(queue, event, "came twice in one run"),
            _ => {
                self.counts.settled += 1;
                if let Some(open) = first_missing {
                    self.complain_of(queue, event, &format!("came before number {open} of that queue"));
                }
            }
        }
    }

    // ── verdicts ──

    /// How many answered events are still to come, over all queues.
    pub(crate) fn missing(&self) -> u64 {
        let lines =
            (0..self.queues.len()).flat_map(|queue| (0..).zip(&self.accounts).map(move |a| (queue, a)));
        lines.map(|(queue, (number, account))| u64::from(self.missing_of(queue, number, account))).sum()
    }

    /// Every broken promise so far, what is still to come among them.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let mut out = self.complaints.clone();
        for queue in 0..self.queues.len() {
            for (number, account) in (0..).zip(&self.accounts) {
                let missing = self.missing_of(queue, number, account);
                if missing > 0 && out.len() < MOST_COMPLAINTS {
                    let name = self.queues[queue].name;
                    let line = self.lines.get(&(queue, number));
                    let open = line.map_or(Some(0), |line| line.first_open(u32::MAX));
                    out.push(format!(
                        "{name}: {missing} answered events of account {number} are lost, from {open:?} on ({account:?}, {line:?})"
                    ));
                }
            }
        }
        out
    }

    pub(crate) fn complain(&mut self, what: &str) {
        if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.push(format!("run {}: {what}", self.run));
        }
    }

    pub(crate) fn broken(&self) -> bool {
        !self.complaints.is_empty()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the account has its user, or is about to.
    pub(crate) fn is_claimed(&self, account: u32) -> bool {
        matches!(self.accounts[account as usize].claim, Claim::Answered { .. })
    }

    pub(crate) fn accounts(&self) -> u32 {
        u32::try_from(self.accounts.len()).unwrap()
    }

    // ── rules ──

    fn hand_out(&mut self, queue: usize, holder: Holder, event: Event, attempt: u32) {
        let failures = self.failures.get(&(queue, event)).copied().unwrap_or(0);
        if attempt <= failures {
            self.complain_of(queue, event, &format!("attempt {attempt} after {failures} failures"));
        }
        let position = self.position(queue, event);
        let line = self.lines.entry((queue, event.account)).or_default();
        let before = line.get(position);
        let open = line.pass(position, holder);
        line.set(position, Slot::Out(holder));
        match before {
            Slot::Settled { .. } => self.complain_of(queue, event, "came again after it was settled"),
            Slot::Out(other) if other.run == holder.run => {
                self.complain_of(queue, event, "came while another held it");
            }
            Slot::Out(_) | Slot::Unsure(_) => self.counts.again += 1,
            Slot::Waiting => {}
        }
        if let Some(open) = open {
            self.complain_of(queue, event, &format!("came before number {open} of that queue"));
        }
    }

    /// Whether it is an event that was sent, as it was sent, for the user whose account it is.
    fn recognise(&mut self, queue: usize, seen: &Seen) -> Option<Event> {
        let name = self.queues[queue].name;
        let known = Event::from_key(&seen.key);
        let known = known.filter(|e| self.accounts.get(e.account as usize).is_some_and(|a| e.n < a.sent));
        let Some(event) = known else {
            self.complain(&format!("{name}: {seen:?} was never sent"));
            return None;
        };
        if event.n % self.queues[queue].every != 0 {
            self.complain_of(queue, event, "is not for that queue");
            return None;
        }
        if seen.account != Some(account_name(event.account)) {
            self.complain_of(queue, event, &format!("came for account {:?}", seen.account));
        }
        if serde_json::from_str::<serde_json::Value>(&event.body()).ok().as_ref() != Some(&seen.body) {
            self.complain_of(queue, event, &format!("came as {}", seen.body));
        }
        if !self.is_right_user(queue, event, seen.user.as_deref()) {
            let claim = self.accounts[event.account as usize].claim;
            self.complain_of(queue, event, &format!("came for user {:?} at {claim:?}", seen.user));
        }
        Some(event)
    }

    fn is_right_user(&self, queue: usize, event: Event, user: Option<&str>) -> bool {
        let (none, right) = match self.accounts[event.account as usize].claim {
            Claim::Unclaimed => (true, false),
            Claim::Asked { answered } => (true, event.n >= answered || !self.queues[queue].unclaimed),
            Claim::Answered { answered, sent } => {
                (event.n < sent, event.n >= answered || !self.queues[queue].unclaimed)
            }
        };
        match user {
            None => none && self.queues[queue].unclaimed,
            Some(user) => right && user == user_of(event.account),
        }
    }

    fn missing_of(&self, queue: usize, number: u32, account: &Account) -> u32 {
        if !self.queues[queue].unclaimed && !matches!(account.claim, Claim::Answered { .. }) {
            return 0;
        }
        let expected = account.answered.div_ceil(self.queues[queue].every);
        let settled =
            self.lines.get(&(queue, number)).map_or(0, |line| line.settled_before(expected, self.run));
        expected - settled
    }

    fn turn(&mut self, queue: usize, holder: Holder, events: &[Event], to: Slot) {
        for &event in events {
            let position = self.position(queue, event);
            let line = self.lines.entry((queue, event.account)).or_default();
            if line.get(position) == Slot::Out(holder) {
                line.set(position, to);
            }
        }
    }

    fn position(&self, queue: usize, event: Event) -> u32 {
        event.n / self.queues[queue].every
    }

    fn account(&mut self, account: u32) -> &mut Account {
        &mut self.accounts[account as usize]
    }

    fn complain_of(&mut self, queue: usize, event: Event, what: &str) {
        self.complain(&format!("{}: {} {what}", self.queues[queue].name, event.key()));
    }
}
