//! The one writer: opens the store, gathers commands, and commits them.

pub(crate) mod committer;
pub(crate) mod fill;
pub(crate) mod group;
pub(crate) mod handle;
pub(crate) mod inline;
pub(crate) mod open;
