//! What happens in a transaction: free functions over one, which call downward only.

pub(crate) mod accept;
pub(crate) mod accounts;
pub(crate) mod chunks;
pub(crate) mod claim_rows;
pub(crate) mod claims;
pub(crate) mod codes;
pub(crate) mod commit;
pub(crate) mod devices;
pub(crate) mod forget;
pub(crate) mod held;
pub(crate) mod ids;
pub(crate) mod import;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod letters;
pub(crate) mod links;
pub(crate) mod off_queue;
pub(crate) mod refresh;
pub(crate) mod retention;
pub(crate) mod routing;
pub(crate) mod settle;
pub(crate) mod tokens;
pub(crate) mod tombstones;
pub(crate) mod transaction;
pub(crate) mod unidentified;
