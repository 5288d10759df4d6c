//! How records lie on disk.

pub(crate) mod account;
pub(crate) mod attempts;
pub(crate) mod claim;
pub(crate) mod codec;
pub(crate) mod facts;
