//! Fleets of which some accounts always fail in their own way: the others must not notice.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ringhookd::domain::refresh::{
    Decision, Gain, Health, Moment, Next, Notice, Outcome, Planner, Policy, Proof, Record,
};
use ringhookd::domain::time::Millis;

use crate::support::rng::Rng;

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);
const START: Millis = Millis(1_790_000_000_000);
pub(crate) const RENEWED: Outcome = Outcome::Answer(Gain::Renewed { expires_in: Duration::from_hours(4) });

/// What OAuth answers to an account at a time, and how long that takes.
pub(crate) type OAuth = fn(u32, Duration) -> (Outcome, Duration);

/// Time is what passes really, and both clocks show it.
pub(crate) struct Fleet {
    oauth: OAuth,
    pub(crate) planner: Planner,
    records: Vec<Record>,
    /// (When, account).
    coming: BinaryHeap<Reverse<(Duration, u32)>>,
    random: Rng,
    pub(crate) now: Duration,
    started: Duration,
    pub(crate) tries: usize,
    /// How long each went without a renewal, at most.
    gaps: Vec<Duration>,
    pub(crate) ended: Vec<(Duration, u32)>,
    /// How long nobody was refreshed, for OAuth or for us.
    pub(crate) halted: Duration,
    pub(crate) down: Duration,
}

impl Fleet {
    /// Accounts that were all renewed, or imported, just now.
    pub(crate) fn new(accounts: usize, oauth: OAuth) -> Self {
        let record = Record {
            renewed_at: START,
            expires_at: START,
            end: None,
            unsettled: false,
            told: Notice::Fresh,
            proof: Proof::Honoured,
        };
        let mut fleet = Self {
            oauth,
            planner: Planner::new(Policy::default()),
            records: vec![record; accounts],
            coming: BinaryHeap::new(),
            random: Rng(1),
            now: Duration::ZERO,
            started: Duration::ZERO,
            tries: 0,
            gaps: vec![Duration::ZERO; accounts],
            ended: Vec::new(),
            halted: Duration::ZERO,
            down: Duration::ZERO,
        };
        fleet.restart();
        fleet
    }

    /// The same, but all of them have been due for an hour.
    pub(crate) fn overdue(accounts: usize, oauth: OAuth) -> Self {
        let mut fleet = Self::new(accounts, oauth);
        for record in &mut fleet.records {
            record.renewed_at = START.minus(DAY + HOUR);
        }
        fleet.restart();
        fleet
    }

    /// What is in flight never arrives.
    pub(crate) fn restart(&mut self) {
        for Reverse((_, account)) in std::mem::take(&mut self.coming) {
            self.records[account as usize].unsettled = true;
        }
        self.started = self.now;
        self.planner = Planner::new(Policy::default());
        for account in 0..self.records.len() {
            let (now, random) = (self.moment(), self.draw());
            self.planner.plan(u32::try_from(account).unwrap(), &self.records[account], now, random);
        }
    }

    pub(crate) fn run(&mut self, until: Duration) {
        while self.now < until {
            match self.planner.next(self.moment()) {
                Next::Refresh(account) => {
                    self.tries += 1;
                    let (_, latency) = (self.oauth)(account, self.now);
                    self.coming.push(Reverse((self.now + latency, account)));
                }
                Next::Wait(wait) => {
                    let then = self.coming.peek().map_or(until, |Reverse((at, _))| (*at).max(self.now));
                    let then = then.min(self.now + wait);
                    let overview = self.planner.trouble(self.moment());
                    let passes = then.saturating_sub(self.now);
                    match overview.map(|(reason, _)| reason.as_str()) {
                        Some("client_refused") => self.halted += passes,
                        Some("oauth_down") => self.down += passes,
                        _ => {}
                    }
                    self.now = then;
                    self.receive();
                }
            }
        }
    }

    fn receive(&mut self) {
        while let Some(&Reverse((at, account))) = self.coming.peek() {
            if at > self.now {
                break;
            }
            self.coming.pop();
            let (answer, _) = (self.oauth)(account, at);
            let (now, random) = (self.moment(), self.draw());
            let record = &mut self.records[account as usize];
            record.unsettled |= answer == Outcome::SILENT;
            let decision = self.planner.answered(account, answer, now, random);
            match decision {
                Some(Decision::Renewed) => {
                    let gap = now.wall.since(record.renewed_at);
                    let longest = &mut self.gaps[account as usize];
                    *longest = gap.max(*longest);
                    *record = Record { renewed_at: now.wall, unsettled: false, end: None, ..*record };
                }
                Some(Decision::Ended(end)) => {
                    record.end = Some(end);
                    self.ended.push((self.now, account));
                }
                _ => {}
            }
        }
    }

    /// The longest that any account from `first` on went without a renewal, until now.
    pub(crate) fn longest_gap(&self, first: usize) -> Duration {
        let wall = self.moment().wall;
        let gaps = self.records.iter().zip(&self.gaps).skip(first);
        gaps.map(|(record, gap)| wall.since(record.renewed_at).max(*gap)).max().unwrap()
    }

    pub(crate) fn health(&self, account: u32) -> Option<Health> {
        self.planner.health(account, self.moment())
    }

    fn moment(&self) -> Moment {
        Moment { wall: START.plus(self.now), ticks: self.now.saturating_sub(self.started) }
    }

    fn draw(&mut self) -> u64 {
        self.random.next()
    }
}
