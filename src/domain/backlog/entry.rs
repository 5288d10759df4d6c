//! One waiting event, and whose events are meant.

use std::collections::HashSet;

/// One waiting event, without its content: 24 bytes, since a long backlog is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    /// When it was accepted, in whole seconds since the epoch.
    pub at: u32,
    /// The user it was accepted for; 0 without one.
    pub user: u32,
    /// What it takes in the store, in bytes.
    pub bytes: u32,
}

/// Whose events are meant, by number; everybody's by default. Both sides must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    pub users: Option<HashSet<u32>>,
    pub accounts: Option<HashSet<u32>>,
}

impl Scope {
    pub(super) fn has_account(&self, account: u32) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.contains(&account))
    }

    pub(super) fn has_user(&self, user: u32) -> bool {
        self.users.as_ref().is_none_or(|users| users.contains(&user))
    }
}
