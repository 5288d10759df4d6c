//! The one writer: opens the store, gathers commands, and commits them.

pub(crate) mod backup;
pub(crate) mod committer;
pub(crate) mod compact;
pub(crate) mod group;
pub(crate) mod handle;
pub(crate) mod inspect;
pub(crate) mod open;
pub(crate) mod restore;
