//! Visits whose account has not come yet, and the callers who wait for the answer.
//!
//! Bounds count users, because users sign in with the partner: nonces and codes can be made up in any number. What waits is in memory
//! alone; after a restart the same claim, made again, waits again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::claim::Bid;
use crate::domain::ids::UserId;
use crate::domain::nonce::{Matcher, Nonces};

/// Visits of one user, and calls about them, that wait at a time. A person has one or two.
const OF_ONE_USER: usize = 8;
/// Visits of all users that wait at a time; about 1 KiB each.
const OF_ALL: usize = 10_000;

/// Visits that wait for their account, by the user who claims it.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<UserId, Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    bid: Arc<Bid>,
    matcher: Arc<Matcher>,
    /// Told when the account has come and was ruled on.
    ruled: watch::Sender<()>,
    callers: usize,
}

/// A caller's place among those that wait, until this is dropped. Its visit waits on.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    waiting: &'a Waiting,
    bid: Arc<Bid>,
    pub(super) ruled: watch::Receiver<()>,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let mut all = self.waiting.all();
        let of_user = all.get_mut(&self.bid.user);
        if let Some(entry) = of_user.and_then(|entries| entries.iter_mut().find(|e| e.is_of(&self.bid))) {
            entry.callers = entry.callers.saturating_sub(1);
        }
    }
}

impl Caller<'_> {
    /// The visit is at its end, and waits no more.
    pub(super) fn done(self) {
        self.waiting.leave(&self.bid);
    }
}

impl Entry {
    fn is_of(&self, bid: &Bid) -> bool {
        self.bid.visit.nonce() == bid.visit.nonce() && self.bid.visit.time() == bid.visit.time()
    }
}

impl Waiting {
    fn all(&self) -> MutexGuard<'_, HashMap<UserId, Vec<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for the caller. None where its user, or all together, have too many; `is_live` tells what need not wait any more.
    pub(super) fn join(
        &self,
        bid: &Bid,
        matcher: Matcher,
        is_live: impl Fn(&Bid) -> bool,
    ) -> Option<Caller<'_>> {
        let mut all = self.all();
        if all.values().map(Vec::len).sum::<usize>() >= OF_ALL {
            forget_stale(&mut all, is_live);
        }
        let has_room = all.values().map(Vec::len).sum::<usize>() < OF_ALL;
        let entries = all.entry(bid.user.clone()).or_default();
        if entries.iter().map(|entry| entry.callers).sum::<usize>() >= OF_ONE_USER {
            return None;
        }
        if let Some(entry) = entries.iter_mut().find(|entry| entry.is_of(bid)) {
            entry.callers += 1;
            return Some(Caller {
                waiting: self,
                bid: Arc::clone(&entry.bid),
                ruled: entry.ruled.subscribe(),
            });
        }
        if entries.len() >= OF_ONE_USER {
            // The oldest of this user for which nobody waits; there is one, because callers are fewer.
            let oldest = entries.iter().position(|entry| entry.callers == 0)?;
            entries.remove(oldest);
        } else if !has_room {
            return None;
        }
        let (ruled, receiver) = watch::channel(());
        let bid = Arc::new(bid.clone());
        entries.push(Entry { bid: Arc::clone(&bid), matcher: Arc::new(matcher), ruled, callers: 1 });
        Some(Caller { waiting: self, bid, ruled: receiver })
    }

    /// Looks for the accounts of all that wait by these keys from now on.
    pub(super) fn compare_by(&self, nonces: &Nonces) {
        for entry in self.all().values_mut().flatten() {
            entry.matcher = Arc::new(nonces.of(&entry.bid.visit));
        }
    }

    fn leave(&self, bid: &Bid) {
        let mut all = self.all();
        if let Some(entries) = all.get_mut(&bid.user) {
            entries.retain(|entry| !entry.is_of(bid));
            if entries.is_empty() {
                all.remove(&bid.user);
            }
        }
    }

    /// Tells the callers that the visit was ruled on, and takes it out.
    pub(super) fn ruled(&self, bid: &Bid) {
        let all = self.all();
        let of_user = all.get(&bid.user);
        if let Some(entry) = of_user.and_then(|entries| entries.iter().find(|entry| entry.is_of(bid))) {
            entry.ruled.send_replace(());
        }
        drop(all);
        self.leave(bid);
    }

    /// All that wait and that `is_live`; the others are forgotten.
    pub(super) fn live(&self, is_live: impl Fn(&Bid) -> bool) -> Vec<(Arc<Bid>, Arc<Matcher>)> {
        let mut all = self.all();
        forget_stale(&mut all, is_live);
        let entries = all.values().flatten();
        entries.map(|entry| (Arc::clone(&entry.bid), Arc::clone(&entry.matcher))).collect()
    }
}

/// Takes out the visits that need not wait any more and that no caller waits for.
fn forget_stale(all: &mut HashMap<UserId, Vec<Entry>>, is_live: impl Fn(&Bid) -> bool) {
    all.retain(|_, entries| {
        entries.retain(|entry| entry.callers > 0 || is_live(&entry.bid));
        !entries.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::routing::Selection;
    use crate::domain::visit::Visit;

    fn bid(user: &str, visit: usize) -> Bid {
        let nonce = data_encoding::BASE64URL_NOPAD.encode(&[u8::try_from(visit % 256).unwrap(); 32]);
        Bid {
            visit: Visit::new(&nonce, &format!("{}", 1_764_038_400_000 + visit)).unwrap(),
            user: UserId::new(user).unwrap(),
            identifier: None,
            accounts: Selection::All,
            by: crate::domain::actor::Actor::Daemon,
        }
    }

    fn join<'a>(waiting: &'a Waiting, bid: &Bid) -> Option<Caller<'a>> {
        waiting.join(bid, Nonces::new([&b"key"[..]]).of(&bid.visit), |_| true)
    }

    #[test]
    fn a_user_with_many_made_up_nonces_takes_no_place_from_another() {
        let waiting = Waiting::default();
        let callers: Vec<_> = (0..100).filter_map(|n| join(&waiting, &bid("mallory", n))).collect();
        assert_eq!(callers.len(), OF_ONE_USER);
        let users: Vec<String> = (0..1000).map(|n| format!("user-{n}")).collect();
        let genuine: Vec<_> = users.iter().map(|user| join(&waiting, &bid(user, 1)).unwrap()).collect();
        drop((callers, genuine));
        // Calls have ended; the visits wait on, and a newer one of the same user takes the place of the oldest.
        assert!(join(&waiting, &bid("mallory", 500)).is_some());
        let of_mallory = waiting.live(|_| true).into_iter().filter(|(bid, _)| bid.user.as_str() == "mallory");
        assert_eq!(of_mallory.count(), OF_ONE_USER);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_too_old_is_forgotten() {
        let waiting = Waiting::default();
        for n in 0..OF_ALL {
            assert!(join(&waiting, &bid(&format!("user-{n}"), n)).is_some());
        }
        assert!(join(&waiting, &bid("one-more", 1)).is_none());
        let one = bid("one-more", 1);
        let matcher = Nonces::new([&b"key"[..]]).of(&one.visit);
        assert!(waiting.join(&one, matcher, |_| false).is_some());
        assert_eq!(waiting.live(|_| true).len(), 1);
    }

    #[test]
    fn callers_hear_that_their_visit_was_ruled_on() {
        let waiting = Waiting::default();
        let (ann, again) = (join(&waiting, &bid("ann", 1)).unwrap(), join(&waiting, &bid("ann", 1)).unwrap());
        let bob = join(&waiting, &bid("bob", 1)).unwrap();
        waiting.ruled(&bid("ann", 1));
        assert!(
            ann.ruled.has_changed().is_err() && again.ruled.has_changed().is_err(),
            "told, and taken out"
        );
        assert!(!bob.ruled.has_changed().unwrap());
        bob.done();
        assert!(waiting.live(|_| true).is_empty());
    }
}
