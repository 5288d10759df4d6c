//! Authorization codes on their way: each is on disk before Ring has its answer, and exchanged within its minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::context::Context;
use super::record::{RECORD_AGAIN, Recorder};
use super::unidentified::Unidentified;
use crate::clock;
use crate::domain::backoff::Throttle;
use crate::domain::bucket::Bucket;
use crate::domain::code::{CodeEnd, Dating, Grant, LIFE, NoRoom, Tries, may_be_spent};
use crate::domain::heard::{Heard, Hindrance};
use crate::domain::limiter::Limiter;
use crate::domain::time::Millis;
use crate::domain::tokens::{Granted, Pair, Span, TokenPair};
use crate::failpoint;
use crate::outbound::{Attempt, Driver, InFlight, Item, RateLimiter};
use crate::randomness::random;
use crate::ring_api::{RingApi, Said};
use crate::store::{CodeId, Exchanged, KeptCode, StoreError, WaitingCode};

/// Codes that OAuth has at a time: each may take minutes, and anybody can make codes up.
const AT_OAUTH: usize = 128;
/// Seconds' worth of codes that may come at once, because many users may sign in together. It lengthens no wait beyond that: what goes
/// out to Ring has the same rate and no burst.
const BURST: u32 = 5;
/// Lines a minute for each kind of them.
const LINES: u32 = 6;
/// A user may be waiting: Ring is asked at these times whose the tokens are, before it is asked at leisure.
const IDENTIFY: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// Codes on their way.
#[derive(Debug)]
pub(super) struct Codes {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    unidentified: Arc<Unidentified>,
    /// What is taken a second: whoever knows the address can make codes up.
    share: Mutex<Bucket>,
    /// When a code was last told to come again.
    sent_back: Mutex<Option<Instant>>,
    /// And what is sent, beside everything else that goes to Ring.
    limiter: RateLimiter,
    throttle: Mutex<Throttle>,
    at_oauth: Semaphore,
    new: Mutex<Vec<(InFlight, Arrived)>>,
    dating: Mutex<Dating>,
    lines: Mutex<Limiter<Line>>,
}

/// A code, and when it came.
#[derive(Debug)]
struct Arrived {
    code: WaitingCode,
    came: Instant,
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

impl Codes {
    /// Of which so many are taken, and sent, a second.
    pub(super) fn new(
        context: Arc<Context>,
        recorder: Arc<Recorder>,
        unidentified: Arc<Unidentified>,
        per_second: u32,
    ) -> Self {
        Self {
            context,
            recorder,
            unidentified,
            share: Mutex::new(Bucket::full(per_second, per_second.saturating_mul(BURST))),
            sent_back: Mutex::default(),
            limiter: RateLimiter::with_burst(per_second, 1),
            throttle: Mutex::default(),
            at_oauth: Semaphore::new(AT_OAUTH),
            new: Mutex::default(),
            dating: Mutex::default(),
            lines: Mutex::new(Limiter::new(LINES)),
        }
    }

    /// So many are taken, and sent, a second from now on.
    pub(super) fn set_rate(&self, per_second: u32) {
        let ticks = self.context.schedule.moment().ticks;
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        share.set_rate(per_second, per_second.saturating_mul(BURST), ticks);
        self.limiter.set_rate(per_second);
    }

    /// A code was told to come again. Only the time is remembered: anybody can make codes up.
    pub(super) fn sent_back(&self) {
        *self.sent_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::ticks());
    }

    /// Whether a code that was told so may still come: Ring does not bring one that is dead.
    pub(super) fn may_come_again(&self) -> bool {
        let sent_back = *self.sent_back.lock().unwrap_or_else(PoisonError::into_inner);
        sent_back.is_some_and(|at| at.elapsed() < LIFE)
    }

    /// Takes a code, which is durable when this returns, and will be exchanged. One that came before is not exchanged again.
    ///
    /// # Errors
    /// [`NoRoom`]: it may be kept all the same where the store's word is missing, and may come again.
    pub(super) async fn take(self: &Arc<Self>, grant: Grant) -> Result<(), NoRoom> {
        if !self.context.api.is_there() {
            return Err(NoRoom::NotConfigured);
        }
        let ticks = self.context.schedule.moment().ticks;
        let share = self.share.lock().unwrap_or_else(PoisonError::into_inner).take(ticks);
        share.map_err(|_| NoRoom::TooMany)?;
        // A task of its own: what is kept has to be exchanged, whether or not somebody still waits for this.
        let codes = Arc::clone(self);
        let keeping = tokio::spawn(async move { codes.keep(grant).await });
        let kept =
            keeping.await.unwrap_or_else(|_| Err(StoreError::Unavailable("keeping it panicked".into())));
        kept.map_err(|error| NoRoom::Store(error.to_string()))
    }

    async fn keep(&self, grant: Grant) -> Result<(), StoreError> {
        let (received_at, came) = (self.context.schedule.now(), clock::ticks());
        let kept = self.context.store.outbox().keep_code(grant).await?;
        failpoint!("code.kept");
        match kept {
            KeptCode::New(id) => {
                self.expect(Arrived { code: WaitingCode { id, received_at, tries: 0 }, came });
            }
            KeptCode::Waiting(code) => self.expect(self.of_before(code)),
            KeptCode::Known => self.say(Line::Again, |silent_before| {
                tracing::info!(silent_before, "a code came again; it is not exchanged again");
            }),
        }
        Ok(())
    }

    fn expect(&self, arrived: Arrived) {
        if let Some(in_flight) = self.context.outbound.enter(Item::Code(arrived.code.id)) {
            self.new_ones().push((in_flight, arrived));
            self.context.schedule.wake.notify_one();
        }
    }

    /// One of which only the wall clock tells how old it is.
    fn of_before(&self, code: WaitingCode) -> Arrived {
        let age = self.context.schedule.now().since(code.received_at).min(LIFE);
        Arrived { code, came: clock::ticks().checked_sub(age).unwrap_or_else(clock::ticks) }
    }

    /// Reads what a run before left on its way, or this one after a commit that nobody knows of.
    pub(super) async fn read(&self) -> Result<(), StoreError> {
        for code in self.context.store.outbox().waiting_codes().await? {
            self.expect(self.of_before(code));
        }
        Ok(())
    }

    /// Sends off the codes that have come.
    pub(super) fn start_due<T: Default + Send + 'static>(self: &Arc<Self>, driver: &mut Driver<T>) {
        for (in_flight, arrived) in self.new_ones().drain(..) {
            let codes = Arc::clone(self);
            driver.start(in_flight, async move {
                codes.exchange(arrived).await;
                T::default()
            });
        }
    }

    /// Until the code is at its end, or the daemon stops between two tries: the next start goes on then.
    async fn exchange(&self, Arrived { code, came }: Arrived) {
        let (until, mut tries) = (came + LIFE, Tries::new(code.tries));
        let end = loop {
            if let Some(end) = tries.end() {
                break end;
            }
            // That of each try: a reload may have put right what OAuth refused. Without one the code was taken before it was taken out.
            let Some(api) = self.context.api.get() else { break CodeEnd::Expired };
            let attempt = CodeAttempt { of: self, api: &api, id: code.id, until, sent_at: AtomicU64::new(0) };
            let Said { heard, why } = match self.context.outbound.send_once(&attempt).await {
                End::Said(said) => said,
                End::TooLate => break tries.too_late(),
                End::Over => return,
            };
            let heard = match heard {
                Heard::Answer(Granted::Pair(pair)) if pair.refresh_token.is_some() => {
                    return self.take_in(&api, code.id, pair, came, attempt.sent_at()).await;
                }
                heard => heard,
            };
            let wait = match tries.heard(&heard, random()) {
                Ok(wait) => wait,
                Err(end) => break end,
            };
            let sent = tries.sent();
            self.say(Line::Later, |silent_before| {
                tracing::warn!(%why, sent, silent_before, "a code is not exchanged yet");
            });
            if clock::ticks() + wait >= until {
                break tries.too_late();
            }
            if self.context.outbound.unless_stopping(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        };
        self.end(code.id, end).await;
    }

    async fn end(&self, id: CodeId, end: CodeEnd) {
        self.context.metrics.code(end);
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
        while let Err(error) = self.context.store.outbox().end_code(id, end).await {
            self.say(Line::Unrecorded, |silent_before| {
                tracing::warn!(%error, silent_before, "what became of a code could not be noted; trying again");
            });
            if self.context.outbound.unless_stopping(tokio::time::sleep(RECORD_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// Does not come back before the tokens are on disk, also when the daemon is to stop: they are in memory alone.
    ///
    /// The tokens are as old as the request, because of two codes of one account OAuth most likely exchanged that last which was sent
    /// last, however late an answer came.
    async fn take_in(&self, api: &RingApi, id: CodeId, pair: TokenPair, came: Instant, sent_at: Millis) {
        let Some(refresh_token) = pair.refresh_token else { return };
        let span = Span::from_now(sent_at, pair.expires_in);
        let pair = Pair { access_token: Some(pair.access_token), refresh_token, scope: pair.scope };
        let came = self.context.store.ring_clock().when(clock::now()).minus(came.elapsed());
        let exchanged = Arc::new(Exchanged { pair, span, came });
        let mut waits = None;
        let number = loop {
            let error = match self.context.store.outbox().exchanged_code(id, Arc::clone(&exchanged)).await {
                Ok(number) => break number,
                Err(error) => error,
            };
            waits.get_or_insert_with(|| self.recorder.unrecorded());
            tracing::error!(%error, "the store can't take the tokens that a code brought; trying again");
            tokio::time::sleep(RECORD_AGAIN).await;
        };
        drop(waits);
        self.recorder.note_what_is_on_disk().await;
        failpoint!("code.recorded");
        self.context.metrics.code(CodeEnd::Exchanged);
        self.unidentified.expect(number).await;
        for wait in IDENTIFY {
            if self.context.outbound.unless_stopping(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            self.unidentified.identify(api, number).await;
            if !self.unidentified.expects(number).await {
                return;
            }
        }
    }

    /// Whoever knows the address can have as many lines of a kind as come, so only a few a minute are written.
    fn say(&self, line: Line, write: impl FnOnce(u64)) {
        let now = self.context.schedule.now();
        let passed = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(line, now);
        if let Some(silent_before) = passed {
            write(silent_before);
        }
    }

    /// What was heard of OAuth concerns the other codes too. Only those: what strangers make up must not hold up refreshes, which
    /// hear it themselves if it is meant for all.
    fn note_throttle<T>(&self, heard: &Heard<T>) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        match heard {
            Heard::NotSent(Hindrance::Throttled { retry_after }) => {
                let wait = throttle.wait(*retry_after, self.limiter.is_paused(), random());
                self.limiter.pause(wait.min(LIFE));
            }
            Heard::NotSent(_) => {}
            _ => *throttle = Throttle::default(),
        }
    }

    fn new_ones(&self) -> MutexGuard<'_, Vec<(InFlight, Arrived)>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One try at OAuth.
struct CodeAttempt<'a> {
    of: &'a Codes,
    api: &'a RingApi,
    id: CodeId,
    /// When its minute is over.
    until: Instant,
    /// When it was last sent, in milliseconds of the monotonic clock.
    sent_at: AtomicU64,
}

impl CodeAttempt<'_> {
    /// When it was last sent, by the wall clock as its answer has set it right: the first answer of a run tells the time.
    fn sent_at(&self) -> Millis {
        let sent = Duration::from_millis(self.sent_at.load(Ordering::Relaxed));
        let mut dating = self.of.dating.lock().unwrap_or_else(PoisonError::into_inner);
        dating.date(sent, self.of.context.schedule.moment())
    }
}

/// What a try came to.
enum End {
    Said(Said<Granted>),
    /// The minute was over before it could be sent.
    TooLate,
    /// It is at its end already, or the daemon stops.
    Over,
}

impl<'a> Attempt for CodeAttempt<'a> {
    type Place = SemaphorePermit<'a>;
    type Intent = Grant;
    type Given = Granted;
    type End = End;

    /// What strangers make up has a rate of its own.
    const AT_COMMON_RATE: bool = false;

    async fn admit(&self) -> Result<SemaphorePermit<'a>, End> {
        let codes = self.of;
        let place = async {
            let place = codes.at_oauth.acquire().await;
            codes.limiter.pass().await;
            place
        };
        match codes.context.outbound.unless_stopping(timeout_at(self.until, place)).await {
            Some(Ok(place)) => place.map_err(|_| End::Over),
            Some(Err(_)) => Err(End::TooLate),
            None => Err(End::Over),
        }
    }

    async fn intend(&self) -> Result<Grant, End> {
        let grant = match self.of.context.store.outbox().send_code(self.id).await {
            Ok(Some(grant)) => grant,
            Ok(None) => return Err(End::Over),
            Err(error) => return Err(End::Said(Said::new(Heard::WITHHELD, error.to_string()))),
        };
        failpoint!("code.sending");
        Ok(grant)
    }

    async fn send(&self, grant: &Grant) -> Said<Granted> {
        let ticks = self.of.context.schedule.moment().ticks.as_millis();
        self.sent_at.store(u64::try_from(ticks).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.api.exchange_code(&grant.code, grant.verifier.as_ref()).await
    }

    fn late(&self, _: &Grant) {
        self.of.say(Line::Slow, |silent_before| {
            tracing::warn!(silent_before, "OAuth has not answered a code in time; its answer is awaited");
        });
    }

    async fn settle(&self, _: Grant, said: Said<Granted>) -> End {
        failpoint!("code.answered");
        self.of.note_throttle(&said.heard);
        match &said.heard {
            Heard::Answer(Granted::Pair(pair)) if pair.refresh_token.is_some() => {}
            Heard::Answer(_) => tracing::error!(
                "OAuth's answer to a code has no refresh token that can be read: the link can't be kept"
            ),
            heard if may_be_spent(heard) => {}
            _ => {
                if let Err(error) = self.of.context.store.outbox().unsend_code(self.id).await {
                    tracing::warn!(%error, "that a code was not sent could not be noted");
                }
            }
        }
        End::Said(said)
    }
}
