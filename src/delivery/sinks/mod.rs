//! The sinks, one file a kind of queue; an embedded queue needs none, since its readers come to the store.

pub mod spool;
