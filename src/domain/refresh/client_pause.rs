//! When OAuth refuses our own client: everybody pauses, unless it is one account that gets that answer and nobody else.

use std::collections::HashSet;
use std::time::Duration;

/// After OAuth refused our own secret, which only a person can put right.
pub(super) const CLIENT_PAUSE: Duration = Duration::from_mins(15);

/// Whose request was answered: an account's refresh, or one that belongs to no account.
pub(super) type Who = Option<u32>;

/// Time is the monotonic clock's.
#[derive(Debug, Default)]
pub(super) struct ClientPause {
    until: Duration,
    /// Nobody's client was accepted since it began.
    unproven: bool,
    /// Who got such an answer, and none since that shows that our client is good.
    refused: HashSet<Who>,
}

impl ClientPause {
    /// How long nothing may go out.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        Some(self.until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// Whether the next request is a probe: one at a time, until OAuth accepts us again.
    pub(super) fn is_unproven(&self) -> bool {
        self.unproven
    }

    /// OAuth refused our client to `who`. Who gets that again, though OAuth accepted us from others since, pauses nobody.
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

    /// Another client may be accepted; until it is, each request is a probe. Returns those that got such an answer with the one before.
    pub(super) fn lift(&mut self) -> HashSet<Who> {
        self.until = Duration::ZERO;
        std::mem::take(&mut self.refused)
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
    fn a_wrong_secret_pauses_all_at_every_probe() {
        let mut pause = ClientPause::default();
        for who in [Some(1), Some(2), Some(1), None, None] {
            pause.refused(who, NOW);
            assert_eq!(pause.left(NOW), Some(CLIENT_PAUSE));
            assert!(pause.is_unproven() && pause.left(NOW + CLIENT_PAUSE).is_none());
            pause.until = Duration::ZERO;
        }
    }

    #[test]
    fn one_account_that_gets_it_alone_pauses_all_once() {
        let mut pause = ClientPause::default();
        pause.refused(Some(1), NOW);
        pause.accepted(Some(2));
        pause.until = Duration::ZERO;
        pause.refused(Some(1), NOW);
        assert_eq!((pause.left(NOW), pause.is_unproven()), (None, false));
        pause.refused(Some(3), NOW);
        assert!(pause.left(NOW).is_some(), "another may mean that our secret is wrong");
    }

    #[test]
    fn requests_of_no_account_pause_all_again_only_while_nobody_is_accepted() {
        let mut pause = ClientPause::default();
        pause.refused(None, NOW);
        pause.accepted(None);
        pause.until = Duration::ZERO;
        pause.refused(None, NOW);
        assert_eq!(pause.left(NOW), None);
    }
}
