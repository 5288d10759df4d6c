//! The servers of the tests, for benches.

#[allow(clippy::unwrap_used, reason = "they are of the tests")]
#[path = "../../tests/support/broker.rs"]
pub(crate) mod broker;
