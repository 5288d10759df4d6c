//! The link of an account as one machine: whatever happens to it comes in as an [`Event`], and what is to be done goes out as
//! [`Effects`]. It knows no tokens: those are another machine's, see [`super::refresh`].
//!
//! ```text
//! arriving ──Ring tells its id──▶ unclaimed ──claim──▶ claiming ──Ring confirms──▶ linked ──the app is removed──▶ removed
//!                                    │                   │    ▲                      ▲                              │
//!                                    │       Ring refuses▼    │claim                 │                              │
//!                                    │                 refused┘                      │                              │
//!                                    └──────────the operator gives a user────────────┤                              │
//!         unclaimed ◀──Ring's code, or no user known────────┐                         │                              │
//!                                                          └─────────────────────────┴──new tokens, its user known──┘
//! any of them ──forget──▶ forgotten
//! ```
//!
//! Times of Ring are compared with times of Ring: visits, webhooks, and codes, which [`super::ring_time`] places. Our own clock
//! only bounds how long a claim can be asked about.

mod claiming;
mod state;
mod tenure;

pub use claiming::{Claiming, LastClaim};
pub use state::LinkState;
pub use tenure::{KEPT, NOBODY, Owner, Tenure, Term};

use std::time::Duration;

use super::claim::{Last, Ruling, Standing};
use super::confirm::{Progress, Step};
use super::ring_time::RingTime;
use super::time::Millis;
use super::visit::Visit;

/// A link: whose the account is and was, and who may claim it.
#[derive(Debug, Clone)]
pub struct Link {
    pub tenure: Tenure,
    pub claiming: Claiming,
}

/// The clocks when something happens.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub ring: RingTime,
    pub wall: Millis,
}

/// What happens to a link.
#[derive(Debug, Clone)]
pub enum Event {
    /// The operator gives it to a user.
    Given { user: u32 },
    /// The operator puts in other tokens than it has.
    PutIn,
    /// OAuth gave tokens for a code that came then.
    Code { came: RingTime },
    /// A user brings a visit that is the account's.
    Claimed { visit: Visit, user: u32, identifier: Option<String>, skew: Duration },
    /// What is known of telling Ring of the claim with this nonce.
    Advanced { nonce: [u8; 32], from: Progress, to: Progress },
    /// `app_integration_added`.
    Added { at: Millis },
    /// `app_integration_removed`.
    Removed { at: Millis },
    /// `device_added`: the app is there.
    DeviceAdded { at: Millis },
    /// The operator has it forgotten.
    Forget,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects {
    pub answer: Answer,
    /// The account's tokens are revoked at Ring, or nobody's any more.
    pub destroy_tokens: bool,
    /// The user is told of the state, which is another than before.
    pub tell: bool,
    /// Whose held events are may be known now.
    pub release: bool,
}

/// What is said to whoever brought the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    #[default]
    Done,
    /// It is of a link that ended since, or says nothing new.
    Old,
    /// A claim is not taken.
    Not(Ruling),
}

impl Link {
    /// Of an account that nobody has had, or whose user was forgotten at `forgotten_at`, by Ring's time.
    pub fn unclaimed(forgotten_at: Option<Millis>) -> Self {
        let fresh = || Tenure::new(LinkState::Unclaimed, NOBODY);
        Self {
            tenure: forgotten_at.map_or_else(fresh, Tenure::after_forget),
            claiming: Claiming { open: true, last: None },
        }
    }

    /// The link after `event`, and what is to be done.
    #[must_use]
    pub fn on(mut self, event: Event, now: Now) -> (Self, Effects) {
        let before = (self.tenure.state, self.tenure.clone());
        let answer = match event {
            _ if self.tenure.state == LinkState::Forgotten => Answer::Old,
            Event::Forget => {
                self.tenure = Tenure::new(LinkState::Forgotten, NOBODY);
                self.claiming = Claiming::default();
                Answer::Done
            }
            // Until its own id is known nobody else speaks of it.
            _ if self.tenure.state == LinkState::Arriving => Answer::Old,
            Event::Given { user } => self.given(user, now.ring.likely),
            Event::PutIn => self.put_in(now.ring.likely),
            Event::Code { came } => self.code(came),
            Event::Claimed { visit, user, identifier, skew } => {
                self.claimed(visit, user, identifier, skew, now)
            }
            Event::Advanced { nonce, from, to } => self.advanced(&nonce, from, to),
            Event::Added { at } => self.added(at),
            Event::Removed { at } => self.removed(at),
            Event::DeviceAdded { at } => self.device_added(at),
        };
        if self.tenure.state == LinkState::Unclaimed && before.0 != LinkState::Unclaimed {
            self.claiming.open = true;
        }
        self.tenure.forget_old(now.ring.likely);
        let (state, tenure) = before;
        let removes = self.tenure.state == LinkState::Removed && state != LinkState::Removed;
        let effects = Effects {
            answer,
            destroy_tokens: removes || self.tenure.state == LinkState::Forgotten,
            tell: self.tenure.state != state,
            release: self.tenure.terms != tenure.terms,
        };
        (self, effects)
    }

    fn given(&mut self, user: u32, now: Millis) -> Answer {
        let tenure = &mut self.tenure;
        match tenure.state {
            LinkState::Unclaimed => {
                tenure.fill(user);
                tenure.state = LinkState::Linked;
            }
            // A user alone is no link; whoever is noted has it once there are tokens.
            LinkState::Removed => tenure.give_next(now, user),
            _ => {
                if tenure.holder() != user {
                    tenure.turn(now, user);
                }
                tenure.state = LinkState::Linked;
            }
        }
        if tenure.linked_at == Millis(0) {
            tenure.linked_at = now;
        }
        tenure.taken_at = now;
        self.claiming.given(user, tenure.code_at != Millis(0));
        Answer::Done
    }

    fn put_in(&mut self, now: Millis) -> Answer {
        let tenure = &mut self.tenure;
        if tenure.state == LinkState::Removed {
            let user = tenure.holder();
            tenure.begin_next(now, user);
            tenure.state = if user == NOBODY { LinkState::Unclaimed } else { LinkState::Linked };
        }
        tenure.sign(now);
        (tenure.linked_at, tenure.taken_at) = (now, now);
        Answer::Done
    }

    fn code(&mut self, came: RingTime) -> Answer {
        let tenure = &mut self.tenure;
        if came.latest <= tenure.removed_at {
            return Answer::Old;
        }
        let at = Millis(came.likely.0.max(tenure.removed_at.0 + 1));
        let start = if tenure.removed_at == Millis(0) { came.earliest } else { tenure.earliest_start(came) };
        if tenure.state == LinkState::Removed {
            tenure.begin_next(start, NOBODY);
            tenure.state = LinkState::Unclaimed;
        }
        tenure.sign(start);
        tenure.linked_at = tenure.linked_at.max(at);
        // One from before the last says nothing of what Ring was told since.
        if at >= tenure.code_at {
            tenure.code_at = at;
            self.claiming.code_came();
        }
        Answer::Done
    }

    fn claimed(
        &mut self,
        visit: Visit,
        user: u32,
        identifier: Option<String>,
        skew: Duration,
        now: Now,
    ) -> Answer {
        let tenure = &mut self.tenure;
        let last = self.claiming.last.as_ref();
        let standing = Standing {
            link: tenure.state,
            holder: tenure.holder(),
            open: self.claiming.open,
            removed_at: tenure.removed_at,
            last: last.map(|last| Last {
                nonce: last.visit.nonce(),
                time: last.visit.at(),
                user: last.user,
                step: last.progress.step,
            }),
        };
        let ruling = standing.rule(&visit, user, now.ring, skew);
        if ruling != Ruling::Take {
            return Answer::Not(ruling);
        }
        // Ring's own time, and the app was there before.
        tenure.began_by(visit.at());
        tenure.sign(visit.at());
        match tenure.state {
            LinkState::Unclaimed => tenure.fill(user),
            LinkState::Refused if tenure.holder() != user => tenure.turn(visit.at(), user),
            _ => {}
        }
        if tenure.state != LinkState::Linked {
            tenure.state = LinkState::Claiming;
        }
        tenure.taken_at = tenure.taken_at.max(visit.at());
        if tenure.linked_at == Millis(0) {
            tenure.linked_at = visit.at();
        }
        self.claiming.claimed(visit, user, identifier, now.wall);
        Answer::Done
    }

    fn advanced(&mut self, nonce: &[u8; 32], from: Progress, to: Progress) -> Answer {
        if !self.claiming.advance(nonce, from, to) {
            return Answer::Old;
        }
        let state = &mut self.tenure.state;
        match (*state, to.step) {
            (LinkState::Claiming | LinkState::Refused, Step::Done) => *state = LinkState::Linked,
            (LinkState::Claiming, Step::Refused(_)) => *state = LinkState::Refused,
            _ => {}
        }
        Answer::Done
    }

    /// Ring has completed what was claimed, if it speaks of this link and not of one before.
    fn added(&mut self, at: Millis) -> Answer {
        self.device_added(at);
        let tenure = &mut self.tenure;
        if !self.claiming.completed(at, tenure.code_at.max(tenure.removed_at)) {
            return Answer::Old;
        }
        if matches!(tenure.state, LinkState::Claiming | LinkState::Refused) {
            tenure.state = LinkState::Linked;
        }
        Answer::Done
    }

    fn removed(&mut self, at: Millis) -> Answer {
        let tenure = &mut self.tenure;
        // Ring says it again.
        if at <= tenure.removed_at {
            return Answer::Old;
        }
        let next = tenure.sign_after(at);
        if at >= tenure.linked_at {
            tenure.removed_at = at;
            tenure.state = LinkState::Removed;
            if let Some(next) = next {
                tenure.turn(next, NOBODY);
            }
            self.claiming.undo(false);
            return Answer::Done;
        }
        // The app was added again since. Nobody has taken it yet, or somebody for whom this is old news.
        if !tenure.holds_since(at) {
            tenure.split(at);
            return Answer::Old;
        }
        if tenure.taken_at > at {
            return Answer::Old;
        }
        tenure.removed_at = at;
        tenure.turn(tenure.start_after(at).min(tenure.linked_at), NOBODY);
        tenure.state = LinkState::Unclaimed;
        self.claiming.undo(true);
        Answer::Done
    }

    fn device_added(&mut self, at: Millis) -> Answer {
        let tenure = &mut self.tenure;
        if tenure.state == LinkState::Removed && at > tenure.removed_at {
            tenure.begin_next(at, NOBODY);
        } else {
            tenure.began_by(at);
        }
        tenure.sign(at);
        Answer::Done
    }
}

#[cfg(test)]
mod tests;
