//! What is said to Ring to complete a claimed link, and what its answers mean: decides, never sends.
//!
//! ```text
//! wanted ──POST──▶ posting ──awaiting──▶ posted ──PATCH──▶ patching ──completed──▶ done
//!   ▲                 │ no answer                              │ ▲ no answer: PATCH again
//!   │                 └───────────────── PATCH ───────────────▶│ │
//!   │                                                          ├─┘
//!   └── transition refused, unless an earlier PATCH of ours had no answer: then it is done
//! ```
//!
//! Each step is on disk before its request is sent, so that a crash is a request without an answer. The POST mails the user: where
//! nobody knows whether it arrived, the PATCH tells, and only if that is refused it is sent again. Source: Ring's partner
//! documentation on one-way account linking.

use super::heard::{Heard, Objection};

/// So many POSTs, each of which mails the user, does Ring take of one claim before it is given up.
const MOST_POSTS: u8 = 3;

/// A request to Ring's app-integrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// With the nonce: pending becomes awaiting.
    Post,
    /// Awaiting becomes completed.
    Patch,
}

/// How far a claim is. Its numbers rest on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Wanted,
    /// A POST may have been sent.
    Posting,
    /// Ring has taken the POST.
    Posted,
    /// A PATCH may have been sent; whether Ring had taken the POST, and whether a PATCH before it had no answer.
    Patching {
        posted: bool,
        again: bool,
    },
    Done,
    Refused(Refusal),
    /// The user removed the app since, or the operator gave the account away.
    Undone,
}

impl Step {
    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Posting => "posting",
            Self::Posted => "posted",
            Self::Patching { .. } => "patching",
            Self::Done => "done",
            Self::Refused(why) => why.as_str(),
            Self::Undone => "undone",
        }
    }
}

/// Why Ring's answer is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    Nonce = 1,
    NoIntegration = 2,
    Token = 3,
    Transition = 4,
    Other = 5,
    /// Ring never gave tokens for the account.
    NoCode = 6,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::Nonce, Self::NoIntegration, Self::Token, Self::Transition, Self::Other, Self::NoCode];

    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nonce => "invalid_nonce",
            Self::NoIntegration => "no_integration",
            Self::Token => "token_not_honoured",
            Self::Transition => "invalid_transition",
            Self::Other => "rejected",
            Self::NoCode => "no_code",
        }
    }

    /// Words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nonce => "Ring does not take the nonce of this sign-in any more",
            Self::NoIntegration => "Ring knows of no such app on the account",
            Self::Token => "Ring does not honour the account's access token",
            Self::Transition => "Ring does not let the link be completed",
            Self::Other => "Ring refuses the link",
            Self::NoCode => "Ring has given no tokens for the account",
        }
    }
}

/// When the next call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    None,
    /// Not with the access token that was sent.
    NewToken,
    Backoff,
}

/// A claim's step, and the POSTs that Ring has or may have taken. One without an answer after which the PATCH's transition is refused
/// was not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    pub posts: u8,
}

impl Progress {
    /// Of a claim that was just made.
    pub const NEW: Self = Self { step: Step::Wanted, posts: 0 };

    /// What is to be sent next; nothing at an end.
    pub fn call(self) -> Option<Call> {
        match self.step {
            Step::Wanted => Some(Call::Post),
            Step::Posting | Step::Posted | Step::Patching { .. } => Some(Call::Patch),
            Step::Done | Step::Refused(_) | Step::Undone => None,
        }
    }

    /// As it has to be on disk before `call` is sent.
    #[must_use]
    pub fn sending(self, call: Call) -> Self {
        match call {
            Call::Post => Self { step: Step::Posting, ..self },
            Call::Patch => {
                let (posted, again) = match self.step {
                    Step::Patching { posted, .. } => (posted, true),
                    step => (step == Step::Posted, false),
                };
                Self { step: Step::Patching { posted, again }, ..self }
            }
        }
    }

    /// As it is after `call`, which was sent from here, with an access token that is `renewed` where Ring refused one already.
    /// Where the nonce `is_old`, Ring would take it no more, and what might have come right by waiting does not.
    pub fn heard(self, call: Call, heard: Heard<()>, is_old: bool, renewed: bool) -> (Self, Pause) {
        let sent = self.sending(call);
        // A PATCH that is refused before Ring is known to have the POST may be so for want of that. The POST is counted, because
        // neither 401, 403 nor 404 says that it did not arrive; the last one is not sent on such a doubt.
        let posts = sent.posts.saturating_add(1);
        let may_post = matches!(sent.step, Step::Patching { posted: false, .. }) && posts < MOST_POSTS;
        let waiting = if may_post { Self { step: Step::Wanted, posts } } else { self };
        let refused = |why| (Self { step: Step::Refused(why), ..sent }, Pause::None);
        match (heard, call) {
            (Heard::Answer(()), Call::Post) => {
                (Self { step: Step::Posted, posts: sent.posts.saturating_add(1) }, Pause::None)
            }
            (Heard::Answer(()), Call::Patch) => (Self { step: Step::Done, ..sent }, Pause::None),
            (Heard::Unknown(_), _) => (sent, Pause::Backoff),
            (Heard::Refused(Objection::Request), Call::Post) => refused(Refusal::Nonce),
            (Heard::Refused(Objection::Request), Call::Patch) => match sent.step {
                Step::Patching { posted: true, again: true } => {
                    (Self { step: Step::Done, ..sent }, Pause::None)
                }
                _ if sent.posts >= MOST_POSTS => refused(Refusal::Transition),
                _ => (Self { step: Step::Wanted, ..sent }, Pause::Backoff),
            },
            (Heard::Refused(Objection::AccessToken), _) if is_old => refused(Refusal::Token),
            (Heard::Refused(Objection::AccessToken), _) if !renewed => (self, Pause::NewToken),
            (Heard::Refused(Objection::Missing), _) if is_old => refused(Refusal::NoIntegration),
            (Heard::Refused(Objection::AccessToken | Objection::Missing), _) => (waiting, Pause::Backoff),
            (Heard::NotSent(_), _) => (self, Pause::Backoff),
            (Heard::Refused(_), _) => refused(Refusal::Other),
        }
    }

    /// As it rests on disk.
    pub fn to_bytes(self) -> [u8; 2] {
        let step = match self.step {
            Step::Wanted => 1,
            Step::Posting => 2,
            Step::Posted => 3,
            Step::Patching { posted, again } => 4 | u8::from(posted) | u8::from(again) << 1,
            Step::Done => 8,
            Step::Undone => 9,
            Step::Refused(why) => 16 + why as u8,
        };
        [step, self.posts]
    }

    /// The same again; nothing when it is something else.
    pub fn from_bytes([step, posts]: [u8; 2]) -> Option<Self> {
        let step = match step {
            1 => Step::Wanted,
            2 => Step::Posting,
            3 => Step::Posted,
            4..8 => Step::Patching { posted: step & 1 != 0, again: step & 2 != 0 },
            8 => Step::Done,
            9 => Step::Undone,
            _ => Step::Refused(Refusal::ALL.into_iter().find(|why| 16 + *why as u8 == step)?),
        };
        Some(Self { step, posts })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACCEPTED: Heard<()> = Heard::Answer(());
    const INVALID: Heard<()> = Heard::Refused(Objection::Request);
    const UNAUTHORIZED: Heard<()> = Heard::Refused(Objection::AccessToken);
    const MISSING: Heard<()> = Heard::Refused(Objection::Missing);

    /// Ring's side of one integration, and what its user sees of it.
    #[derive(Debug, Default)]
    struct Ring {
        awaiting: bool,
        completed: bool,
        mails: u8,
    }

    impl Ring {
        fn work(&mut self, call: Call) -> Heard<()> {
            match call {
                Call::Post if self.completed => INVALID,
                Call::Post => {
                    (self.awaiting, self.mails) = (true, self.mails + 1);
                    ACCEPTED
                }
                Call::Patch if self.awaiting && !self.completed => {
                    self.completed = true;
                    ACCEPTED
                }
                Call::Patch => INVALID,
            }
        }
    }

    /// What goes wrong with one call.
    #[derive(Debug, Clone, Copy)]
    enum Luck {
        Good,
        NotSent,
        LostRequest,
        LostAnswer,
        Crash { worked: bool },
        Unauthorized,
        Missing,
    }

    fn luck() -> impl Strategy<Value = Luck> {
        prop_oneof![
            Just(Luck::Good),
            Just(Luck::NotSent),
            Just(Luck::LostRequest),
            Just(Luck::LostAnswer),
            any::<bool>().prop_map(|worked| Luck::Crash { worked }),
            Just(Luck::Unauthorized),
            Just(Luck::Missing),
        ]
    }

    fn step(ring: &mut Ring, at: Progress, luck: Luck) -> Progress {
        let call = at.call().unwrap();
        let heard = match luck {
            Luck::Good => ring.work(call),
            Luck::NotSent => Heard::NO_CONNECTION,
            Luck::LostRequest => Heard::SILENT,
            Luck::LostAnswer => {
                ring.work(call);
                Heard::SILENT
            }
            Luck::Crash { worked } => {
                if worked {
                    ring.work(call);
                }
                return at.sending(call);
            }
            Luck::Unauthorized => UNAUTHORIZED,
            Luck::Missing => MISSING,
        };
        at.heard(call, heard, false, false).0
    }

    proptest! {
        /// Whatever is lost on the way, wherever the process dies: what is called done is completed at Ring, what is completed
        /// is not refused but where a POST was sent over it, and the user is mailed a few times at most.
        #[test]
        fn what_is_done_here_is_completed_there(lucks in prop::collection::vec(luck(), 0..40)) {
            let (mut ring, mut at) = (Ring::default(), Progress::NEW);
            for luck in lucks.into_iter().chain([Luck::Good; 20]) {
                if at.call().is_none() {
                    break;
                }
                at = step(&mut ring, at, luck);
                prop_assert!(ring.mails <= MOST_POSTS + 1 && at.posts <= MOST_POSTS);
                prop_assert!(at.step != Step::Done || ring.completed, "{at:?} {ring:?}");
            }
            prop_assert!(at.call().is_none(), "it comes to an end: {at:?}");
            // Completed by a PATCH whose answer was lost, while nobody knew of the POST either: Ring's event tells.
            prop_assert!(at.step == Step::Done || matches!(at.step, Step::Refused(Refusal::Nonce | Refusal::Transition)));
        }

        #[test]
        fn progress_comes_back(step: u8, posts: u8) {
            if let Some(progress) = Progress::from_bytes([step, posts]) {
                prop_assert_eq!(progress.to_bytes(), [step, posts]);
            }
        }
    }

    #[test]
    fn a_post_without_an_answer_is_not_sent_again_before_a_patch_was_refused() {
        for worked in [true, false] {
            let mut ring = Ring::default();
            let at = step(&mut ring, Progress::NEW, Luck::Crash { worked });
            assert_eq!(at.call(), Some(Call::Patch));
            let at = step(&mut ring, at, Luck::Good);
            if worked {
                assert_eq!((at.step, ring.mails), (Step::Done, 1));
                continue;
            }
            assert_eq!(at.call(), Some(Call::Post));
            let at = step(&mut ring, at, Luck::Good);
            assert_eq!((step(&mut ring, at, Luck::Good).step, ring.mails), (Step::Done, 1));
        }
    }

    #[test]
    fn a_post_that_ring_may_not_have_follows_any_refusal_of_a_patch() {
        let posting = Progress { step: Step::Posting, posts: 0 };
        for heard in [MISSING, UNAUTHORIZED, INVALID] {
            let (next, pause) = posting.heard(Call::Patch, heard, false, true);
            assert_eq!((next.call(), pause), (Some(Call::Post), Pause::Backoff), "{heard:?}");
        }
        let (same, pause) = posting.heard(Call::Patch, UNAUTHORIZED, false, false);
        assert_eq!((same, pause), (posting, Pause::NewToken), "a newer token first");
        let posted = Progress { step: Step::Posted, posts: 1 };
        assert_eq!(posted.heard(Call::Patch, MISSING, false, true).0, posted);
    }

    #[test]
    fn mails_are_bounded_though_answers_are_lost_and_the_integration_is_not_found() {
        let (mut ring, mut at) = (Ring::default(), Progress::NEW);
        for _ in 0..8 {
            let luck = if at.call() == Some(Call::Post) { Luck::LostAnswer } else { Luck::Missing };
            at = step(&mut ring, at, luck);
        }
        assert_eq!((ring.mails, at.call()), (MOST_POSTS, Some(Call::Patch)));
        assert_eq!(step(&mut ring, at, Luck::Good).step, Step::Done);
    }

    #[test]
    fn a_refused_transition_is_an_end_only_after_a_patch_without_an_answer() {
        let posted = Progress { step: Step::Posted, posts: 1 };
        assert_eq!(posted.heard(Call::Patch, INVALID, false, false).0.step, Step::Wanted);
        let patching = posted.sending(Call::Patch);
        assert_eq!(patching.heard(Call::Patch, INVALID, false, false).0.step, Step::Done);
        // One that surely was not sent says nothing.
        let (not_sent, _) = posted.heard(Call::Patch, Heard::NO_CONNECTION, false, false);
        assert_eq!(not_sent.heard(Call::Patch, INVALID, false, false).0.step, Step::Wanted);
    }

    #[test]
    fn what_may_come_right_is_waited_for_while_the_nonce_is_good() {
        for (heard, why) in [(MISSING, Refusal::NoIntegration), (UNAUTHORIZED, Refusal::Token)] {
            let (waits, pause) = Progress::NEW.heard(Call::Post, heard, false, false);
            assert!(waits == Progress::NEW && pause != Pause::None);
            assert_eq!(Progress::NEW.heard(Call::Post, heard, true, false).0.step, Step::Refused(why));
        }
        let (at, pause) = Progress::NEW.heard(Call::Post, Heard::SILENT, true, false);
        assert_eq!((at.step, pause), (Step::Posting, Pause::Backoff), "an outage is waited for");
    }
}
