//! One account's waiting events in the order of their acceptance, and which users they are of.

use std::collections::{BTreeMap, VecDeque};

use super::entry::{Entry, Scope};
use crate::domain::looks::visit;
use crate::domain::time::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Free,
    Leased(u64),
    Delayed(Millis),
}

/// First and last sequence of some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub first: u64,
    pub last: u64,
}

/// Where a lane begins and ends, and where the events of one user do in it; nothing without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub lane: Option<Span>,
    pub user: Option<Span>,
}

#[derive(Debug)]
pub(super) struct Lane {
    entries: VecDeque<Entry>,
    pub hold: Hold,
    /// By user, where an account's events are of several. Seldom: an account has one user, until it is moved.
    mixed: Option<Box<Users>>,
}

/// Users of a lane, and where each one's events begin and end.
#[derive(Debug)]
struct Users(BTreeMap<u32, Span>);

impl Lane {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::with_capacity(1), hold: Hold::Free, mixed: None }
    }

    pub(super) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    pub(super) fn position(&self, seq: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    /// The whole lane's span; nothing when it is empty.
    pub(super) fn span(&self) -> Option<Span> {
        Some(Span { first: self.entries.front()?.seq, last: self.entries.back()?.seq })
    }

    /// The users in the lane, and the span of each.
    pub(super) fn users(&self) -> impl Iterator<Item = (u32, Span)> {
        let only = if self.mixed.is_some() { None } else { self.entries.front().map(|entry| entry.user) };
        let several = self.mixed.iter().flat_map(|users| users.0.iter().map(|(&user, &span)| (user, span)));
        only.zip(self.span()).into_iter().chain(several)
    }

    pub(super) fn ends(&self, user: u32) -> Ends {
        let of_user = match &self.mixed {
            Some(users) => users.0.get(&user).copied(),
            None if self.entries.front().is_some_and(|entry| entry.user == user) => self.span(),
            None => None,
        };
        Ends { lane: self.span(), user: of_user }
    }

    /// From the first to the last event in `scope`; nothing when there is none.
    pub(super) fn span_in(&self, scope: &Scope) -> Option<Span> {
        let spans = self.users().filter(|(user, _)| scope.has_user(*user)).map(|(_, span)| span);
        spans.reduce(|a, b| Span { first: a.first.min(b.first), last: a.last.max(b.last) })
    }

    /// The events in `scope`, oldest first.
    pub(super) fn in_scope<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Entry> {
        let start = self.span_in(scope).and_then(|span| self.position(span.first));
        let entries = start.map(|start| self.entries.range(start..));
        entries.into_iter().flatten().inspect(|_| visit()).filter(|entry| scope.has_user(entry.user))
    }

    /// The newest event in `scope` that is older than `seq`.
    pub(super) fn before(&self, seq: u64, scope: &Scope) -> Option<&Entry> {
        let end = self.entries.partition_point(|entry| entry.seq < seq);
        let older = self.entries.range(..end).rev().inspect(|_| visit());
        let first = self.span_in(scope)?.first;
        older.take_while(|entry| entry.seq >= first).find(|entry| scope.has_user(entry.user))
    }

    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert!(self.entries.back().is_none_or(|last| last.seq < entry.seq), "a lane is in order");
        let Entry { seq, user, .. } = entry;
        let other = self.entries.front().map(|first| first.user).filter(|owner| *owner != user);
        if self.mixed.is_none() {
            let alone = |(owner, span)| Box::new(Users(BTreeMap::from([(owner, span)])));
            self.mixed = other.zip(self.span()).map(alone);
        }
        if let Some(users) = &mut self.mixed {
            users.0.entry(user).or_insert(Span { first: seq, last: seq }).last = seq;
        }
        self.entries.push_back(entry);
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        let Some(users) = &mut self.mixed else { return Some(entry) };
        let Entry { seq, user, .. } = entry;
        if let Some(span) = users.0.get_mut(&user) {
            let of_user = |entry: &&Entry| entry.user == user;
            if span.first == span.last {
                users.0.remove(&user);
            } else if span.first == seq {
                span.first = self.entries.range(at..).find(of_user).map_or(span.last, |entry| entry.seq);
            } else if span.last == seq {
                span.last =
                    self.entries.range(..at).rev().find(of_user).map_or(span.first, |entry| entry.seq);
            }
        }
        if users.0.len() < 2 {
            self.mixed = None;
        }
        Some(entry)
    }
}
