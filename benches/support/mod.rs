//! The servers of the tests, for benches.

#[path = "../../tests/support/broker.rs"]
pub(crate) mod broker;
