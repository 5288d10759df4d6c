//! When OAuth refuses our own client: everybody halts, unless it is one account that gets that answer and nobody else.

use std::collections::HashSet;
use std::time::Duration;

/// After OAuth refused our own secret, which only a person can put right.
pub(super) const CLIENT_PAUSE: Duration = Duration::from_mins(15);

/// Whose request was answered: an account's refresh, or one that belongs to no account.
pub(super) type Who = Option<u32>;

/// Time is the monotonic clock's.
#[derive(Debug, Default)]
pub(super) struct Halt {
    until: Duration,
    /// Nobody's client was accepted since it began.
    unproven: bool,
    /// Who got such an answer, and none since that shows that our client is good.
    refused: HashSet<Who>,
}

impl Halt {
    /// How long nothing may go out.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        Some(self.until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// Whether the next request is a probe: one at a time, until OAuth accepts us again.
    pub(super) fn is_unproven(&self) -> bool {
        self.unproven
    }

    /// OAuth refused our client to `who`. Who gets that again, though OAuth accepted us from others since, halts nobody.
    pub(super) fn refused(&mut self, who: Who, now: Duration) {
        let again = !self.refused.insert(who);
        if again && !self.unproven {
            return;
        }
        self.until = now + CLIENT_PAUSE;
        self.unproven = true;
    }

    /// OAuth accepted our client from `who`, whatever it said about the token.
    pub(super) fn accepted(&mut self, who: Who) {
        self.unproven = false;
        // Requests of no account come from many: that one of them was accepted takes nothing back.
        if who.is_some() {
            self.refused.remove(&who);
        }
    }

    /// The account is gone, or has other tokens.
    pub(super) fn forget(&mut self, account: u32) {
        self.refused.remove(&Some(account));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_wrong_secret_halts_at_every_probe() {
        let mut halt = Halt::default();
        for who in [Some(1), Some(2), Some(1), None, None] {
            halt.refused(who, NOW);
            assert_eq!(halt.left(NOW), Some(CLIENT_PAUSE));
            assert!(halt.is_unproven() && halt.left(NOW + CLIENT_PAUSE).is_none());
            halt.until = Duration::ZERO;
        }
    }

    #[test]
    fn one_account_that_gets_it_alone_halts_once() {
        let mut halt = Halt::default();
        halt.refused(Some(1), NOW);
        halt.accepted(Some(2));
        halt.until = Duration::ZERO;
        halt.refused(Some(1), NOW);
        assert_eq!((halt.left(NOW), halt.is_unproven()), (None, false));
        halt.refused(Some(3), NOW);
        assert!(halt.left(NOW).is_some(), "another may mean that our secret is wrong");
    }

    #[test]
    fn requests_of_no_account_halt_again_only_while_nobody_is_accepted() {
        let mut halt = Halt::default();
        halt.refused(None, NOW);
        halt.accepted(None);
        halt.until = Duration::ZERO;
        halt.refused(None, NOW);
        assert_eq!(halt.left(NOW), None);
    }
}
