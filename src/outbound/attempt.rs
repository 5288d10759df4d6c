//! One request from its intent to its record. Nothing is sent before the intent is on disk, and nobody hangs up on an answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::rate::RateLimiter;
use super::under_way::{InFlight, Item, UnderWay};
use crate::domain::heard::Heard;
use crate::live::Live;
use crate::ring_api::Said;

/// One request, as its kind sends it and takes its answer.
pub trait Attempt: Sync {
    /// What bounds how many are under way at a time; held until the end.
    type Place: Send;
    /// What is on disk before the request is sent, and what is needed to send it.
    type Intent: Send + Sync;
    /// What Ring gives.
    type Given: Send;
    /// What the attempt comes to.
    type End: Send;

    /// Whether it goes through the common rate limiter at the sending, or had one of its own when it was admitted.
    const AT_COMMON_RATE: bool = true;

    /// Waits until it may begin.
    ///
    /// # Errors
    /// What it comes to where it may not.
    fn admit(&self) -> impl Future<Output = Result<Self::Place, Self::End>> + Send;

    /// Notes, durably, that the request is about to be sent.
    ///
    /// # Errors
    /// What it comes to where nothing may be sent.
    fn intend(&self) -> impl Future<Output = Result<Self::Intent, Self::End>> + Send;

    /// Sends it, once.
    fn send(&self, intent: &Self::Intent) -> impl Future<Output = Said<Self::Given>> + Send;

    /// There is no answer yet, though there should be; it is awaited all the same.
    fn late(&self, intent: &Self::Intent);

    /// Notes what was heard, durably.
    fn settle(&self, intent: Self::Intent, said: Said<Self::Given>)
    -> impl Future<Output = Self::End> + Send;
}

/// The way to Ring of everything that must not be lost or sent twice.
#[derive(Debug)]
pub struct Outbound {
    under_way: Arc<UnderWay>,
    limiter: RateLimiter,
    /// An answer is late after this, and goes on being awaited.
    late_after: Live<Duration>,
    /// When the daemon is to have stopped: until then answers that are under way are awaited.
    end: watch::Sender<Option<Instant>>,
}

impl Outbound {
    /// At so many requests a second.
    pub fn new(per_second: u32, late_after: Duration) -> Self {
        let (under_way, limiter) = (Arc::default(), RateLimiter::new(per_second));
        Self { under_way, limiter, late_after: Live::new(late_after), end: watch::Sender::new(None) }
    }

    /// The same, for what is sent from now on.
    pub fn set(&self, per_second: u32, late_after: Duration) {
        self.limiter.set_rate(per_second);
        self.late_after.set(Arc::new(late_after));
    }

    /// Sends what an attempt says, once, and has it settled by what is heard.
    pub async fn send_once<A: Attempt>(&self, attempt: &A) -> A::End {
        let _place = match attempt.admit().await {
            Ok(place) => place,
            Err(end) => return end,
        };
        let intent = match attempt.intend().await {
            Ok(intent) => intent,
            Err(end) => return end,
        };
        if A::AT_COMMON_RATE {
            self.limiter.pass().await;
        }
        let said = self.hear_out(attempt.send(&intent), || attempt.late(&intent)).await;
        let said = said.unwrap_or_else(|| Said::new(Heard::SILENT, "the daemon stops"));
        attempt.settle(intent, said).await
    }

    /// Waits until a request that changes nothing at Ring may go out.
    pub async fn pass(&self) {
        self.limiter.pass().await;
    }

    /// Begins the work on an item; nothing when it is under way already.
    pub fn enter(&self, item: Item) -> Option<InFlight> {
        self.under_way.enter(item)
    }

    /// Tells whoever works on an item that something about it changed; whether anybody does.
    pub fn nudge(&self, item: Item) -> bool {
        self.under_way.nudge(item)
    }

    /// How many codes are under way.
    pub fn codes(&self) -> usize {
        self.under_way.codes()
    }

    /// Nothing new begins; answers are awaited until `end`, or until the latest that was said.
    pub fn stop(&self, end: Instant) {
        self.end.send_modify(|latest| *latest = (*latest).max(Some(end)));
    }

    /// A stop before is over.
    pub fn go_on(&self) {
        self.end.send_replace(None);
    }

    pub fn is_stopping(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Nothing when the daemon stops first.
    pub async fn unless_stopping<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let mut end = self.end.subscribe();
        tokio::select! {
            biased;
            _ = end.wait_for(Option::is_some) => None,
            done = wait => Some(done),
        }
    }

    /// Nothing when the daemon has to end first.
    pub async fn until_the_end<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let end = async {
            let mut end = self.end.subscribe();
            loop {
                let at = *end.borrow_and_update();
                let over = async {
                    match at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = over => return,
                    // Never an error, because the sender is here.
                    _ = end.changed() => {}
                }
            }
        };
        tokio::select! {
            biased;
            done = wait => Some(done),
            () = end => None,
        }
    }

    /// Awaits an answer, however late it is; `late` is told when it is. Nothing when the daemon has to end before.
    async fn hear_out<T>(&self, sent: impl Future<Output = T>, late: impl FnOnce()) -> Option<T> {
        let mut sent = std::pin::pin!(sent);
        let awaited = async {
            if let Ok(heard) = tokio::time::timeout(*self.late_after.get(), &mut sent).await {
                return heard;
            }
            late();
            sent.await
        };
        self.until_the_end(awaited).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock;
    use crate::domain::heard::Doubt;

    const LATE: Duration = Duration::from_secs(10);

    /// Answers after so long; notes what it is told.
    struct Slow {
        answers_after: Duration,
        may_be_sent: bool,
        told: Mutex<Vec<&'static str>>,
    }

    impl Slow {
        fn new(answers_after: Duration) -> Self {
            Self { answers_after, may_be_sent: true, told: Mutex::default() }
        }

        fn note(&self, what: &'static str) {
            self.told.lock().unwrap().push(what);
        }

        fn told(self) -> Vec<&'static str> {
            self.told.into_inner().unwrap()
        }
    }

    impl Attempt for Slow {
        type Place = ();
        type Intent = ();
        type Given = ();
        type End = Option<Heard<()>>;

        async fn admit(&self) -> Result<(), Self::End> {
            self.note("admitted");
            Ok(())
        }

        async fn intend(&self) -> Result<(), Self::End> {
            self.note("intended");
            if self.may_be_sent { Ok(()) } else { Err(None) }
        }

        async fn send(&self, (): &()) -> Said<()> {
            self.note("sent");
            tokio::time::sleep(self.answers_after).await;
            Said::new(Heard::Answer(()), "")
        }

        fn late(&self, (): &()) {
            self.note("late");
        }

        async fn settle(&self, (): (), said: Said<()>) -> Self::End {
            self.note("settled");
            Some(said.heard)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_awaited_however_late_it_is() {
        for (answers_after, expected) in [
            (LATE / 2, vec!["admitted", "intended", "sent", "settled"]),
            (LATE * 9, vec!["admitted", "intended", "sent", "late", "settled"]),
        ] {
            let slow = Slow::new(answers_after);
            let heard = Outbound::new(50, LATE).send_once(&slow).await;
            assert_eq!((heard, slow.told()), (Some(Heard::Answer(())), expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_noted_is_not_sent() {
        let slow = Slow { may_be_sent: false, ..Slow::new(LATE) };
        assert_eq!(Outbound::new(50, LATE).send_once(&slow).await, None);
        assert_eq!(slow.told(), ["admitted", "intended"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_awaits_answers_until_the_latest_end_that_was_said() {
        let outbound = Outbound::new(50, LATE);
        let began = clock::ticks();
        let (soon, never) = (Slow::new(LATE * 3), Slow::new(LATE * 99));
        let stop = async {
            tokio::time::sleep(LATE).await;
            outbound.stop(began + LATE * 2);
            assert_eq!(outbound.unless_stopping(std::future::pending::<()>()).await, None);
            outbound.stop(began + LATE * 4);
        };
        let (heard, unheard, ()) = tokio::join!(outbound.send_once(&soon), outbound.send_once(&never), stop);
        assert_eq!(heard, Some(Heard::Answer(())));
        assert_eq!(unheard, Some(Heard::Unknown(Doubt::Silent)), "it is settled, though nobody knows");
        assert_eq!(clock::ticks() - began, LATE * 4);
    }
}
