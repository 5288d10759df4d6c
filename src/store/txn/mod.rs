//! What happens in a transaction.

pub(crate) mod accept;
pub(crate) mod accounts;
pub(crate) mod batch;
pub(crate) mod claims;
pub(crate) mod codes;
pub(crate) mod devices;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod letters;
pub(crate) mod links;
pub(crate) mod off_queue;
pub(crate) mod remember;
pub(crate) mod retention;
pub(crate) mod settle;
pub(crate) mod tokens;
pub(crate) mod unidentified;
