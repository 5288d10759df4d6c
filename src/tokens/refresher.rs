//! The loop that asks the schedule what to do next, and sends it on its way.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::TokenService;
use super::flight::{Landed, fly};
use crate::chance::random;
use crate::domain::heard::{Heard, Objection};
use crate::domain::refresh::{Decision, LONGEST_NAP, Next};
use crate::store::{Changed, StoreError, Which};

/// Accounts that are read at once at start.
const PAGE: usize = 4096;
/// Until a store that can't be read is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Refreshes under way.
#[derive(Default)]
struct Flights {
    tasks: JoinSet<Landed>,
    whose: HashMap<Id, (u32, Which)>,
}

impl Flights {
    /// The next that comes out; nothing when none is under way.
    async fn land(&mut self) -> Option<Landed> {
        match self.tasks.join_next_with_id().await? {
            Ok((id, landed)) => {
                self.whose.remove(&id);
                Some(landed)
            }
            Err(error) => {
                tracing::error!(%error, "a refresh ended in a panic");
                let (number, which) = self.whose.remove(&error.id())?;
                // Its journal entry is still open, so the same token is sent again.
                Some(Landed { number, which, answer: Heard::SILENT, predecessor: Some(false), rival: false })
            }
        }
    }
}

impl TokenService {
    /// Refreshes tokens until `stop` resolves, and then until every answer that was under way is on disk. What OAuth has not
    /// answered by the time that `stop` says stays in the journal as unknown.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = Instant> + Send) {
        let mut stop = std::pin::pin!(stop);
        self.stopping.send_replace(None);
        // Before anything is read, so that no change is missed.
        let mut changes = self.store.links().token_changes();
        let opened = async {
            while let Err(error) = self.open().await {
                tracing::error!(%error, "the tokens can't be read; trying again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        };
        tokio::select! {
            _ = &mut stop => return,
            () = opened => {}
        }
        let complaint = tokio::spawn(Arc::clone(&self).complain());
        let herald = tokio::spawn(Arc::clone(&self).herald());
        let pending = tokio::spawn(Arc::clone(&self).greet_all());
        let (mut flights, mut codes) = (Flights::default(), JoinSet::new());
        let mut unread = BTreeSet::new();
        let mut reload = false;
        let end = loop {
            match changes.take() {
                Changed::Accounts(accounts) => unread.extend(accounts),
                // It may have kept what it said it had not.
                Changed::All => reload = true,
            }
            tokio::select! {
                end = &mut stop => break end,
                () = async {
                    reload = reload && self.read_all().await.is_err();
                    self.catch_up(&mut unread).await;
                } => {}
            }
            self.send_codes(&mut codes);
            let settled = unread.is_empty() && !reload;
            let wait = self.depart(&mut flights).min(if settled { LONGEST_NAP } else { TRY_AGAIN });
            tokio::select! {
                end = &mut stop => break end,
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
                () = changes.changed() => {}
                Some(landed) = flights.land() => self.land(landed).await,
                // What a panic left is on disk, and taken up again.
                Some(ended) = codes.join_next() => reload |= !is_well(&ended),
            }
        };
        herald.abort();
        pending.abort();
        complaint.abort();
        self.stopping.send_replace(Some(end));
        if !flights.tasks.is_empty() {
            tracing::info!(under_way = flights.tasks.len(), "waiting for refreshes that are under way");
        }
        while let Some(landed) = flights.land().await {
            self.land(landed).await;
        }
        while let Some(ended) = codes.join_next().await {
            is_well(&ended);
        }
    }

    /// Reads the schedule, and what a run before left to be done.
    async fn open(self: &Arc<Self>) -> Result<(), StoreError> {
        for answer in self.guard.answers().await {
            let (number, fence) = (answer.number, answer.fence);
            let taken = self.store.outbox().take_back_answer(number, fence, answer.sealed).await?;
            tracing::warn!(
                account_number = number,
                taken,
                "an answer of OAuth was found in the guard folder"
            );
            self.guard.drop_answer(number, fence).await;
        }
        self.read_all().await
    }

    async fn read_all(&self) -> Result<(), StoreError> {
        self.read_codes().await?;
        self.plan_all().await
    }

    async fn plan_all(&self) -> Result<(), StoreError> {
        self.read_arriving().await?;
        let mut after = 0;
        loop {
            let page = self.store.links().token_records(after, PAGE).await?;
            let now = self.moment();
            let mut planner = self.planner();
            for found in &page {
                if planner.knows(found.number, &found.record) {
                    continue;
                }
                planner.plan(found.number, &found.record, now, random());
            }
            match page.last() {
                Some(last) => after = last.number,
                None => break,
            }
        }
        // Who asked before an account was planned waits for it all the same.
        let waited_for: Vec<u32> = self.waiters().keys().copied().collect();
        let now = self.moment();
        for number in waited_for {
            // One whose last try failed comes in its own time.
            let _ = self.planner().ask(number, now);
        }
        Ok(())
    }

    /// Sends off whatever may go now; returns how long nothing else will.
    fn depart(self: &Arc<Self>, flights: &mut Flights) -> Duration {
        let Some(api) = self.api.as_ref().filter(|_| !self.is_guarded()) else { return LONGEST_NAP };
        loop {
            let next = self.planner().next(self.moment());
            let number = match next {
                Next::Wait(wait) => return wait,
                Next::Refresh(number) => number,
            };
            let resort = self.last_resort().remove(&number);
            let which = if resort { Which::Predecessor } else { Which::Current };
            let task = flights.tasks.spawn(fly(Arc::clone(self), api.clone(), number, which));
            flights.whose.insert(task.id(), (number, which));
        }
    }

    /// Accounts whose tokens others changed.
    async fn catch_up(&self, unread: &mut BTreeSet<u32>) {
        for number in std::mem::take(unread) {
            self.last_resort().remove(&number);
            let planned = self.replan(number).await;
            self.tell_waiters(number, None);
            if planned.is_err() {
                unread.insert(number);
            }
        }
    }

    async fn land(self: &Arc<Self>, landed: Landed) {
        let Landed { number, answer, which, predecessor, rival } = landed;
        let now = self.moment();
        if which == Which::Predecessor
            && matches!(answer, Heard::NotSent(_) | Heard::Refused(Objection::Client))
        {
            self.last_resort().insert(number);
        }
        let decision = {
            // Held to the end, so that nobody is told of an end that is not one.
            let mut planner = self.planner();
            let decision = planner.answered(number, answer, now, random());
            let is_refused = answer == Heard::Refused(Objection::Grant) && rival;
            if (is_refused || matches!(decision, Some(Decision::Ended(_))))
                && self.may_be_made_good(number, predecessor)
            {
                planner.reconsider(number, now);
                return;
            }
            decision
        };
        if decision.is_none()
            && let Err(error) = self.replan(number).await
        {
            tracing::warn!(account_number = number, %error, "an account can't be planned anew");
        }
        self.tell_waiters(number, decision);
        self.changed(number);
        tokio::spawn(Arc::clone(self).landed_arriving(landed, decision));
    }

    /// Whether there is another token to try before the account is given up.
    fn may_be_made_good(&self, number: u32, predecessor: Option<bool>) -> bool {
        match predecessor {
            Some(true) => {
                tracing::warn!(
                    account_number = number,
                    "OAuth refuses a token that it never accepted; trying the one before it, once"
                );
                self.last_resort().insert(number)
            }
            Some(false) => false,
            None => true,
        }
    }

    /// Whether the account has a token that its present one replaced and that was never tried in its place, and whether OAuth gave
    /// that at about the same time as the present one; nothing where it
    /// can't be read.
    pub(super) async fn others(&self, number: u32) -> Option<(bool, bool)> {
        match self.store.links().token_record(number).await {
            Ok(found) => Some(found.map_or((false, false), |found| (found.predecessor, found.rival))),
            Err(error) => {
                tracing::warn!(account_number = number, %error, "an account is not given up while the store can't be read");
                None
            }
        }
    }
}

/// Whether the exchange of a code ended without a panic.
fn is_well(ended: &Result<(), JoinError>) -> bool {
    if let Err(error) = ended {
        tracing::error!(%error, "the exchange of a code ended in a panic");
    }
    ended.is_ok()
}
