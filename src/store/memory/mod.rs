//! What the store keeps in memory of the file, for the writer and for readers.

pub(crate) mod changes;
pub(crate) mod core;
pub(crate) mod device_log;
pub(crate) mod follow;
pub(crate) mod freshness;
pub(crate) mod index;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod pulse;
pub(crate) mod recent;
pub(crate) mod seen;
pub(crate) mod shared;
