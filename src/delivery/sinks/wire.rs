//! Connections to receivers that speak a protocol of their own over TCP: how they are watched and given up.
//!
//! ```text
//! `shared.rs`: the one connection of a queue, made when it is needed ──▶ `dial.rs`: name, TCP, TLS ──▶ the protocol's greeting
//!    └─▶ Line: a task that reads and writes ──▶ Protocol: bytes to commands and answers, no input or output of its own
//! ```
//!
//! A line never connects again by itself. When it ends, whatever was not confirmed on it is told so, and the next delivery makes a
//! new one: no message waits in a buffer that nobody sees.

mod line;

pub(super) use line::{Line, Protocol, broke};
