//! Events as they become durable, for followers: the newest few, within a bound of bytes however slow a follower is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::store::command::Published;

/// How many events a slow follower may lag behind.
const MAX_EVENTS: usize = 1024;
/// And how many bytes of bodies; all followers share them. The newest event is kept whatever its size.
const MAX_BYTES: usize = 8 << 20;

/// What a follower gets.
#[derive(Debug)]
pub enum Followed {
    Event(Arc<Published>),
    /// So many events, of any queue, came faster than the follower took them.
    Missed(u64),
}

/// Where the writer publishes.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Arc<Mutex<Ring>>,
    published: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Published>>,
    bytes: usize,
    /// Number of the event that comes next.
    next: u64,
}

/// Reads what is published from the moment that it was made.
#[derive(Debug)]
pub struct Follower {
    ring: Arc<Mutex<Ring>>,
    published: watch::Receiver<()>,
    /// Number of the event that it wants next.
    at: u64,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { ring: Arc::default(), published: watch::Sender::new(()) }
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.published.receiver_count() > 0
    }

    pub(crate) fn publish(&self, events: Vec<Published>) {
        let mut ring = locked(&self.ring);
        if self.is_followed() {
            for event in events {
                ring.push(event);
            }
        } else {
            ring.forget();
        }
        drop(ring);
        self.published.send_replace(());
    }

    pub(crate) fn follow(&self) -> Follower {
        let published = self.published.subscribe();
        Follower { at: locked(&self.ring).next, ring: Arc::clone(&self.ring), published }
    }
}

impl Ring {
    fn push(&mut self, event: Published) {
        self.bytes += event.event.body.len();
        self.next += 1;
        self.events.push_back(Arc::new(event));
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES && self.events.len() > 1 {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.event.body.len();
        }
    }

    fn forget(&mut self) {
        self.events = VecDeque::new();
        self.bytes = 0;
    }

    /// What the follower at `at` gets, if there is anything, and where it is then.
    fn get(&self, at: u64) -> Option<(Followed, u64)> {
        let first = self.next - self.events.len() as u64;
        if at < first {
            return Some((Followed::Missed(first - at), first));
        }
        let event = self.events.get(usize::try_from(at - first).ok()?)?;
        Some((Followed::Event(Arc::clone(event)), at + 1))
    }
}

impl Follower {
    /// The next event, or how many were missed before it; nothing once the store is gone.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            self.published.borrow_and_update();
            let got = locked(&self.ring).get(self.at);
            if let Some((followed, at)) = got {
                self.at = at;
                return Some(followed);
            }
            self.published.changed().await.ok()?;
        }
    }
}

fn locked(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::domain::event::Event;
    use crate::domain::ids::AccountId;
    use crate::domain::time::Millis;

    fn published(seq: u64, bytes: usize) -> Published {
        let account = AccountId::new("a").unwrap();
        let event = Event::of_link("k".into(), "linked", account, None, None, Millis(0));
        Published { seq, queues: Vec::new(), event: Event { body: vec![b'x'; bytes].into(), ..event } }
    }

    fn next(follower: &mut Follower) -> Option<Followed> {
        match pin!(follower.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(got) => got,
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_follower_that_stands_still_keeps_a_bounded_number_of_bytes_and_is_told() {
        let feed = Feed::new();
        let (mut still, mut quick) = (feed.follow(), feed.follow());
        for seq in 0..1024 {
            feed.publish(vec![published(seq, 900_000)]);
            assert!(matches!(next(&mut quick), Some(Followed::Event(event)) if event.seq == seq));
            let ring = locked(&feed.ring);
            let kept: usize = ring.events.iter().map(|event| event.event.body.len()).sum();
            assert!(kept == ring.bytes && kept <= MAX_BYTES, "{kept}");
        }
        let kept = locked(&feed.ring).events.len() as u64;
        assert!(matches!(next(&mut still), Some(Followed::Missed(n)) if n == 1024 - kept));
        for seq in 1024 - kept..1024 {
            assert!(matches!(next(&mut still), Some(Followed::Event(event)) if event.seq == seq));
        }
        assert!(next(&mut still).is_none());
    }

    #[test]
    fn small_events_are_bounded_by_their_number_and_a_large_one_is_kept_alone() {
        let feed = Feed::new();
        let mut follower = feed.follow();
        feed.publish((0..2000).map(|seq| published(seq, 1)).collect());
        assert!(matches!(next(&mut follower), Some(Followed::Missed(976))));
        feed.publish(vec![published(2000, MAX_BYTES + 1)]);
        assert!(matches!(next(&mut follower), Some(Followed::Missed(1024))));
        assert!(matches!(next(&mut follower), Some(Followed::Event(event)) if event.seq == 2000));
    }

    #[test]
    fn without_a_follower_nothing_is_kept_and_a_new_one_begins_at_what_comes() {
        let feed = Feed::new();
        let follower = feed.follow();
        feed.publish(vec![published(1, 1)]);
        drop(follower);
        feed.publish(vec![published(2, 1)]);
        assert_eq!(locked(&feed.ring).events.len(), 0);
        let mut follower = feed.follow();
        assert!(next(&mut follower).is_none());
        feed.publish(vec![published(3, 1)]);
        assert!(matches!(next(&mut follower), Some(Followed::Event(event)) if event.seq == 3));
    }
}
