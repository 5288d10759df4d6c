//! A simulated Ring: its OAuth and API over real sockets with faults on demand, and its webhooks, signed and sent as Ring does.
//!
//! For `demo`, `simulate` and tests. What it knows of Ring is in Ring's partner documentation; no capture of real traffic was
//! at hand. [`Ring`] is the whole; `world` decides what is answered, and `server` is all that touches a socket.

mod action;
mod api;
mod call;
mod clock;
mod codes;
mod control;
mod events;
mod fault;
mod faults;
mod integrations;
mod ledger;
mod oauth;
mod options;
mod peer;
mod random;
mod rate;
mod ring;
mod scenario;
mod sender;
mod server;
mod shared;
mod world;

pub use action::Action;
pub use api::device_ids;
pub use clock::SimClock;
pub use codes::{CodeSender, CodeShape};
pub use events::{KINDS, body};
pub use fault::{Fault, KINDS as FAULT_KINDS, Kind, NoFault, Place};
pub use faults::Plan;
pub use integrations::{LinkState, Visit};
pub use ledger::{Counts, Exchange, Outcome};
pub use oauth::{ACCESS_LIFE, CODE_LIFE, PLAYGROUND_LIFE, Pair, Policy, REFRESH_LIFE};
pub use options::{First, Options, Partner};
pub use peer::{Delivery, Peer};
pub use ring::Ring;
pub use scenario::{Step, scenario};
pub use sender::Sender;
pub use world::Client;

#[cfg(test)]
mod tests;
