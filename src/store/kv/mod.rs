//! The file and what lies in it: redb, the write-ahead log, the folder.

pub(crate) mod backup_head;
pub(crate) mod caught;
pub(crate) mod changes;
pub(crate) mod copy;
pub(crate) mod db;
pub(crate) mod disk;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod found;
pub(crate) mod frames;
pub(crate) mod identity;
pub(crate) mod overlay;
pub(crate) mod schema;
pub(crate) mod tables;
pub(crate) mod tee;
pub(crate) mod view;
pub(crate) mod wal;
