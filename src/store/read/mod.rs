//! Reads of the file, on threads of the store.

pub(crate) mod acts;
pub(crate) mod export;
pub(crate) mod reader;
pub(crate) mod readers;
pub(crate) mod receipts;
pub(crate) mod snapshot;
