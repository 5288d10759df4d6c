//! Keeps tokens alive and hands access tokens out: does what the schedule in `domain::refresh` decides.
//!
//! ```text
//! schedule ──▶ service ──▶ refresh: intent on disk ▶ epoch in the guard folder ▶ rate limiter ▶ OAuth ▶ record ──▶ schedule
//!    ▲                                                                                                          │
//! access tokens ◀── workers ask                                             notifier: events and alerts ◀───────┘
//! ```
//!
//! After a crash, what is tried for an account whose journal entry is open, in this order: an answer that was kept, if it can be
//! read after all (also one from the guard folder); then the token that was sent, at once and again until OAuth answers. Only when
//! OAuth has refused it for good is the one before it tried, once, and only if the refused one had never been accepted.

mod access;
mod codes;
mod context;
mod guard;
mod heart;
mod notifier;
mod record;
mod refresh;
mod schedule;
mod service;
mod unidentified;
mod urgent;

pub use access::AccessTokens;
pub use guard::Guard;
pub use schedule::Clock;
pub use service::{Parts, Settings, TokenService, TokenStatus};
