//! The store as its callers see it: one port for each kind of caller.
//!
//! Whatever may touch the disk is async, because blocking is the store's own business, on its own threads. What answers at
//! once reads memory alone.

mod audit;
mod inbox;
mod links;
mod outbox;
mod queues;
mod receipts;

pub use audit::Audit;
pub use inbox::Inbox;
pub use links::Links;
pub use outbox::Outbox;
pub use queues::Queues;
pub use receipts::Receipts;
