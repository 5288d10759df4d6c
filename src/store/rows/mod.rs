//! How records lie on disk.

pub(crate) mod account;
pub(crate) mod act;
pub(crate) mod aside;
pub(crate) mod attempts;
pub(crate) mod chunk;
pub(crate) mod claim;
pub(crate) mod code;
pub(crate) mod device_log;
pub(crate) mod event;
pub(crate) mod facts;
pub(crate) mod fields;
pub(crate) mod freshness;
pub(crate) mod ids;
pub(crate) mod journal;
pub(crate) mod receipt;
pub(crate) mod row;
pub(crate) mod small;
pub(crate) mod text;
pub(crate) mod token;
