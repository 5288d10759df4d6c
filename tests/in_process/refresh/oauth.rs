//! OAuth as the daemon may find it: rotation, disuse, and outages of every kind. Time is what passes really.

use std::time::Duration;

/// What becomes of a refresh token that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    DeadAtOnce,
    Grace,
}

/// How long the replaced one is still good.
const GRACE: Duration = Duration::from_mins(2);
const LIFE: Duration = Duration::from_hours(30 * 24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// Connections are refused.
    Unreachable,
    /// Requests vanish; none is worked on.
    Silent,
    /// 503, at once.
    Failing,
    /// Works, answers 429 to most.
    Throttling,
    /// Every token is `invalid_grant`, whatever it is worth.
    Mad,
    /// Our own secret is said to be wrong.
    Estranged,
}

/// One account's tokens at OAuth: a number stands for the token.
#[derive(Debug, Clone, Copy)]
struct Grant {
    current: u64,
    /// When it was given.
    since: Duration,
}

#[derive(Debug)]
pub(crate) struct OAuth {
    policy: Policy,
    grants: Vec<Grant>,
}

impl OAuth {
    pub(crate) fn new(policy: Policy, accounts: usize) -> Self {
        Self { policy, grants: vec![Grant { current: 1, since: Duration::ZERO }; accounts] }
    }

    /// Replaces the token if it is honoured.
    pub(crate) fn refresh(&mut self, account: usize, token: u64, now: Duration) -> Option<u64> {
        if !self.honours(account, token, now) {
            return None;
        }
        let grant = &mut self.grants[account];
        *grant = Grant { current: grant.current + 1, since: now };
        Some(grant.current)
    }

    pub(crate) fn honours(&self, account: usize, token: u64, now: Duration) -> bool {
        let Grant { current, since } = self.grants[account];
        let age = now.saturating_sub(since);
        token == current && age < LIFE || self.policy == Policy::Grace && token + 1 == current && age < GRACE
    }
}
