//! Lanes in the order of an event of each, of all users and of each user: whoever wants some finds them without a look at
//! the others.

use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use super::lane::Lane;
use crate::domain::looks::visit;

/// Which end is walked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Oldest,
    Newest,
}

/// A sequence and the account of its lane.
pub(super) type Place = (u64, u32);

/// Lanes by one sequence of each, and by one for each of its users.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    all: BTreeSet<Place>,
    of_user: BTreeSet<(u32, u64, u32)>,
}

impl Order {
    /// All lanes by their newest events.
    pub(super) fn by_newest(lanes: &HashMap<u32, Lane>) -> Self {
        let last = |(&account, lane): (&u32, &Lane)| lane.span().map(|span| (span.last, account));
        let last_of_users = |(&account, lane): (&u32, &Lane)| {
            lane.users().map(move |(user, span)| (user, span.last, account)).collect::<Vec<_>>()
        };
        Self {
            all: lanes.iter().filter_map(last).collect(),
            of_user: lanes.iter().flat_map(last_of_users).collect(),
        }
    }

    /// Notes that the lane goes by another sequence, or by one for the first or the last time.
    pub(super) fn shift(&mut self, account: u32, from: Option<u64>, to: Option<u64>) {
        if from == to {
            return;
        }
        from.map(|seq| self.all.remove(&(seq, account)));
        to.map(|seq| self.all.insert((seq, account)));
    }

    /// The same of one of its users.
    pub(super) fn shift_user(&mut self, account: u32, user: u32, from: Option<u64>, to: Option<u64>) {
        if from == to {
            return;
        }
        from.map(|seq| self.of_user.remove(&(user, seq, account)));
        to.map(|seq| self.of_user.insert((user, seq, account)));
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// All lanes, the oldest first.
    pub(super) fn oldest(&self) -> impl Iterator<Item = Place> {
        self.all.iter().inspect(|_| visit()).copied()
    }

    /// The lanes that have events of these users, or all of them. A lane comes once for each of them that it has.
    pub(super) fn walk<'a>(
        &'a self,
        from: From,
        users: Option<&'a HashSet<u32>>,
    ) -> Box<dyn Iterator<Item = Place> + 'a> {
        let Some(users) = users else {
            return match from {
                From::Oldest => Box::new(self.oldest()),
                From::Newest => Box::new(self.all.iter().rev().inspect(|_| visit()).copied()),
            };
        };
        if users.len() <= self.of_user.len() {
            return Box::new(self.merged(from, users));
        }
        let lanes = self.of_user.iter().inspect(|_| visit()).filter(|(user, ..)| users.contains(user));
        let lanes: BTreeSet<Place> = lanes.map(|&(_, seq, account)| (seq, account)).collect();
        match from {
            From::Oldest => Box::new(lanes.into_iter()),
            From::Newest => Box::new(lanes.into_iter().rev()),
        }
    }

    /// One lane of each user at hand, the next of one who had the turn.
    fn merged<'a>(&'a self, from: From, users: &'a HashSet<u32>) -> impl Iterator<Item = Place> + 'a {
        let rank = move |seq: u64| if from == From::Oldest { !seq } else { seq };
        let next = move |user: u32, behind: Option<Place>| {
            visit();
            let (low, high) = ((user, 0, 0), (user, u64::MAX, u32::MAX));
            let found = match (from, behind) {
                (From::Oldest, None) => self.of_user.range(low..=high).next(),
                (From::Newest, None) => self.of_user.range(low..=high).next_back(),
                (From::Oldest, Some((seq, account))) => {
                    use std::ops::Bound::{Excluded, Included};
                    self.of_user.range((Excluded((user, seq, account)), Included(high))).next()
                }
                (From::Newest, Some((seq, account))) => {
                    self.of_user.range(low..(user, seq, account)).next_back()
                }
            };
            found.map(|&(user, seq, account)| (rank(seq), account, user))
        };
        let mut heads: BinaryHeap<_> = users.iter().filter_map(|&user| next(user, None)).collect();
        std::iter::from_fn(move || {
            let (ranked, account, user) = heads.pop()?;
            let place = (rank(ranked), account);
            heads.extend(next(user, Some(place)));
            Some(place)
        })
    }
}
