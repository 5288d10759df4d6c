//! Which accounts changed: told by a cursor, which any number of subscribers hold for themselves.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Changes that are kept for subscribers. One that is further behind is told that anything may have changed.
const KEPT: usize = 1 << 16;

/// What happened since a subscriber looked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// These accounts changed, if any.
    Accounts(BTreeSet<u32>),
    /// Any account may have changed, because the file was read anew, or the subscriber was too far behind.
    All,
}

#[derive(Debug, Default)]
struct Kept {
    accounts: VecDeque<u32>,
    /// Number of the oldest that is kept; they are numbered from 0.
    first: u64,
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.accounts.len() as u64
    }
}

/// The changes of one kind.
#[derive(Debug)]
pub(crate) struct Changes {
    kept: Mutex<Kept>,
    /// Number of the next change.
    end: watch::Sender<u64>,
}

impl Changes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), end: watch::Sender::new(0) })
    }

    /// Tells what was committed.
    pub(crate) fn tell(&self, accounts: &[u32]) {
        if accounts.is_empty() {
            return;
        }
        let end = {
            let mut kept = self.kept();
            kept.accounts.extend(accounts);
            let over = kept.accounts.len().saturating_sub(KEPT);
            kept.accounts.drain(..over);
            kept.first += over as u64;
            kept.end()
        };
        self.end.send_replace(end);
    }

    /// Tells that anything may have changed.
    pub(crate) fn tell_all(&self) {
        let end = {
            let mut kept = self.kept();
            kept.first = kept.end() + 1;
            kept.accounts.clear();
            kept.first
        };
        self.end.send_replace(end);
    }

    /// Tells of what happens from now on.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Subscription {
        let mut end = self.end.subscribe();
        let next = *end.borrow_and_update();
        Subscription { changes: Arc::clone(self), end, next }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber's place among the changes.
#[derive(Debug)]
pub struct Subscription {
    changes: Arc<Changes>,
    end: watch::Receiver<u64>,
    next: u64,
}

impl Subscription {
    /// What happened since this was last asked, or since the subscription began.
    pub fn take(&mut self) -> Changed {
        // Before the look, so that a change behind it is told again rather than missed.
        self.end.mark_unchanged();
        let kept = self.changes.kept();
        let after = std::mem::replace(&mut self.next, kept.end());
        let Some(skip) = after.checked_sub(kept.first) else { return Changed::All };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Changed::Accounts(kept.accounts.iter().skip(skip).copied().collect())
    }

    /// Whether something happened since [`Subscription::take`].
    pub fn has_changed(&self) -> bool {
        self.end.has_changed().unwrap_or(false)
    }

    /// Resolves when something has happened since [`Subscription::take`].
    pub async fn changed(&mut self) {
        let next = self.next;
        if self.end.wait_for(|end| *end > next).await.is_err() {
            // The store is closed: nothing happens any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(changed: Changed) -> Vec<u32> {
        match changed {
            Changed::Accounts(accounts) => accounts.into_iter().collect(),
            Changed::All => panic!("all"),
        }
    }

    #[tokio::test]
    async fn every_subscriber_is_told_all_that_happened_since_it_looked() {
        let changes = Changes::new();
        changes.tell(&[1]);
        let (mut one, mut two) = (changes.subscribe(), changes.subscribe());
        assert_eq!(accounts(one.take()), [0; 0], "that was before");
        changes.tell(&[7, 3, 7]);
        one.changed().await;
        assert_eq!(accounts(one.take()), [3, 7]);
        assert!(!one.has_changed() && two.has_changed());
        changes.tell(&[4]);
        two.changed().await;
        assert_eq!((accounts(one.take()), accounts(two.take())), (vec![4], vec![3, 4, 7]));
        assert_eq!(accounts(two.take()), [0; 0]);
    }

    #[test]
    fn a_file_that_is_read_anew_is_told_once_to_each() {
        let changes = Changes::new();
        let (mut one, mut two) = (changes.subscribe(), changes.subscribe());
        changes.tell(&[1]);
        changes.tell_all();
        changes.tell(&[2]);
        assert_eq!(one.take(), Changed::All);
        assert_eq!(accounts(one.take()), [0; 0]);
        changes.tell(&[3]);
        assert_eq!(accounts(one.take()), [3]);
        assert_eq!(two.take(), Changed::All);
    }

    #[test]
    fn one_that_is_too_far_behind_is_told_that_anything_may_have_changed() {
        let changes = Changes::new();
        let (mut slow, mut quick) = (changes.subscribe(), changes.subscribe());
        let all: Vec<u32> = (0..u32::try_from(KEPT).unwrap()).collect();
        changes.tell(&all);
        assert_eq!(accounts(quick.take()), all);
        changes.tell(&[5]);
        assert_eq!((accounts(quick.take()), slow.take()), (vec![5], Changed::All));
        assert!(changes.kept().accounts.len() <= KEPT);
    }
}
