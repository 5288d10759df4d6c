//! The labels of metrics, and their values.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::domain::code::CodeEnd;
use crate::domain::envelope::Oddity;
use crate::domain::link::LinkState;
use crate::domain::refresh::Health;
use crate::domain::status::ProblemName;
use crate::domain::verdict::Verdict;

/// The values of a label, as an enum and as text.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The label's value, also for logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.as_str())
            }
        }
    };
}

/// Lets what the domain names be a label's value.
macro_rules! label_values {
    ($($type:ty: $name:ident),+ $(,)?) => {
        $(impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.$name())
            }
        })+
    };
}

label_values! { Health: as_str, Verdict: as_str, CodeEnd: as_str, LinkState: name, Oddity: name, ProblemName: as_str }

label! {
    /// How a TLS handshake came out.
    Handshake {
        Complete = "complete",
        /// An ACME authority looked for the proof of a name, and saw it.
        Proof = "proof",
        /// The two sides did not agree, or what came was no handshake.
        Failed = "failed",
        PlainHttp = "plain_http",
        /// The peer took too long or left, or its place was needed.
        Unfinished = "unfinished",
    }
}

label! {
    /// Why the HTTP room answered or closed in a handler's place.
    HttpRefusal {
        /// Too many connections.
        Connections = "connections",
        /// Too many requests in flight.
        Requests = "requests",
        /// The handler took longer than the budget.
        Overdue = "overdue",
        Panic = "panic",
        /// More than one reading of the framing, or not exactly one host.
        Malformed = "malformed",
        /// The request was slow, and its place was needed.
        Evicted = "evicted",
    }
}
label! {
    /// The state of a connection that was closed because its place, or its memory, was needed.
    Evicted {
        /// Nothing had come.
        Silent = "silent",
        SlowHead = "slow_head",
        SlowBody = "slow_body",
        /// It rested between two requests.
        Idle = "idle",
        /// Its peer did not take the answer.
        Unread = "unread",
        /// It was answered, and its peer went on sending.
        Lingering = "lingering",
    }
}
label! {
    /// Which listener a connection came in by.
    ListenerName {
        Public = "public",
        Admin = "admin",
        /// Of `[metrics] listen`.
        Metrics = "metrics",
    }
}
label! {
    /// What became of an event in a queue.
    Fate {
        Accepted = "accepted",
        Delivered = "delivered",
        /// A delivery attempt failed.
        Failed = "failed",
        Dead = "dead",
    }
}
label! {
    /// Records kept outside of queues.
    OffQueue {
        Held = "held",
        Dead = "dead",
        Unrouted = "unrouted",
        Quarantined = "quarantined",
    }
}
label! {
    /// How a refresh of tokens came out.
    Refresh {
        Renewed = "renewed",
        /// Renewed by an answer that is no whole JSON.
        Damaged = "damaged",
        /// Not begun, for a reason of our own.
        Withheld = "withheld",
        NotSent = "not_sent",
        /// Nobody knows whether the tokens were replaced.
        Unknown = "unknown",
        /// OAuth's answer can't be read.
        Unreadable = "unreadable",
        Throttled = "throttled",
        /// OAuth does not honour the token.
        Refused = "refused",
        /// OAuth does not honour our own secret.
        ClientRefused = "client_refused",
    }
}
label! {
    /// What became of a worker's wish for an access token.
    AccessOutcome {
        Given = "given",
        /// It may ask again.
        Later = "later",
        Denied = "denied",
    }
}
label! {
    /// How a call of the token exchange URL was answered.
    CodeRequest {
        /// 200: it is durable, or came before.
        Taken = "taken",
        /// 200: made up for a test event, and not kept.
        Test = "test",
        /// 400: there is no code in it.
        Unreadable = "unreadable",
        /// 503: over the share that codes have.
        TooMany = "too_many",
        /// 503: the store, or the configuration.
        Unavailable = "unavailable",
        /// 413.
        TooLarge = "too_large",
        /// The body did not come, or not in time.
        NoBody = "no_body",
    }
}
label! {
    /// What the store does with a write.
    StoreState {
        Open = "open",
        /// Refuses webhooks since the disk is nearly full.
        LowDisk = "low_disk",
        /// Refuses all after an I/O error, until it is open again.
        Failing = "failing",
        /// Refuses all until a person has looked.
        Damaged = "damaged",
    }
}
