//! The token service: puts its parts together, and runs the loop that asks the schedule what to do next.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::access::AccessTokens;
use super::codes::Codes;
use super::context::Context;
use super::guard::Guard;
use super::heart::Heart;
use super::notifier::Notifier;
use super::record::Recorder;
use super::refresh::{Refreshed, Refreshes, Waits};
use super::schedule::{Clock, Schedule};
use super::unidentified::Unidentified;
use crate::domain::access_token::Reason;
use crate::domain::actor::Actor;
use crate::domain::arrival::{Arrival, Unwelcome, Welcome};
use crate::domain::code::{Grant, NoRoom};
use crate::domain::refresh::{LONGEST_NAP, Moment, Overview, Planner, Policy};
use crate::domain::time::Millis;
use crate::failpoint;
use crate::live::Live;
use crate::outbound::{Driver, Item, Outbound, Panicked};
use crate::ring_api::Current;
use crate::store::{Changed, Store, StoreError};
use crate::telemetry::Metrics;

/// Until a store that can't be read is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Beyond the longest call, until somebody else may begin a refresh of the account.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// What the token service works on.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    /// Without one nothing is refreshed.
    pub api: Current,
    pub policy: Policy,
    /// An answer of OAuth is late after this, and goes on being awaited.
    pub late_after: Duration,
    /// How long an exchange by `api` takes at most.
    pub answer_timeout: Duration,
    /// Authorization codes that are taken, and sent, a second.
    pub codes_per_second: u32,
    pub guard: Guard,
    pub metrics: Metrics,
    pub clock: Clock,
}

/// What a reload may change.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub policy: Policy,
    /// As those of [`Parts`].
    pub late_after: Duration,
    pub answer_timeout: Duration,
    pub codes_per_second: u32,
    /// Another client has been set.
    pub has_other_client: bool,
}

/// How the tokens of the whole daemon stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenStatus {
    /// Whether the configuration says who we are at Ring.
    pub configured: bool,
    /// Nothing is refreshed, since the store is an older copy or nobody can tell.
    pub guarded: bool,
    pub overview: Overview,
    /// Answers of OAuth that are not in the store yet.
    pub unrecorded: usize,
    /// Authorization codes that are not at their end.
    pub codes: usize,
}

/// Everything about tokens in one daemon.
#[derive(Debug)]
pub struct TokenService {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    refreshes: Arc<Refreshes>,
    unidentified: Arc<Unidentified>,
    codes: Arc<Codes>,
    notifier: Arc<Notifier>,
    access: AccessTokens,
    heart: Heart,
}

impl TokenService {
    /// The service over `parts`. It refreshes nothing until it [runs](Self::run).
    ///
    /// # Errors
    /// When the store can't be read, or the guard folder of a new one can't be written.
    pub async fn new(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, api, policy, late_after, answer_timeout, codes_per_second, guard, metrics, clock } =
            parts;
        // Before anybody can change the store: an epoch that has just begun would look like one that is missing.
        let guard = Arc::new(guard);
        let guarded = guard.at_start(store.outbox().epoch().await?).await;
        guarded.map_err(|error| {
            StoreError::Unavailable(format!("[tokens] guard_folder {}: {error}", guard.folder().display()))
        })?;
        let context = Arc::new(Context {
            schedule: Schedule::new(store.clone(), policy, clock),
            outbound: Arc::new(Outbound::new(policy.per_second, late_after)),
            store,
            api,
            metrics,
            guard,
        });
        let shared = || Arc::clone(&context);
        let recorder = Arc::new(Recorder::new(shared()));
        let unidentified = Arc::new(Unidentified::new(shared()));
        let refreshes = Arc::new(Refreshes {
            context: shared(),
            recorder: Arc::clone(&recorder),
            unidentified: Arc::clone(&unidentified),
            waits: Live::new(waits(&policy, answer_timeout)),
            last_resort: Mutex::new(HashSet::new()),
        });
        let (of_codes, arrived) = (Arc::clone(&recorder), Arc::clone(&unidentified));
        let codes = Arc::new(Codes::new(shared(), of_codes, arrived, codes_per_second));
        let notifier = Arc::new(Notifier { context: shared() });
        let access = AccessTokens { context: shared() };
        let heart = Heart::new();
        Ok(Arc::new(Self { context, recorder, refreshes, unidentified, codes, notifier, access, heart }))
    }

    /// What begins from now on goes by these. What is under way ends as it began.
    pub async fn set(&self, settings: Settings) {
        let Settings { policy, late_after, answer_timeout, codes_per_second, has_other_client } = settings;
        let schedule = &self.context.schedule;
        self.context.outbound.set(policy.per_second, late_after);
        self.codes.set_rate(codes_per_second);
        self.refreshes.waits.set(Arc::new(waits(&policy, answer_timeout)));
        schedule.set_policy(policy, has_other_client).await;
    }

    /// Access tokens for workers.
    pub fn access_tokens(&self) -> &AccessTokens {
        &self.access
    }

    /// The way to Ring, for what else must not be lost or sent twice.
    pub fn outbound(&self) -> &Arc<Outbound> {
        &self.context.outbound
    }

    /// Waits until the schedule has room for a call to Ring; whether it has.
    pub async fn permit_call(&self) -> bool {
        self.context.schedule.permit_call().await
    }

    /// Why nothing goes out to Ring at present, if so.
    pub fn trouble(&self) -> Option<Reason> {
        self.context.schedule.trouble().map(|(reason, _)| reason)
    }

    /// Ring asks us to send nothing for a while, and may say for how long.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        self.context.schedule.throttled(retry_after);
    }

    /// Takes a code, which is durable when this returns, and will be exchanged. One that came before is not exchanged again.
    ///
    /// # Errors
    /// [`NoRoom`]: it may be kept all the same where the store's word is missing, and may come again.
    pub async fn take_code(&self, grant: Grant) -> Result<(), NoRoom> {
        self.codes.take(grant).await
    }

    /// Whether codes can be exchanged, which takes `[ring]`.
    pub fn takes_codes(&self) -> bool {
        self.context.api.is_there()
    }

    /// A code was answered that it has to come again.
    pub fn sent_code_back(&self) {
        self.codes.sent_back();
    }

    /// Whether an account may be about to come of which nobody knows yet: its code is on its way, or has to come again.
    pub fn expects_accounts(&self) -> bool {
        self.context.outbound.codes() > 0 || self.codes.may_come_again()
    }

    /// Takes in a refresh token; its account has it when this returns [`Welcome::Linked`].
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn welcome(&self, arrival: Arrival) -> Result<Welcome, Unwelcome> {
        self.unidentified.take_in(arrival).await
    }

    /// How it stands now.
    pub fn status(&self) -> TokenStatus {
        TokenStatus {
            configured: self.context.api.is_there(),
            guarded: self.context.guard.is_guarded(),
            overview: self.context.schedule.planner().overview(self.context.schedule.moment()),
            unrecorded: self.recorder.count(),
            codes: self.context.outbound.codes(),
        }
    }

    /// Whether the loop that refreshes tokens has been silent for `patience` longer than it said, or has ended unasked. Waiting for
    /// the disk is neither.
    pub fn stands_still(&self, patience: Duration) -> bool {
        self.heart.stands_still(patience)
    }

    pub(super) fn moment(&self) -> Moment {
        self.context.schedule.moment()
    }

    pub(super) fn planner(&self) -> MutexGuard<'_, Planner> {
        self.context.schedule.planner()
    }

    /// When an account's tokens are tried next.
    pub fn next_try(&self, number: u32) -> Option<Millis> {
        let now = self.context.schedule.moment();
        let is_there = self.context.api.is_there();
        is_there.then(|| self.context.schedule.planner().next_try(number, now)).flatten()
    }

    /// Whether an account's token is not sent because OAuth's last answer can't be read and may hold those that replaced it.
    pub fn waits_on_kept_answer(&self, number: u32) -> bool {
        self.context.schedule.planner().waits_on_kept_answer(number)
    }

    /// Reads the clocks at once, for tests that move them; the machine's are read once a minute at least.
    #[doc(hidden)]
    pub fn look_at_the_clock(&self) {
        self.context.schedule.wake.notify_one();
        self.context.schedule.rounds().all();
        self.context.schedule.news.notify_one();
    }

    /// The operator says that this store is the one to go on with, though it is an older copy.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn accept_restored(&self, by: &Actor) -> Result<(), StoreError> {
        let seen = self.context.guard.noted_epoch().await.unwrap_or(0);
        let epoch = self.context.store.outbox().raise_epoch(seen, by.clone()).await?;
        let noted = self.context.guard.note(epoch).await;
        noted.map_err(|error| {
            StoreError::Unavailable(format!("{}: {error}", self.context.guard.folder().display()))
        })?;
        self.context.guard.lift().await;
        tracing::warn!("the restored store was accepted; refreshes go on");
        self.context.schedule.wake.notify_one();
        Ok(())
    }

    /// Refreshes tokens until `stop` resolves, and then until every answer that was under way is on disk. What OAuth has not
    /// answered by the time that `stop` says stays in the journal as unknown.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = Instant> + Send) {
        let mut stop = std::pin::pin!(stop);
        let alive = self.heart.alive();
        self.heart.rest();
        self.context.outbound.go_on();
        // Before anything is read, so that no change is missed.
        let mut changes = self.context.store.links().token_changes();
        let opened = async {
            while let Err(error) = self.open().await {
                tracing::error!(%error, "the tokens can't be read; trying again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        };
        tokio::select! {
            _ = &mut stop => return alive.end(),
            () = opened => {}
        }
        // These end with it.
        let mut beside = JoinSet::new();
        beside.spawn(Arc::clone(&self.notifier).complain());
        beside.spawn(Arc::clone(&self.notifier).run());
        beside.spawn(Arc::clone(&self.unidentified).identify_all());
        let mut driver = Driver::default();
        let mut unread = BTreeSet::new();
        let mut reload = false;
        let end = loop {
            match changes.take() {
                Changed::Accounts(accounts) => unread.extend(accounts),
                // It may have kept what it said it had not.
                Changed::All => reload = true,
            }
            self.heart.rest();
            tokio::select! {
                end = &mut stop => break end,
                () = async {
                    reload = reload && self.read_all().await.is_err();
                    self.catch_up(&mut unread).await;
                } => {}
            }
            self.heart.beat(Duration::ZERO);
            failpoint!("tokens.planning");
            self.codes.start_due(&mut driver);
            let settled = unread.is_empty() && !reload;
            let wait =
                self.refreshes.start_due(&mut driver).min(if settled { LONGEST_NAP } else { TRY_AGAIN });
            self.heart.beat(wait);
            tokio::select! {
                end = &mut stop => break end,
                () = tokio::time::sleep(wait) => {}
                () = self.context.schedule.wake.notified() => {}
                () = changes.changed() => {}
                Some((item, done)) = driver.ended() => {
                    self.heart.rest();
                    reload |= self.ended(item, done).await;
                }
            }
        };
        drop(beside);
        alive.end();
        self.context.outbound.stop(end);
        if !driver.is_empty() {
            tracing::info!(under_way = driver.len(), "waiting for what is under way at Ring");
        }
        while let Some((item, done)) = driver.ended().await {
            self.ended(item, done).await;
        }
    }

    /// Returns whether what is on disk has to be read anew.
    async fn ended(&self, item: Item, brought: Result<Option<Refreshed>, Panicked>) -> bool {
        let Item::Refresh(number) = item else { return brought.is_err() };
        let refreshed = brought.ok().flatten().unwrap_or(Refreshed::LOST);
        self.refreshes.ended(number, refreshed).await;
        false
    }

    /// Reads the schedule, and what a run before left to be done.
    async fn open(&self) -> Result<(), StoreError> {
        for answer in self.context.guard.answers().await {
            let (number, fence) = (answer.number, answer.fence);
            let taken = self.context.store.outbox().take_back_answer(number, fence, answer.sealed).await?;
            tracing::warn!(
                account_number = number,
                taken,
                "an answer of OAuth was found in the guard folder"
            );
            self.context.guard.drop_answer(number, fence).await;
        }
        self.read_all().await
    }

    async fn read_all(&self) -> Result<(), StoreError> {
        self.codes.read().await?;
        self.unidentified.read().await?;
        self.context.schedule.plan_all().await
    }

    /// Accounts whose tokens others changed.
    async fn catch_up(&self, unread: &mut BTreeSet<u32>) {
        for number in std::mem::take(unread) {
            self.refreshes.forget(number);
            let planned = self.context.schedule.replan(number).await;
            self.context.schedule.tell_waiters(number, None);
            if planned.is_err() {
                unread.insert(number);
            }
        }
    }
}

fn waits(policy: &Policy, answer_timeout: Duration) -> Waits {
    Waits { lease: answer_timeout + LEASE_MARGIN, repeat_unreadable: policy.repeat_unreadable }
}
