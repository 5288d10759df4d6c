//! A claim: whose nonce it is, the account given to the user, and an answer within ten seconds.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Linking;
use super::waiting::Caller;
use crate::clock;
use crate::domain::access_token::Reason;
use crate::domain::claim::{Bid, Freshness, Outcome, Ruling, Told, Unanswered};
use crate::domain::confirm::Step;
use crate::domain::ids::AccountId;
use crate::failpoint;
use crate::logging;
use crate::store::{Claimable, Claimed, StoreError};

/// An answer comes within this.
const PATIENCE: Duration = Duration::from_secs(9);
/// A browser may come before its code: so long an account is waited for of which nothing is known.
const AHEAD_OF_ITS_CODE: Duration = Duration::from_secs(4);
/// Between two looks whether an account is expected.
const POLL: Duration = Duration::from_millis(100);

/// How a wait for an account ended.
enum Waited {
    /// It came.
    Ruled,
    NothingExpected,
    TooLong,
}

/// An account that a visit is for.
struct Found {
    number: u32,
    account: AccountId,
}

impl Linking {
    /// Claims a Ring account for a user who has signed in; the same again tells how that stands.
    ///
    /// # Errors
    /// [`Unanswered`]: it may be asked again.
    pub async fn claim(&self, bid: Bid) -> Result<Told, Unanswered> {
        if !self.api.is_there() {
            return Err(Unanswered::NotConfigured);
        }
        let told = self.answer(&bid, clock::ticks() + PATIENCE).await?;
        self.metrics.claim(told.outcome);
        let (outcome, account) = (told.outcome.as_str(), told.account.as_ref().map(AccountId::as_str));
        let user = logging::text(bid.user.as_str());
        tracing::info!(%user, outcome, account = account.map(|id| logging::text(id).to_string()), "claim answered");
        Ok(told)
    }

    async fn answer(&self, bid: &Bid, deadline: Instant) -> Result<Told, Unanswered> {
        let nobody = |outcome| Ok(Told::of(outcome, None));
        let expected_until = clock::ticks() + AHEAD_OF_ITS_CODE;
        // Before the first look, so that no account comes between that and the wait.
        let Some(mut caller) = self.join_waiting(bid) else {
            return nobody(Outcome::Pending(Reason::UnderWay));
        };
        let mut is_last = false;
        let mut has_asked = false;
        loop {
            caller.ruled.mark_unchanged();
            let ruling = match self.find(bid, deadline).await? {
                Some(found) => match self.take(found.number, bid, deadline).await? {
                    Claimed::Taken { released } => {
                        failpoint!("claim.taken");
                        caller.done();
                        let told = self.outcome(found, bid, deadline).await?;
                        return Ok(Told { released, ..told });
                    }
                    Claimed::Not(Ruling::Repeat) => {
                        caller.done();
                        return self.outcome(found, bid, deadline).await;
                    }
                    Claimed::Not(Ruling::Already) => {
                        caller.done();
                        return Ok(Told::of(Outcome::AlreadyLinked, Some(found.account)));
                    }
                    Claimed::Not(Ruling::Unsure) if !has_asked => {
                        has_asked = true;
                        self.ask_the_time(found.number, deadline).await?;
                        continue;
                    }
                    Claimed::Not(ruling) => ruling,
                },
                None => match Freshness::of(bid.visit.at(), self.ring_now(), *self.clock_skew.get()) {
                    Freshness::Fresh | Freshness::Unsure => Ruling::NoMatch,
                    Freshness::Stale => Ruling::Expired,
                },
            };
            let over = match ruling {
                Ruling::OtherUser => Some(Outcome::OtherUser),
                Ruling::Expired => Some(Outcome::Expired),
                // Ring does not answer: it is asked again with the next call about this visit.
                Ruling::Unsure => return nobody(Outcome::Pending(Reason::UnderWay)),
                _ if is_last => Some(Outcome::NoMatch),
                _ => None,
            };
            if let Some(outcome) = over {
                caller.done();
                return nobody(outcome);
            }
            // Ring's order is not guaranteed: the code of the account may still be on its way.
            match self.comes(&mut caller, expected_until, deadline).await {
                Waited::Ruled => {}
                // What came just before nothing was expected any more is looked at once.
                Waited::NothingExpected => is_last = true,
                Waited::TooLong => return nobody(Outcome::Pending(Reason::UnderWay)),
            }
        }
    }

    /// Ring's answer to a call that changes nothing tells the time there, also where it refuses the token.
    async fn ask_the_time(&self, number: u32, deadline: Instant) -> Result<(), Unanswered> {
        let access = self.store.links().access_of(number).await.map_err(|error| said(&error))?;
        if let (Some(api), Some(token)) = (self.api.get(), access.and_then(|access| access.token)) {
            drop(timeout_at(deadline, api.me(&token)).await);
        }
        Ok(())
    }

    /// What is under way to the disk goes on, whether or not it is there in time.
    async fn take(&self, number: u32, bid: &Bid, deadline: Instant) -> Result<Claimed, Unanswered> {
        let taking = timeout_at(
            deadline,
            self.store.links().by(bid.by.clone()).claim(number, bid.clone(), *self.clock_skew.get()),
        )
        .await;
        taking.map_err(|_| Unanswered::Store("it takes too long".into()))?.map_err(|error| said(&error))
    }

    /// Waits for the account of a visit. Until `expected_until` it may come unannounced.
    async fn comes(&self, caller: &mut Caller<'_>, expected_until: Instant, deadline: Instant) -> Waited {
        loop {
            let now = clock::ticks();
            if now >= expected_until && !self.tokens.expects_accounts() {
                return Waited::NothingExpected;
            }
            if now >= deadline {
                return Waited::TooLong;
            }
            match timeout_at(deadline.min(now + POLL), caller.ruled.changed()).await {
                Ok(Ok(())) => return Waited::Ruled,
                // Another call about the same visit was answered.
                Ok(Err(_)) => return Waited::NothingExpected,
                Err(_) => {}
            }
        }
    }

    /// Compares the visit's nonce with that of every account that may be claimed, whichever it is found with.
    async fn find(&self, bid: &Bid, deadline: Instant) -> Result<Option<Found>, Unanswered> {
        let turn = timeout_at(deadline, self.searches.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Unanswered::Busy)?.map_err(|_| Unanswered::Busy)?;
        let matcher = self.nonces.get().of(&bid.visit);
        let is_it = move |account: &str| {
            // Held until the search ends, even where nobody waits any more.
            let _ = &turn;
            matcher.matches(account)
        };
        let search = timeout_at(deadline, self.store.links().claimable(clock::now(), is_it)).await;
        let Claimable { found, stale } =
            search.map_err(|_| Unanswered::Busy)?.map_err(|error| said(&error))?;
        self.forget(stale);
        let found = found.filter(|(_, account)| bid.accounts.holds(Some(account)));
        let found = found
            .and_then(|(number, account)| Some(Found { number, account: AccountId::new(&account).ok()? }));
        Ok(found)
    }

    /// What need not be looked at again is taken away; nothing depends on it.
    pub(super) fn forget(&self, stale: Vec<u32>) {
        if !stale.is_empty() {
            let store = self.store.clone();
            tokio::spawn(async move { store.links().forget_claims(stale).await });
        }
    }

    /// How a claim stands, when Ring has been told or at `deadline`.
    async fn outcome(
        &self,
        Found { number, account }: Found,
        bid: &Bid,
        deadline: Instant,
    ) -> Result<Told, Unanswered> {
        let mut changes = self.store.links().claim_changes();
        let outcome = loop {
            changes.take();
            let claim = self.store.links().claim_of(number).await.map_err(|error| said(&error))?;
            if claim.as_ref().is_some_and(|claim| claim.user != bid.user) {
                return Ok(Told::of(Outcome::OtherUser, None));
            }
            match claim.map(|claim| claim.progress.step) {
                Some(Step::Done) => break Outcome::Linked,
                Some(Step::Refused(why)) => break Outcome::Refused(why),
                Some(Step::Undone) | None => break Outcome::Expired,
                Some(_) => {}
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                let why = self.troubles().get(&number).copied();
                break Outcome::Pending(why.unwrap_or(Reason::UnderWay));
            }
        };
        Ok(Told::of(outcome, Some(account)))
    }
}

fn said(error: &StoreError) -> Unanswered {
    Unanswered::Store(error.to_string())
}
