//! What OAuth was asked and did, for tests to compare with what a client believes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::time::Millis;

/// Exchanges beyond this many are forgotten, oldest first; counts are not.
const KEPT: usize = 1 << 20;

/// One request at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Nothing when the token or code is unknown.
    pub account: Option<Arc<str>>,
    /// Of the refresh token that was presented, from 1; nothing for a code.
    pub generation: Option<u32>,
    pub at: Millis,
    pub outcome: Outcome,
    /// What went wrong on purpose, e.g. `oauth-lost-answer`.
    pub fault: Option<String>,
}

/// What became of a request at the token endpoint, whether or not the client heard of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A pair; the generation of its refresh token.
    Granted(u32),
    /// The `error` that it was worth: `invalid_grant`, `invalid_client`, …
    Refused(&'static str),
    /// A fault came before the work.
    NotWorkedOn,
}

/// One account's requests at the token endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs that were given.
    pub granted: u64,
    /// Requests that wait for their answer: the client has neither got it nor hung up.
    pub in_flight: u64,
    /// The most that did so at a time.
    pub most_in_flight: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    exchanges: VecDeque<Exchange>,
    counts: HashMap<Arc<str>, Counts>,
}

impl Ledger {
    pub(super) fn begin(&mut self, account: &Arc<str>) {
        let counts = self.counts.entry(Arc::clone(account)).or_default();
        counts.in_flight += 1;
        counts.most_in_flight = counts.most_in_flight.max(counts.in_flight);
    }

    pub(super) fn end(&mut self, account: &Arc<str>) {
        if let Some(counts) = self.counts.get_mut(account) {
            counts.in_flight -= 1;
        }
    }

    pub(super) fn note(&mut self, exchange: Exchange) {
        if let (Outcome::Granted(_), Some(account)) = (&exchange.outcome, &exchange.account) {
            self.counts.entry(Arc::clone(account)).or_default().granted += 1;
        }
        if self.exchanges.len() == KEPT {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(exchange);
    }

    pub(super) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter()
    }

    pub(super) fn counts(&self, account: &str) -> Counts {
        self.counts.get(account).copied().unwrap_or_default()
    }

    /// The most requests in flight at a time of any one account.
    pub(super) fn most_in_flight(&self) -> u64 {
        self.counts.values().map(|counts| counts.most_in_flight).max().unwrap_or(0)
    }
}
