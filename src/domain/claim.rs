//! A partner's user claims a Ring account with the nonce that Ring gave to the browser: who may, and what is answered.
//!
//! Source: Ring's partner documentation on one-way account linking.

use std::time::Duration;

use super::access_token::Reason;
use super::actor::Actor;
use super::confirm::{Refusal, Step};
use super::ids::{AccountId, UserId};
use super::link::{LinkState, NOBODY};
use super::released::Released;
use super::ring_time::RingTime;
use super::routing::Selection;
use super::time::Millis;
use super::visit::Visit;

/// How old a visit may be; Ring says so.
pub const VISIT_LIFE: Duration = Duration::from_mins(10);
/// So long after a claim it can still be asked how it stands.
pub const ANSWERED_FOR: Duration = Duration::from_mins(15);

/// A user of the partner's, signed in, who came with Ring's visit.
#[derive(Debug, Clone)]
pub struct Bid {
    pub visit: Visit,
    pub user: UserId,
    /// The user's masked name, for the Ring user to see.
    pub identifier: Option<String>,
    /// The accounts that whoever asks may see.
    pub accounts: Selection,
    pub by: Actor,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Linked,
    /// To this user, by an earlier claim or the operator.
    AlreadyLinked,
    /// It is claimed, and goes on by itself; why it is not done yet.
    Pending(Reason),
    OtherUser,
    NoMatch,
    Expired,
    Refused(Refusal),
}

impl Outcome {
    /// All their words.
    pub const NAMES: [&str; 7] =
        ["linked", "already_linked", "pending", "linked_to_another_user", "no_match", "expired", "refused"];

    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::AlreadyLinked => "already_linked",
            Self::Pending(_) => "pending",
            Self::OtherUser => "linked_to_another_user",
            Self::NoMatch => "no_match",
            Self::Expired => "expired",
            Self::Refused(_) => "refused",
        }
    }

    /// Words that a web app can show.
    pub fn words(self) -> &'static str {
        match self {
            Self::Linked => "Your Ring account is linked. Return to the Ring app.",
            Self::AlreadyLinked => "Your Ring account was linked to you before. Return to the Ring app.",
            Self::Pending(_) => {
                "Ring has not confirmed the link yet. It goes on by itself: return to the Ring app and look again in a few minutes."
            }
            Self::OtherUser => "This Ring account is linked to another user.",
            Self::NoMatch => "No Ring account waits for this link. Begin again in the Ring app.",
            Self::Expired => "This link has expired. Begin again in the Ring app.",
            Self::Refused(_) => "Ring did not confirm the link. Begin again in the Ring app.",
        }
    }
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub outcome: Outcome,
    /// Where it is the user's.
    pub account: Option<AccountId>,
    /// What became of the events that were held, in the answer to the call that made the account the user's.
    pub released: Released,
}

impl Told {
    /// The answer where no held event was released.
    pub fn of(outcome: Outcome, account: Option<AccountId>) -> Self {
        Self { outcome, account, released: Released::default() }
    }
}

/// Why there is no answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("links can't be confirmed: the configuration has no [ring] client_id")]
    NotConfigured,
    #[error("too many claims are being looked at")]
    Busy,
    #[error("the store can't be used now: {0}")]
    Store(String),
}

/// How the account stands that a visit is for.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub link: LinkState,
    /// Whose it is; [`NOBODY`]'s if it is free.
    pub holder: u32,
    /// Nobody has claimed it since it came, or since Ring gave a code for it last.
    pub open: bool,
    /// 0 where it was not.
    pub removed_at: Millis,
    pub last: Option<Last<'a>>,
}

/// The account's last claim.
#[derive(Debug, Clone, Copy)]
pub struct Last<'a> {
    pub nonce: &'a [u8; 32],
    /// The nonce's.
    pub time: Millis,
    /// Who made it.
    pub user: u32,
    pub step: Step,
}

/// What a bid amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The account is the user's, and Ring is to be told.
    Take,
    /// It is the claim that was made already.
    Repeat,
    Already,
    OtherUser,
    Expired,
    NoMatch,
    /// Whether the visit is too old shows when the time at Ring is known.
    Unsure,
}

/// Whether a nonce of this time may be used now; one a little ahead may be a clock that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// It depends on the time at Ring, which is not known well enough.
    Unsure,
    Stale,
}

impl Freshness {
    /// Of a nonce of this time.
    pub fn of(time: Millis, now: RingTime, skew: Duration) -> Self {
        let is_fresh = |earliest: Millis, latest: Millis| {
            earliest.since(time) <= VISIT_LIFE && time.since(latest) <= skew
        };
        match is_fresh(now.likely, now.likely) {
            true => Self::Fresh,
            false if !now.is_bounded() && is_fresh(now.earliest, now.latest) => Self::Unsure,
            false => Self::Stale,
        }
    }
}

impl Standing<'_> {
    /// Rules on a visit that is this account's.
    pub fn rule(&self, visit: &Visit, user: u32, now: RingTime, skew: Duration) -> Ruling {
        let lives = matches!(self.link, LinkState::Linked | LinkState::Claiming);
        let others = lives && self.holder != NOBODY && self.holder != user;
        if let Some(last) = self.last.filter(|last| last.nonce == visit.nonce()) {
            return match (others, last.user == user) {
                (true, _) => Ruling::OtherUser,
                (false, true) => Ruling::Repeat,
                (false, false) => Ruling::Expired,
            };
        }
        // A claim never moves a live link.
        if others {
            return Ruling::OtherUser;
        }
        let is_used = self.last.is_some_and(|last| visit.at() <= last.time);
        let is_undone = visit.at() <= self.removed_at;
        if !lives && (is_used || is_undone) {
            return Ruling::Expired;
        }
        match Freshness::of(visit.at(), now, skew) {
            Freshness::Fresh => {}
            Freshness::Unsure => return Ruling::Unsure,
            Freshness::Stale => return Ruling::Expired,
        }
        match self.link {
            LinkState::Linked if !self.wants_more() || is_used => Ruling::Already,
            LinkState::Claiming if is_used => Ruling::Repeat,
            // Ring gives a new code for it first, which may still be on its way.
            LinkState::Removed | LinkState::Arriving | LinkState::Forgotten => Ruling::NoMatch,
            LinkState::Linked | LinkState::Claiming | LinkState::Unclaimed | LinkState::Refused => {
                Ruling::Take
            }
        }
    }

    /// Ring is not done with a link that is one here already.
    fn wants_more(&self) -> bool {
        self.open || self.last.is_some_and(|last| last.step != Step::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: RingTime = RingTime { earliest: NOW, likely: NOW, latest: NOW };
    const NOW: Millis = Millis(1_700_000_000_000);
    const SKEW: Duration = Duration::from_secs(5);

    const ME: u32 = 1;
    const OTHER: u32 = 2;

    /// A visit of so many seconds ago; each time has a nonce of its own.
    fn visit(age: u64) -> Visit {
        let time = NOW.0 - age * 1000;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&time.to_be_bytes());
        Visit::new(&data_encoding::BASE64URL_NOPAD.encode(&nonce), &time.to_string()).unwrap()
    }

    fn standing<'a>(link: LinkState, holder: u32) -> Standing<'a> {
        Standing { link, holder, open: link == LinkState::Unclaimed, removed_at: Millis(0), last: None }
    }

    fn last(visit: &Visit, user: u32, step: Step) -> Last<'_> {
        Last { nonce: visit.nonce(), time: visit.at(), user, step }
    }

    #[test]
    fn what_nobody_has_is_taken_while_the_visit_is_fresh() {
        let unclaimed = standing(LinkState::Unclaimed, NOBODY);
        for (age, ruling) in [(0, Ruling::Take), (600, Ruling::Take), (601, Ruling::Expired)] {
            assert_eq!(unclaimed.rule(&visit(age), ME, RING, SKEW), ruling, "{age} s");
        }
        let ahead = |by: u64| RingTime::exactly(Millis(NOW.0 - by * 1000));
        assert_eq!(unclaimed.rule(&visit(0), ME, ahead(5), SKEW), Ruling::Take);
        assert_eq!(unclaimed.rule(&visit(0), ME, ahead(6), SKEW), Ruling::Expired);
    }

    #[test]
    fn a_visit_is_too_old_only_by_every_time_that_it_may_be_at_ring() {
        let unclaimed = standing(LinkState::Unclaimed, NOBODY);
        let rule = |age, now| unclaimed.rule(&visit(age), ME, now, SKEW);
        for wrong in [20_i64, -20, 700, -700] {
            let wall = Millis(NOW.0.checked_add_signed(wrong * 1000).unwrap());
            let is_fresh = wrong == 20;
            let unknown = if is_fresh { Ruling::Take } else { Ruling::Unsure };
            assert_eq!(rule(0, RingTime::unknown(wall)), unknown, "{wrong}");
            // Answers of Ring decide, whatever our clock says.
            assert_eq!(rule(0, RING), Ruling::Take);
            assert_eq!(rule(601, RING), Ruling::Expired);
            // A webhook tells one side: what was too old then is so now.
            let after = RingTime { earliest: NOW, likely: wall.max(NOW), latest: Millis(u64::MAX) };
            assert_eq!(rule(601, after), Ruling::Expired, "{wrong}");
            assert_eq!(rule(0, after), if wrong == 700 { Ruling::Unsure } else { Ruling::Take });
        }
    }

    #[test]
    fn a_live_link_is_never_moved() {
        for link in [LinkState::Linked, LinkState::Claiming] {
            for open in [false, true] {
                let standing = Standing { open, ..standing(link, ME) };
                assert_eq!(standing.rule(&visit(1), OTHER, RING, SKEW), Ruling::OtherUser);
            }
        }
        let mine = standing(LinkState::Linked, ME);
        assert_eq!(mine.rule(&visit(1), ME, RING, SKEW), Ruling::Already);
        assert_eq!(Standing { open: true, ..mine }.rule(&visit(1), ME, RING, SKEW), Ruling::Take);
        let before = visit(9);
        let step = Step::Refused(Refusal::Other);
        let refused = Standing { last: Some(last(&before, ME, step)), ..standing(LinkState::Refused, ME) };
        assert_eq!(refused.rule(&visit(1), OTHER, RING, SKEW), Ruling::Take, "Ring refused it: it is free");
    }

    #[test]
    fn a_nonce_works_once_and_tells_its_user_how_it_stands() {
        let first = visit(60);
        for (link, step) in [
            (LinkState::Claiming, Step::Posting),
            (LinkState::Linked, Step::Done),
            (LinkState::Refused, Step::Refused(Refusal::Nonce)),
            (LinkState::Removed, Step::Undone),
        ] {
            let standing = Standing { last: Some(last(&first, ME, step)), ..standing(link, ME) };
            let ruling = |visit: &Visit, user| standing.rule(visit, user, RING, SKEW);
            assert_eq!(ruling(&first, ME), Ruling::Repeat, "{link:?}");
            let lives = matches!(link, LinkState::Claiming | LinkState::Linked);
            let others = if lives { Ruling::OtherUser } else { Ruling::Expired };
            assert_eq!(ruling(&first, OTHER), others, "{link:?}");
            // Older than the one that was used.
            let older = match link {
                LinkState::Claiming => Ruling::Repeat,
                LinkState::Linked => Ruling::Already,
                _ => Ruling::Expired,
            };
            assert_eq!(ruling(&visit(70), ME), older, "{link:?}");
        }
    }

    #[test]
    fn after_a_removal_the_next_visit_decides_and_no_earlier_one() {
        let before = visit(90);
        let standing = Standing {
            removed_at: Millis(NOW.0 - 50_000),
            last: Some(last(&before, ME, Step::Undone)),
            ..standing(LinkState::Unclaimed, NOBODY)
        };
        assert_eq!(standing.rule(&visit(60), OTHER, RING, SKEW), Ruling::Expired, "from before the removal");
        assert_eq!(standing.rule(&before, OTHER, RING, SKEW), Ruling::Expired);
        assert_eq!(standing.rule(&visit(40), OTHER, RING, SKEW), Ruling::Take);
        let waits = Standing { link: LinkState::Removed, open: false, ..standing };
        assert_eq!(waits.rule(&visit(40), ME, RING, SKEW), Ruling::NoMatch, "its code comes first");
    }
}
