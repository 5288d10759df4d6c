//! What a look at a receiver finds, without an event.

/// Perhaps something worth knowing, or why events would not get there, with the receiver's address before it.
pub type Probed = Result<Option<String>, String>;
