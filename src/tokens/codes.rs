//! Authorization codes: kept before Ring has its answer, exchanged within their minute, and what they brought given to its
//! account like any other tokens that arrive.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::TokenService;
use super::flight::Unrecorded;
use super::gate::Gate;
use crate::chance::random;
use crate::clock;
use crate::domain::backoff::{Backoff, Throttle};
use crate::domain::code::{CodeEnd, Grant, LIFE, NoRoom, TRIES};
use crate::domain::heard::{Doubt, Heard, Hindrance, Objection};
use crate::domain::limiter::Limiter;
use crate::domain::refresh::Bucket;
use crate::domain::tokens::{Granted, Pair, Span, TokenPair};
use crate::failpoint;
use crate::ring_api::{RingApi, Said};
use crate::store::{CodeId, Exchanged, KeptCode, StoreError, WaitingCode};

/// Between two tries of one code.
const AGAIN: Backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_secs(8) };
/// Codes that OAuth has at a time: each may take minutes, and anybody can make codes up.
const AT_OAUTH: usize = 128;
/// Between two tries to record what came of one.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// Lines a minute for each kind of them.
const LINES: u32 = 6;
/// A user may be waiting: Ring is asked at these times whose the tokens are, before it is asked at leisure.
const GREET: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// What one try at OAuth left to be done.
enum Tried {
    Given(TokenPair),
    /// OAuth does not honour it.
    Refused,
    /// OAuth gave something for it that is of no use.
    Unusable,
    /// It is at its end already.
    Gone,
    /// OAuth has done nothing with it.
    Unsent(String),
    /// OAuth says that it failed, and perhaps when to ask again: most likely it has done nothing with it.
    Failed(String, Option<Duration>),
    /// Nobody knows.
    Unknown(String),
}

impl TokenService {
    /// Takes a code, which is durable when this returns, and will be exchanged. One that came before is not exchanged again.
    ///
    /// # Errors
    /// [`NoRoom`]: it may be kept all the same where the store's word is missing, and may come again.
    pub async fn take_code(self: &Arc<Self>, grant: Grant) -> Result<(), NoRoom> {
        if self.api.is_none() {
            return Err(NoRoom::NotConfigured);
        }
        let share = self.codes.share.lock().unwrap_or_else(PoisonError::into_inner).take(self.moment().ticks);
        share.map_err(|_| NoRoom::TooMany)?;
        // A task of its own: what is kept has to be exchanged, whether or not somebody still waits for this.
        let desk = Arc::clone(self);
        let keeping = tokio::spawn(async move { desk.keep_code(grant).await });
        let kept =
            keeping.await.unwrap_or_else(|_| Err(StoreError::Unavailable("keeping it panicked".into())));
        kept.map_err(|error| NoRoom::Store(error.to_string()))
    }

    async fn keep_code(&self, grant: Grant) -> Result<(), StoreError> {
        let received_at = self.now();
        let kept = self.store.outbox().keep_code(grant).await?;
        failpoint!("code.kept");
        match kept {
            KeptCode::New(id) => self.expect(WaitingCode { id, received_at, tries: 0 }),
            KeptCode::Waiting(code) => self.expect(code),
            KeptCode::Known => self.say(Line::Again, |silent_before| {
                tracing::info!(silent_before, "a code came again; it is not exchanged again");
            }),
        }
        Ok(())
    }

    fn expect(&self, code: WaitingCode) {
        if self.codes.under_way_mut().insert(code.id) {
            self.codes.new_ones().push(code);
            self.wake.notify_one();
        }
    }

    /// Whether an account may be about to come of which nobody knows yet.
    pub fn expects_accounts(&self) -> bool {
        self.codes.under_way() > 0
    }

    /// Reads what a run before left on its way, or this one after a commit that nobody knows of.
    pub(super) async fn read_codes(&self) -> Result<(), StoreError> {
        for code in self.store.outbox().waiting_codes().await? {
            self.expect(code);
        }
        Ok(())
    }

    /// Sends off the codes that have come.
    pub(super) fn send_codes(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        for code in self.codes.new_ones().drain(..) {
            let under_way = UnderWay { desk: Arc::clone(self), id: code.id };
            tasks.spawn(async move {
                let desk = &under_way.desk;
                match &desk.api {
                    Some(api) => desk.exchange(api, code).await,
                    // Taken when there was one.
                    None => desk.end_code(code.id, CodeEnd::Expired).await,
                }
            });
        }
    }

    /// Until the code is at its end, or the daemon stops between two tries: the next start goes on then.
    async fn exchange(&self, api: &RingApi, code: WaitingCode) {
        let age = self.now().since(code.received_at).min(LIFE);
        // By this clock, since the other may be set; the answer tells the time at Ring.
        let came = clock::ticks().checked_sub(age).unwrap_or_else(clock::ticks);
        let until = came + LIFE;
        let (mut sent, mut failures, mut doubtful) = (code.tries, 0, false);
        let end = loop {
            if sent >= TRIES {
                break CodeEnd::Lost;
            }
            let place = async {
                let place = self.codes.at_oauth.acquire().await;
                self.codes.gate.pass().await;
                place
            };
            let place = match self.unless_stopping(timeout_at(until, place)).await {
                Some(Ok(place)) => place,
                Some(Err(_)) => break too_late(sent, doubtful),
                None => return,
            };
            let tried = self.try_code(api, code.id).await;
            drop(place);
            let mut asked = Duration::ZERO;
            let why = match tried {
                Tried::Given(pair) => return self.take_in(api, code.id, pair, came).await,
                Tried::Refused if sent > 0 || doubtful => break CodeEnd::Lost,
                Tried::Refused => break CodeEnd::Refused,
                Tried::Unusable => break CodeEnd::Lost,
                Tried::Gone => return,
                Tried::Unsent(why) => why,
                Tried::Failed(why, retry_after) => {
                    doubtful = true;
                    asked = retry_after.unwrap_or_default().min(LIFE);
                    why
                }
                Tried::Unknown(why) => {
                    sent += 1;
                    why
                }
            };
            failures += 1;
            let wait = AGAIN.wait(failures, random()).max(asked);
            self.say(Line::Later, |silent_before| {
                tracing::warn!(%why, sent, silent_before, "a code is not exchanged yet");
            });
            if clock::ticks() + wait >= until {
                break too_late(sent, doubtful);
            }
            if self.unless_stopping(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        };
        self.end_code(code.id, end).await;
    }

    async fn try_code(&self, api: &RingApi, id: CodeId) -> Tried {
        let grant = match self.store.outbox().send_code(id).await {
            Ok(Some(grant)) => grant,
            Ok(None) => return Tried::Gone,
            Err(error) => return Tried::Unsent(error.to_string()),
        };
        failpoint!("code.sending");
        let sent = api.exchange_code(&grant.code, grant.verifier.as_ref());
        let exchange = self.hear_out(sent, || {
            self.say(Line::Slow, |silent_before| {
                tracing::warn!(silent_before, "OAuth has not answered a code in time; its answer is awaited");
            });
        });
        let said = exchange.await.unwrap_or_else(|| Said::new(Heard::SILENT, "the daemon stops"));
        failpoint!("code.answered");
        if !matches!(said.heard, Heard::NotSent(_)) {
            *self.codes.throttle() = Throttle::default();
        }
        let why = said.why;
        let tried = match said.heard {
            Heard::Answer(Granted::Pair(pair)) if pair.refresh_token.is_some() => return Tried::Given(pair),
            Heard::Answer(_) => {
                tracing::error!(
                    "OAuth's answer to a code has no refresh token that can be read: the link can't be kept"
                );
                return Tried::Unusable;
            }
            Heard::Refused(Objection::Grant) => return Tried::Refused,
            Heard::Unknown(Doubt::Silent) => return Tried::Unknown(why),
            Heard::Unknown(Doubt::Failed { retry_after }) => Tried::Failed(why, retry_after),
            Heard::NotSent(Hindrance::Throttled { retry_after }) => {
                // Only these: what strangers make up must not hold up refreshes, which hear it themselves if it is meant for all.
                let wait = self.codes.throttle().wait(retry_after, self.codes.gate.is_paused(), random());
                self.codes.gate.pause(wait.min(LIFE));
                Tried::Unsent("OAuth throttles us".to_owned())
            }
            Heard::NotSent(_) | Heard::Refused(_) => Tried::Unsent(why),
        };
        if let Err(error) = self.store.outbox().unsend_code(id).await {
            tracing::warn!(%error, "that a code was not sent could not be noted");
        }
        tried
    }

    async fn end_code(&self, id: CodeId, end: CodeEnd) {
        self.metrics.code(end);
        let outcome = end.as_str();
        if end == CodeEnd::Refused {
            self.say(Line::Refused, |silent_before| {
                tracing::warn!(
                    outcome,
                    silent_before,
                    "OAuth does not honour a code: it was made up, or too old"
                );
            });
        } else {
            self.say(Line::Lost, |silent_before| {
                tracing::error!(
                    outcome,
                    silent_before,
                    "a code brought no tokens: the user has to remove the app in Ring and add it again"
                );
            });
        }
        while let Err(error) = self.store.outbox().end_code(id, end).await {
            self.say(Line::Unrecorded, |silent_before| {
                tracing::warn!(%error, silent_before, "what became of a code could not be noted; trying again");
            });
            if self.unless_stopping(tokio::time::sleep(RECORD_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// Does not come back before the tokens are on disk, also when the daemon is to stop: they are in memory alone.
    async fn take_in(&self, api: &RingApi, id: CodeId, pair: TokenPair, came: Instant) {
        let Some(refresh_token) = pair.refresh_token else { return };
        let span = Span::from_now(self.now(), pair.expires_in);
        let pair = Pair { access_token: Some(pair.access_token), refresh_token, scope: pair.scope };
        let came = self.store.ring_clock().when(clock::now()).minus(came.elapsed());
        let exchanged = Arc::new(Exchanged { pair, span, came });
        let mut waits = None;
        let number = loop {
            let error = match self.store.outbox().exchanged_code(id, Arc::clone(&exchanged)).await {
                Ok(number) => break number,
                Err(error) => error,
            };
            waits.get_or_insert_with(|| Unrecorded::new(&self.unrecorded));
            tracing::error!(%error, "the store can't take the tokens that a code brought; trying again");
            tokio::time::sleep(RECORD_AGAIN).await;
        };
        drop(waits);
        self.note_what_is_on_disk().await;
        failpoint!("code.recorded");
        self.metrics.code(CodeEnd::Exchanged);
        self.arriving.lock().await.entry(number).or_default();
        for wait in GREET {
            if self.unless_stopping(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            self.greet(api, number).await;
            if !self.arriving.lock().await.contains_key(&number) {
                return;
            }
        }
    }

    /// Whoever knows the address can have as many lines of a kind as come, so only a few a minute are written.
    fn say(&self, line: Line, write: impl FnOnce(u64)) {
        let passed = self.codes.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(line, self.now());
        if let Some(silent_before) = passed {
            write(silent_before);
        }
    }

    /// Nothing when the daemon stops first.
    async fn unless_stopping<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(Option::is_some) => None,
            done = wait => Some(done),
        }
    }
}

/// What a code is whose minute is over.
fn too_late(sent: u8, doubtful: bool) -> CodeEnd {
    if sent == 0 && !doubtful { CodeEnd::Expired } else { CodeEnd::Lost }
}

/// Codes on their way.
#[derive(Debug)]
pub(super) struct Codes {
    /// What is taken a second: whoever knows the address can make codes up.
    share: Mutex<Bucket>,
    /// And what is sent, beside everything else that goes to Ring.
    gate: Gate,
    throttle: Mutex<Throttle>,
    at_oauth: Semaphore,
    new: Mutex<Vec<WaitingCode>>,
    under_way: Mutex<HashSet<CodeId>>,
    lines: Mutex<Limiter<Line>>,
}

/// What is said of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Again,
    Later,
    Slow,
    Refused,
    Lost,
    Unrecorded,
}

/// A code is under way while this lives, however its exchange ends.
struct UnderWay {
    desk: Arc<TokenService>,
    id: CodeId,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.desk.codes.under_way_mut().remove(&self.id);
    }
}

impl Codes {
    /// For so many a second.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            share: Mutex::new(Bucket::full(per_second, per_second)),
            gate: Gate::with_burst(per_second, 1),
            throttle: Mutex::default(),
            at_oauth: Semaphore::new(AT_OAUTH),
            new: Mutex::default(),
            under_way: Mutex::default(),
            lines: Mutex::new(Limiter::new(LINES)),
        }
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way_mut().len()
    }

    fn under_way_mut(&self) -> MutexGuard<'_, HashSet<CodeId>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_ones(&self) -> MutexGuard<'_, Vec<WaitingCode>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
