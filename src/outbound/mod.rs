//! What goes to Ring and must not be lost or sent twice: refreshes, authorization codes, confirmations of claims, pauses of apps.
//!
//! ```text
//! admit ──▶ intend: on disk ──▶ rate limiter ──▶ send, once ──▶ hear out ──▶ settle: on disk
//!   └─ not now  └─ nothing to send                                └─ the daemon has to end: unknown
//! ```
//!
//! The way is the same for all of them ([`Outbound::send_once`]). What each of them sends, and what an answer means for it, its own
//! [`Attempt`] says, by the rules of `domain::refresh`, `domain::code`, `domain::confirm` and
//! `domain::disconnect`. An intent that is found on disk after a
//! crash means that the request may have been sent.

mod attempt;
mod driver;
mod rate;
mod under_way;

pub use attempt::{Attempt, Outbound};
pub use driver::{Driver, Panicked};
pub use rate::RateLimiter;
pub use under_way::{InFlight, Item};
