//! A simulated Ring: makes the events that Ring documents, signs them, and sends them as Ring does.
//!
//! For `demo` and tests. What it knows of Ring is in Ring's partner documentation; no capture of real traffic was at hand.

mod events;
mod sender;

pub use events::{KINDS, body};
pub use sender::{Delivery, Sender};
