//! Requests of the public listener that left no event: refused, repeated, and those of account links. The newest of each kind are in
//! memory.
//!
//! Each kind has room of its own, so a flood of one pushes nothing of another out, and what repeats is one entry with a count. Nothing of
//! a body, a query or a signature is in here.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::domain::ids::AccountId;
use crate::domain::limiter::Limiter;
use crate::domain::time::Millis;

/// Entries of one kind.
const EACH: usize = 128;
/// New entries of one kind in a minute. Others are counted with the entry before them.
const A_MINUTE: u32 = 64;

/// A request as it was answered. Foreign text in it is escaped and cut by whoever notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of its kind, such as `forged` or `not_found`.
    pub outcome: &'static str,
    pub status: u16,
    pub method: String,
    /// Without its query.
    pub path: String,
    pub from: Option<IpAddr>,
    pub forwarded_for: Option<IpAddr>,
    /// The event's idempotency key, once its signature held.
    pub id: Option<String>,
    pub account: Option<AccountId>,
    pub why: Option<String>,
}

/// Where a request came from and what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub from: Option<IpAddr>,
    pub forwarded_for: Option<IpAddr>,
}

impl Asked {
    /// The request as it was answered.
    pub fn answered(self, outcome: &'static str, status: u16) -> Request {
        let Self { method, path, from, forwarded_for } = self;
        Request { outcome, status, method, path, from, forwarded_for, id: None, account: None, why: None }
    }
}

/// A request, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub request: Request,
    pub first_at: Millis,
    pub last_at: Millis,
    /// The same again is counted here.
    pub count: u64,
    /// Others of its kind that came behind it, in so great number that they have no entry.
    pub others: u64,
}

#[derive(Debug)]
struct Kinds {
    kinds: BTreeMap<&'static str, VecDeque<Noted>>,
    entries: Limiter<&'static str>,
}

/// The newest requests of each kind.
#[derive(Debug)]
pub struct Requests(Mutex<Kinds>);

impl Default for Requests {
    fn default() -> Self {
        Self(Mutex::new(Kinds { kinds: BTreeMap::new(), entries: Limiter::new(A_MINUTE) }))
    }
}

impl Requests {
    pub fn note(&self, request: Request) {
        self.note_at(request, clock::now());
    }

    fn note_at(&self, request: Request, now: Millis) {
        let Kinds { kinds, entries } = &mut *self.lock();
        let kind = kinds.entry(request.outcome).or_default();
        // The ids first, because of repeated events nothing else tells one from another, and each of them passes here.
        let is_same = |noted: &&mut Noted| noted.request.id == request.id && noted.request == request;
        if let Some(same) = kind.iter_mut().rev().take(A_MINUTE as usize).find(is_same) {
            same.count += 1;
            same.last_at = now;
            return;
        }
        if entries.pass(request.outcome, now).is_none()
            && let Some(newest) = kind.back_mut()
        {
            newest.others += 1;
            return;
        }
        if kind.len() >= EACH {
            kind.pop_front();
        }
        kind.push_back(Noted { request, first_at: now, last_at: now, count: 1, others: 0 });
    }

    /// Up to `limit` of them, the newest first.
    pub fn newest(&self, limit: usize) -> Vec<Noted> {
        self.some(limit, |_| true)
    }

    /// Those about the event with this key, the newest first.
    pub fn about(&self, id: &str) -> Vec<Noted> {
        self.some(EACH, |noted| noted.request.id.as_deref() == Some(id))
    }

    fn some(&self, limit: usize, wanted: impl Fn(&Noted) -> bool) -> Vec<Noted> {
        let mut all: Vec<Noted> =
            self.lock().kinds.values().flatten().filter(|noted| wanted(noted)).cloned().collect();
        all.sort_by_key(|noted| std::cmp::Reverse(noted.last_at));
        all.truncate(limit);
        all
    }

    /// Forgets those of an account.
    pub fn forget(&self, account: &AccountId) {
        for kind in self.lock().kinds.values_mut() {
            kind.retain(|noted| noted.request.account.as_ref() != Some(account));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kinds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(outcome: &'static str, path: &str) -> Request {
        let asked = Asked { method: "POST".into(), path: path.into(), from: None, forwarded_for: None };
        asked.answered(outcome, 401)
    }

    #[test]
    fn a_flood_of_one_kind_is_bounded_and_pushes_nothing_else_out() {
        let requests = Requests::default();
        requests.note_at(request("too_large", "/hook"), Millis(1));
        for n in 0..10_000u64 {
            requests.note_at(request("forged", &format!("/{n}")), Millis(2 + n));
        }
        let all = requests.newest(usize::MAX);
        assert_eq!(all.len(), A_MINUTE as usize + 1);
        assert_eq!(all[0].others, 10_000 - u64::from(A_MINUTE), "they are counted");
        assert_eq!(all.last().unwrap().request.outcome, "too_large");
        for minute in 1..100 {
            for n in 0..A_MINUTE {
                requests.note_at(request("forged", &format!("/{minute}/{n}")), Millis(minute * 61_000));
            }
        }
        assert_eq!(requests.newest(usize::MAX).len(), EACH + 1);
        assert_eq!(requests.newest(2).len(), 2);
    }

    #[test]
    fn the_same_again_is_one_entry() {
        let requests = Requests::default();
        for at in 1..=1000 {
            requests.note_at(request("not_found", "/a"), Millis(at));
            requests.note_at(request("not_found", "/b"), Millis(at));
        }
        let all = requests.newest(9);
        let said: Vec<_> =
            all.iter().map(|noted| (noted.count, noted.others, noted.first_at, noted.last_at)).collect();
        assert_eq!(said, [(1000, 0, Millis(1), Millis(1000)); 2]);
    }

    #[test]
    fn an_account_is_forgotten() {
        let requests = Requests::default();
        let account = AccountId::new("a").unwrap();
        let of =
            Request { id: Some("r-1".into()), account: Some(account.clone()), ..request("busy", "/hook") };
        requests.note_at(of, Millis(1));
        assert_eq!(requests.about("r-1").len(), 1);
        requests.forget(&account);
        assert!(requests.about("r-1").is_empty());
    }
}
