//! Whose an account is and was, by Ring's time. The one place that answers whose an event is.
//!
//! ```text
//!       A links        A removes the app      B adds it: first sign      B claims
//! ───────┼───────────────────┼───────────────────────┼─────────────────────┼──────▶ Ring's time
//!        └───────────── A's ─────────────────────────┴──── held, then B's ─┴── B's
//! ```
//!
//! An event belongs to the link in whose time it happened: from that link's start to the next one's. What happened after a removal is
//! held while no next link is known, because its first sign may still be on its way: the next claim decides, or the end of the hold.

use std::time::Duration;

use super::state::LinkState;
use crate::domain::ring_time::RingTime;
use crate::domain::time::Millis;

/// The number of "no user".
pub const NOBODY: u32 = 0;
/// The number of "a user who was forgotten": never given to anybody.
const FORGOTTEN: u32 = u32::MAX;
/// Ring retries for 1 h 13 min and replays for 72 h; what happened before that does not come any more.
pub const KEPT: Duration = Duration::from_hours(76);
/// Links of one account that are told apart within that time.
const MOST_TERMS: usize = 16;
/// Signs of an installed app that are kept.
const MOST_SIGNS: usize = 16;
/// Nobody removes an app and adds it again in less.
const APART: Duration = Duration::from_secs(2);

/// From then on the account was that user's, or nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    pub from: Millis,
    pub user: u32,
}

/// Whose an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    User(u32),
    /// Held: of whoever claims the account.
    Next,
    /// Held, because the next link may have begun already; if none comes, it is that user's, or nobody's.
    NextOr(u32),
    /// Its link ended before anybody claimed it, or is too long ago to be known.
    Nobody,
    /// Dropped: the account was forgotten since.
    Forgotten,
}

impl Owner {
    /// The user's number, if it is decided; else [`NOBODY`].
    pub fn user(self) -> u32 {
        if let Self::User(user) = self { user } else { NOBODY }
    }
}

/// Whose an account is and was. All times are Ring's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    pub state: LinkState,
    /// Ascending; never empty. The first begins at 0 unless earlier ones were dropped.
    pub terms: Vec<Term>,
    /// When the app was there: codes, added devices, claims. Ascending.
    pub signs: Vec<Millis>,
    /// When the present link's tokens were given, or where there were none, when somebody took the account. 0 before.
    pub linked_at: Millis,
    /// When its user took the account last: the visit's time, or when the operator acted. 0 before.
    pub taken_at: Millis,
    /// When Ring gave the last code; 0 where none came.
    pub code_at: Millis,
    /// When the app was removed last; 0 where it was not.
    pub removed_at: Millis,
}

impl Tenure {
    /// Of an account that nobody has.
    pub fn new(state: LinkState, user: u32) -> Self {
        let never = Millis(0);
        Self {
            state,
            terms: vec![Term { from: never, user }],
            signs: Vec::new(),
            linked_at: never,
            taken_at: never,
            code_at: never,
            removed_at: never,
        }
    }

    /// Of an account that was forgotten at `forgotten_at`, and comes anew.
    pub(super) fn after_forget(forgotten_at: Millis) -> Self {
        let mut tenure = Self::new(LinkState::Unclaimed, FORGOTTEN);
        tenure.terms.push(Term { from: forgotten_at, user: NOBODY });
        tenure
    }

    fn last(&self) -> Term {
        self.terms.last().copied().unwrap_or(Term { from: Millis(0), user: NOBODY })
    }

    /// The newest time of Ring's that is known of it.
    pub fn newest(&self) -> Millis {
        let sign = self.signs.last().copied().unwrap_or_default();
        let times = [self.last().from, sign, self.linked_at, self.taken_at, self.code_at, self.removed_at];
        times.into_iter().max().unwrap_or_default()
    }

    /// Who has the account now: gets its tokens and is told of its link. Where the app was removed, who had it.
    pub fn holder(&self) -> u32 {
        match self.state {
            LinkState::Unclaimed => NOBODY,
            LinkState::Removed if self.next_began() => self.former(),
            _ => self.last().user,
        }
    }

    /// Who had it before a link that nobody has claimed.
    pub fn former(&self) -> u32 {
        let before = self.terms.len().checked_sub(2).and_then(|at| self.terms.get(at));
        before.filter(|term| term.user != FORGOTTEN).map_or(NOBODY, |term| term.user)
    }

    /// Who has it and had it, as far as that is known, the latest first, each once; [`NOBODY`] for the time in which nobody had it.
    pub fn owners(&self) -> Vec<u32> {
        let mut owners = Vec::new();
        for Term { user, .. } in self.terms.iter().rev() {
            if *user != FORGOTTEN && !owners.contains(user) {
                owners.push(*user);
            }
        }
        owners
    }

    /// Whether a link began after the removal that is known.
    pub(super) fn next_began(&self) -> bool {
        let last = self.last();
        last.from > self.removed_at && last.user == NOBODY
    }

    /// Whether every event is the holder's, whenever it happened: no other link is known.
    pub fn is_simple(&self) -> bool {
        self.state.is_held() && self.terms.len() == 1 && self.last().from == Millis(0)
    }

    /// Whether what happened then is of a link before the present one.
    pub fn is_of_before(&self, at: Millis) -> bool {
        at < self.last().from
    }

    /// Whose an event of type `kind` is that happened then.
    pub fn whose(&self, kind: &str, at: Option<Millis>) -> Owner {
        let last = self.last();
        let found = match at {
            Some(at) => self.terms.iter().rev().find(|term| term.from <= at).copied(),
            None => Some(last),
        };
        let Some(term) = found else { return Owner::Nobody };
        if term != last {
            return match term.user {
                NOBODY => Owner::Nobody,
                FORGOTTEN => Owner::Forgotten,
                user => Owner::User(user),
            };
        }
        let is_over = self.state == LinkState::Removed && term.from <= self.removed_at;
        let is_of_it = is_farewell(kind) || at.is_some_and(|at| at <= self.removed_at);
        match (is_over, term.user) {
            (true, user) if !is_of_it => Owner::NextOr(user),
            (true, NOBODY) => Owner::Nobody,
            (false, NOBODY) => Owner::Next,
            (_, user) => Owner::User(user),
        }
    }

    /// The user has all of the present term: nobody had it.
    pub(super) fn fill(&mut self, user: u32) {
        let Term { from, .. } = self.last();
        self.terms.pop();
        self.push(Term { from, user });
        if self.last().from == from && user != NOBODY {
            self.mark_last_code(from, user);
        }
    }

    /// Where the app was there before the last code too, the removal of an earlier link may still be on its way: the term is in two
    /// parts of one user, of which [`Self::split`] takes the first back.
    fn mark_last_code(&mut self, from: Millis, user: u32) {
        let first = self.signs.iter().find(|sign| **sign >= from);
        let code = self.signs.iter().rev().find(|sign| **sign <= self.code_at);
        if let (Some(first), Some(code)) = (first.copied(), code.copied())
            && first.plus(APART) <= code
        {
            self.terms.push(Term { from: code, user });
        }
    }

    /// From `at` on the account is `user`'s.
    pub(super) fn turn(&mut self, at: Millis, user: u32) {
        self.terms.retain(|term| term.from < at || term.from == Millis(0));
        if self.last().from == at {
            self.terms.pop();
        }
        self.push(Term { from: at, user });
    }

    fn push(&mut self, term: Term) {
        let goes_on = term.user != NOBODY && self.terms.last().is_some_and(|last| last.user == term.user);
        if !goes_on {
            self.terms.push(term);
        }
    }

    /// The app was there at `at`, after the removal that is known: the link that followed began no later. A term that began for another
    /// reason than a sign of its link stays as it is.
    pub(super) fn began_by(&mut self, at: Millis) {
        let removed_at = self.removed_at;
        let follows = self.terms.iter().position(|term| term.from > removed_at);
        let first_sign = self.sign_after(removed_at);
        let place = follows.filter(|place| *place > 0 && removed_at > Millis(0) && at > removed_at);
        if let Some(term) = place.and_then(|place| self.terms.get_mut(place))
            && first_sign.is_none_or(|sign| sign >= term.from)
        {
            term.from = term.from.min(at);
        }
    }

    /// A removal of before the present link: what the present user was given with the link, because nobody had claimed the one that
    /// was removed, is nobody's.
    pub(super) fn split(&mut self, at: Millis) {
        self.removed_at = at;
        let Some(place) = self.terms.iter().rposition(|term| term.from <= at) else { return };
        let Some(next) = self.terms.get(place + 1).copied() else { return };
        let start = self.start_after(at).min(next.from);
        let Some(term) = self.terms.get_mut(place).filter(|term| term.user == next.user) else { return };
        term.user = NOBODY;
        if start < next.from {
            self.terms.insert(place + 1, Term { from: start, ..next });
        }
    }

    /// When the link began that followed a removal, as far as signs tell.
    pub(super) fn start_after(&self, removed_at: Millis) -> Millis {
        self.sign_after(removed_at).unwrap_or(removed_at.plus(APART))
    }

    /// The first moment at which a link can have begun whose code came then. Too early is right: after a removal nothing happens before
    /// the next link begins, but the farewells that come with it.
    pub(super) fn earliest_start(&self, came: RingTime) -> Millis {
        let after = self.removed_at.plus(APART).min(came.likely);
        came.earliest.max(after).max(Millis(self.removed_at.0 + 1))
    }

    /// A link begins after the removal: at `at`, or with an earlier sign of it.
    pub(super) fn begin_next(&mut self, at: Millis, user: u32) {
        let from = if self.next_began() { at.min(self.last().from) } else { at };
        self.turn(Millis(from.0.max(self.removed_at.0 + 1)), user);
    }

    /// The operator names who has the next link.
    pub(super) fn give_next(&mut self, at: Millis, user: u32) {
        if self.holder() != user || self.next_began() {
            self.begin_next(at, user);
        }
    }

    /// Whether the present holder, or nobody, has had the account since before `at`.
    pub(super) fn holds_since(&self, at: Millis) -> bool {
        self.last().from <= at
    }

    /// The app was there then.
    pub(super) fn sign(&mut self, at: Millis) {
        let is_known = |sign: &Millis| *sign <= at && at.since(*sign) < APART;
        if self.signs.iter().any(is_known) {
            return;
        }
        let place = self.signs.partition_point(|sign| *sign < at);
        self.signs.insert(place, at);
        if self.signs.len() > MOST_SIGNS {
            self.signs.remove(0);
        }
    }

    /// The first sign of the app after then.
    pub(super) fn sign_after(&self, at: Millis) -> Option<Millis> {
        self.signs.iter().copied().find(|sign| *sign > at)
    }

    /// Drops what no event can be of any more.
    pub(super) fn forget_old(&mut self, now: Millis) {
        let before = now.minus(KEPT);
        let ended = self.terms.iter().skip(1).take_while(|next| next.from < before).count();
        let too_many = self.terms.len().saturating_sub(MOST_TERMS);
        self.terms.drain(..ended.max(too_many));
        self.signs.retain(|sign| *sign >= before);
    }
}

/// What Ring says when the app is removed, and with it.
fn is_farewell(kind: &str) -> bool {
    matches!(kind, "app_integration_removed" | "device_removed")
}
