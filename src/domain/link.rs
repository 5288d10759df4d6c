//! How an account's link stands: whose it is, and whether Ring still gives us its events and tokens.
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
//! How its tokens are is another machine: see [`super::refresh`].

use super::time::Millis;

/// A link's state. Its number rests on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LinkState {
    /// Events came for it, or tokens, but no user has it. One who had it before the app was removed stays noted.
    Unclaimed = 1,
    Linked = 2,
    /// Ring said that the user removed the app; the user stays noted for late events.
    Removed = 3,
    /// Forgotten at the operator's word; the number is never used again.
    Forgotten = 4,
    /// Its tokens are here, and its id at Ring is not known yet.
    Arriving = 5,
    /// A user has claimed it, and Ring has not confirmed that yet.
    Claiming = 6,
    /// Ring refused to confirm; it may be claimed again.
    Refused = 7,
}

/// What changes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The operator gives it to a user.
    User,
    /// It has other tokens than before.
    Tokens {
        has_user: bool,
    },
    /// Ring gave a code for it: its user adds the app.
    Code,
    /// A user claims it with Ring's nonce.
    Claim,
    Confirmed,
    RefusedByRing,
    /// `app_integration_removed`.
    AppRemoved,
    /// The same, of the link before: the app was added again since, and nobody has claimed that yet.
    RemovedBefore,
    Forget,
}

/// What a removal amounts to that may be late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The account was linked anew since.
    OldNews,
    /// It is the present link's.
    Ends,
    /// It is of the link before, whose user must not have what came since.
    EndsBefore,
}

impl Removal {
    /// Of a removal at `at` of a link that began at `linked_at`, for which a code came that nobody has claimed since, if there is
    /// `before`: when the link before it began.
    pub fn of(at: Millis, linked_at: Millis, before: Option<Millis>) -> Self {
        if at >= linked_at {
            Self::Ends
        } else if before.is_some_and(|before| at >= before) {
            Self::EndsBefore
        } else {
            Self::OldNews
        }
    }
}

impl LinkState {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Unclaimed,
        Self::Linked,
        Self::Removed,
        Self::Forgotten,
        Self::Arriving,
        Self::Claiming,
        Self::Refused,
    ];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == byte)
    }

    /// The name that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unclaimed => "unclaimed",
            Self::Linked => "linked",
            Self::Removed => "removed",
            Self::Forgotten => "forgotten",
            Self::Arriving => "arriving",
            Self::Claiming => "claiming",
            Self::Refused => "refused",
        }
    }

    /// The state after a change. What can't change it leaves it as it is.
    #[must_use]
    pub fn after(self, change: Change) -> Self {
        match (self, change) {
            (Self::Forgotten, _) | (_, Change::Forget) => Self::Forgotten,
            // Linked once its own id is known; until then nobody else speaks of it.
            (Self::Arriving, _) => Self::Arriving,
            // Whoever claims it next has it, though it was somebody's.
            (Self::Removed, Change::Tokens { has_user: false } | Change::Code)
            | (_, Change::RemovedBefore) => Self::Unclaimed,
            (Self::Removed, Change::Tokens { has_user: true })
            | (Self::Claiming | Self::Refused, Change::Confirmed)
            | (Self::Unclaimed | Self::Linked | Self::Claiming | Self::Refused, Change::User) => Self::Linked,
            // A removed link comes back with new tokens only: a user alone is no link.
            (_, Change::AppRemoved) | (Self::Removed, _) => Self::Removed,
            // A claim never moves a live link.
            (Self::Unclaimed | Self::Refused, Change::Claim) => Self::Claiming,
            (Self::Claiming, Change::RefusedByRing) => Self::Refused,
            (
                state,
                Change::Tokens { .. }
                | Change::Code
                | Change::Claim
                | Change::Confirmed
                | Change::RefusedByRing,
            ) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(from: LinkState, changes: &[Change]) -> Vec<&'static str> {
        let step = |state: &mut LinkState, change: &Change| {
            *state = state.after(*change);
            Some(state.name())
        };
        changes.iter().scan(from, step).collect()
    }

    #[test]
    fn a_link_is_claimed_confirmed_removed_and_made_anew() {
        use Change::*;
        let tokens = |has_user| Tokens { has_user };
        assert_eq!(
            walk(
                LinkState::Unclaimed,
                &[tokens(false), Claim, RefusedByRing, Claim, Confirmed, Claim, AppRemoved]
            ),
            ["unclaimed", "claiming", "refused", "claiming", "linked", "linked", "removed"]
        );
        assert_eq!(
            walk(
                LinkState::Removed,
                &[User, Claim, Confirmed, tokens(false), User, AppRemoved, tokens(true), AppRemoved, Code]
            ),
            [
                "removed",
                "removed",
                "removed",
                "unclaimed",
                "linked",
                "removed",
                "linked",
                "removed",
                "unclaimed"
            ]
        );
        assert_eq!(
            walk(LinkState::Linked, &[Code, Claim, Confirmed, RefusedByRing]),
            ["linked"; 4],
            "a code never loses a live link"
        );
        assert_eq!(walk(LinkState::Refused, &[Code, Confirmed]), ["refused", "linked"], "Ring's event tells");
    }

    #[test]
    fn a_removal_ends_the_link_that_it_is_of() {
        let of = |at, before: Option<u64>| Removal::of(Millis(at), Millis(50), before.map(Millis));
        assert_eq!((of(50, None), of(49, None)), (Removal::Ends, Removal::OldNews));
        assert_eq!((of(49, Some(20)), of(19, Some(20))), (Removal::EndsBefore, Removal::OldNews));
        for state in [LinkState::Linked, LinkState::Claiming, LinkState::Refused, LinkState::Unclaimed] {
            assert_eq!(state.after(Change::RemovedBefore), LinkState::Unclaimed);
        }
    }

    #[test]
    fn what_is_forgotten_stays_so_and_what_arrives_only_arrives() {
        use Change::*;
        let all = [
            User,
            Tokens { has_user: true },
            Code,
            Claim,
            Confirmed,
            RefusedByRing,
            AppRemoved,
            RemovedBefore,
        ];
        for state in LinkState::ALL {
            assert_eq!(state.after(Forget), LinkState::Forgotten);
            assert_eq!(LinkState::from_u8(state as u8), Some(state));
        }
        assert!(all.iter().all(|&change| LinkState::Forgotten.after(change) == LinkState::Forgotten));
        assert!(all.iter().all(|&change| LinkState::Arriving.after(change) == LinkState::Arriving));
        assert_eq!((LinkState::from_u8(0), LinkState::from_u8(8)), (None, None));
    }
}
