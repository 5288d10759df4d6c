//! What a webhook is answered: the whole status policy.
//!
//! Ring takes any 4xx as final and retries 5xx for over an hour, so a 4xx is only for what no retry could mend: a
//! forgery, and a body over the cap. Whatever is our fault after a good signature is 503, or kept and 200.
//!
//! | verdict | status | Ring |
//! |---|---|---|
//! | accepted, duplicate, quarantined, test event | 200 | is done |
//! | no, repeated, malformed or forged signature, also of a test event | 401 | gives up |
//! | body over the cap | 413 | gives up |
//! | mismatch while our own key may be what is wrong | 503 | sends again |
//! | (a head over the limits, or not HTTP: answered in `http` before anything is known of it) | 431, 400 | gives up |
//! | body slow or broken off, too much at once, store full, failing or slow | 503 | sends again |

use serde::{Deserialize, Serialize};

/// What became of a request on the webhook path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Kept, durably: queued, held, or kept for nobody.
    Accepted,
    Duplicate,
    /// Signed but not understood; kept.
    Quarantined,
    NoSignature,
    RepeatedSignature,
    MalformedSignature,
    Forged,
    /// No key made the signature, but the keys are not known to be right.
    #[serde(rename = "unproven_key")]
    Unproven,
    TooLarge,
    SlowBody,
    BrokenBody,
    /// Too many bytes in flight, or the writer is behind.
    Busy,
    /// Not durable within the budget; it may yet become so, and the retry is a duplicate then.
    NotDurable,
    /// `max_bytes` is reached.
    StoreFull,
    LowDisk,
    StoreDown,
    /// A test event of `ringhookd certify` with a good signature: it leaves nothing.
    TestEvent,
    /// The same with a wrong signature.
    TestForged,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Quarantined,
        Self::NoSignature,
        Self::RepeatedSignature,
        Self::MalformedSignature,
        Self::Forged,
        Self::Unproven,
        Self::TooLarge,
        Self::SlowBody,
        Self::BrokenBody,
        Self::Busy,
        Self::NotDurable,
        Self::StoreFull,
        Self::LowDisk,
        Self::StoreDown,
        Self::TestEvent,
        Self::TestForged,
    ];

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Accepted | Self::Duplicate | Self::Quarantined | Self::TestEvent => 200,
            Self::NoSignature
            | Self::RepeatedSignature
            | Self::MalformedSignature
            | Self::Forged
            | Self::TestForged => 401,
            Self::TooLarge => 413,
            Self::Unproven
            | Self::SlowBody
            | Self::BrokenBody
            | Self::Busy
            | Self::NotDurable
            | Self::StoreFull
            | Self::LowDisk
            | Self::StoreDown => 503,
        }
    }

    /// The name in metrics and logs; the peer is never told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Quarantined => "quarantined",
            Self::NoSignature => "no_signature",
            Self::RepeatedSignature => "repeated_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::Forged => "forged",
            Self::Unproven => "unproven_key",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::BrokenBody => "broken_body",
            Self::Busy => "busy",
            Self::NotDurable => "not_durable",
            Self::StoreFull => "store_full",
            Self::LowDisk => "low_disk",
            Self::StoreDown => "store_down",
            Self::TestEvent => "test_event",
            Self::TestForged => "test_forged",
        }
    }

    /// Whether it is of an event that was announced as a test, which says nothing of Ring's.
    pub fn is_test(self) -> bool {
        matches!(self, Self::TestEvent | Self::TestForged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_forgery_and_a_body_over_the_cap_are_final() {
        for verdict in Verdict::ALL {
            let expected = match verdict {
                Verdict::Accepted | Verdict::Duplicate | Verdict::Quarantined | Verdict::TestEvent => 200,
                Verdict::TestForged
                | Verdict::Forged
                | Verdict::NoSignature
                | Verdict::RepeatedSignature
                | Verdict::MalformedSignature => 401,
                Verdict::TooLarge => 413,
                _ => 503,
            };
            assert_eq!(verdict.status(), expected, "{verdict:?}");
        }
        let names: std::collections::HashSet<_> = Verdict::ALL.iter().map(|v| v.as_str()).collect();
        assert_eq!(names.len(), Verdict::ALL.len());
    }
}
