//! Decides, never acts: no I/O, and time and randomness come in as arguments.

pub mod arrival;
pub mod backlog;
pub mod backoff;
pub mod claim;
pub mod cloudevent;
pub mod code;
pub mod confirm;
pub mod dedup;
pub mod envelope;
pub mod event;
mod flags;
pub mod ids;
pub mod json_stream;
pub mod lending;
pub mod limiter;
pub mod link;
pub mod nonce;
pub mod refresh;
pub mod rights;
pub mod routing;
pub mod secret;
pub mod signature;
pub mod steady;
pub mod time;
pub mod tokens;
pub mod verdict;
pub mod visit;
