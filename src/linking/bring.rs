//! Claims each account that comes for the visit that waits for it, whether or not its caller still waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Linking;
use super::waiting::Caller;
use crate::clock;
use crate::domain::claim::{Bid, Freshness, Ruling};
use crate::domain::ring_time::RingTime;
use crate::logging;
use crate::store::{Changed, Claimed, StoreError};

/// Until all that wait are looked at again where the store failed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Linking {
    /// A place among the visits that wait for their account.
    pub(super) fn join_waiting(&self, bid: &Bid) -> Option<Caller<'_>> {
        let now = self.ring_now();
        self.waiting.join(bid, self.nonces.get().of(&bid.visit), |bid| self.may_still_come(bid, now))
    }

    fn may_still_come(&self, bid: &Bid, now: RingTime) -> bool {
        Freshness::of(bid.visit.at(), now, *self.clock_skew.get()) != Freshness::Stale
    }

    /// Claims each account that comes for the visit that waits for it. Never returns.
    pub(super) async fn bring_to_waiting(&self) {
        let mut changes = self.store.links().claim_changes();
        let mut failed = false;
        loop {
            if failed {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else {
                changes.changed().await;
            }
            let among = match changes.take() {
                Changed::Accounts(numbers) if !failed => Some(numbers),
                Changed::Accounts(_) | Changed::All => None,
            };
            failed = match self.bring(among).await {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(%error, "claims that wait for their account wait for the store too");
                    true
                }
            };
        }
    }

    /// Looks at these accounts, or at all.
    async fn bring(&self, among: Option<BTreeSet<u32>>) -> Result<(), StoreError> {
        let now = self.ring_now();
        let waiting = self.waiting.live(|bid| self.may_still_come(bid, now));
        if waiting.is_empty() {
            return Ok(());
        }
        let matchers: Vec<_> = waiting.iter().map(|(_, matcher)| Arc::clone(matcher)).collect();
        let wanted = move |account: &str| matchers.iter().any(|matcher| matcher.matches(account));
        for (number, account) in self.store.links().claimable_among(among, clock::now(), wanted).await? {
            for (bid, matcher) in &waiting {
                if !matcher.matches(&account) || !bid.accounts.holds(Some(&account)) {
                    continue;
                }
                let bid_ = Bid::clone(bid);
                let claimed =
                    self.store.links().by(bid.by.clone()).claim(number, bid_, *self.clock_skew.get()).await?;
                // Its code is still on its way: the account is that of an earlier link. Or its caller asks Ring for the time.
                if matches!(claimed, Claimed::Not(Ruling::NoMatch | Ruling::Unsure)) {
                    continue;
                }
                if let Claimed::Taken { released } = claimed {
                    let user = logging::text(bid.user.as_str());
                    tracing::info!(account_number = number, %user, %released, "an account that was waited for is claimed");
                }
                self.waiting.ruled(bid);
            }
        }
        Ok(())
    }
}
