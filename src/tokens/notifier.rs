//! Tells what there is to tell of each account's tokens: once, durably, as an event, a log line and a metric.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::context::Context;
use crate::domain::actor::Actor;
use crate::domain::refresh::{LIFE, Notice, SLICES};
use crate::logging::audit::{self, Entry, What};

/// How long a round over all accounts takes: some of what there is to tell comes with time alone.
const ROUND: Duration = Duration::from_secs(20);
/// What is told at once: one commit takes so many.
const AT_ONCE: usize = 256;

/// How often it is said that the guard holds everything back.
const SAY_AGAIN: Duration = Duration::from_hours(1);

/// Tells people of links.
#[derive(Debug)]
pub(super) struct Notifier {
    pub context: Arc<Context>,
}

impl Notifier {
    /// Says that nothing is refreshed, until it is accepted.
    pub(super) async fn complain(self: Arc<Self>) {
        while self.context.guard.is_guarded() {
            let noted_epoch = self.context.guard.noted_epoch().await;
            let store_epoch = self.context.store.outbox().epoch().await.ok();
            let guard_folder = self.context.guard.folder().display();
            tracing::error!(
                %guard_folder,
                noted_epoch,
                store_epoch,
                "the store is an older copy than the tokens that were in use, or its epoch file is missing: nothing is refreshed, \
                 since that could end links that live. If this store is the one to go on with, say `ringhookd accept-restored`"
            );
            tokio::time::sleep(SAY_AGAIN).await;
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        self.context.schedule.rounds().all();
        let mut slices = tokio::time::interval(ROUND / SLICES);
        slices.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // After a long outage there may be very many.
            while self.tell_some().await {}
            tokio::select! {
                _ = slices.tick() => self.context.schedule.rounds().tick(),
                () = self.context.schedule.news.notified() => {}
            }
        }
    }

    /// Returns whether there was something to tell. What could not be told is found again in the next round.
    async fn tell_some(self: &Arc<Self>) -> bool {
        let news = {
            let (now, mut rounds, planner) = (
                self.context.schedule.moment(),
                self.context.schedule.rounds(),
                self.context.schedule.planner(),
            );
            rounds.look(planner.numbers(), AT_ONCE, |account| planner.news_of(account, now))
        };
        let any = !news.is_empty();
        let mut telling = JoinSet::new();
        for (number, notice) in news {
            telling.spawn(Arc::clone(self).tell(number, notice));
        }
        telling.join_all().await;
        any
    }

    async fn tell(self: Arc<Self>, number: u32, notice: Notice) {
        let Some(lapses_at) = self.context.schedule.planner().lapses_at(number) else { return };
        let account = match self.context.store.links().tell(number, lapses_at.minus(LIFE), notice).await {
            Ok(account) => account,
            Err(error) => {
                tracing::warn!(account_number = number, %error, "a change of a link's state could not be noted");
                return;
            }
        };
        let now = self.context.schedule.moment();
        // Other tokens, or a clock that was set back: they are planned anew, and told of as they are.
        let Some(account) = account else {
            if let Err(error) = self.context.schedule.replan(number).await {
                tracing::warn!(account_number = number, %error, "an account can't be planned anew");
            }
            return;
        };
        self.context.schedule.planner().told(number, notice, now);
        self.context.metrics.link_is(notice.health());
        let days_left = lapses_at.since(now.wall).as_secs() / 86_400;
        let named = account;
        let (account, state) = (crate::logging::text(named.as_str()), notice.as_str());
        match notice {
            Notice::Fresh => tracing::info!(%account, state, "the link is well again"),
            Notice::Late => tracing::warn!(%account, state, days_left, "the link's refresh is late"),
            Notice::Lapsing(_) => {
                tracing::error!(%account, state, days_left, "the link nears its end: its tokens could not be refreshed");
            }
            Notice::Lapsed => audit::note(&Entry::new(What::LinkLapsed, Actor::Daemon).of(&named)),
            Notice::Revoked => audit::note(&Entry::new(What::LinkRevoked, Actor::Ring).of(&named)),
        }
    }
}
