//! What every client of HTTP/1.1 here is made of: connections with limits, the words for a failure, `Retry-After`.
//!
//! It decides nothing: whether a request may be sent again is the caller's to know.

mod connect;
mod failure;
mod retry_after;

pub use connect::{Client, Limits, client, pooled};
pub use failure::Failure;
pub use retry_after::{date, retry_after};
