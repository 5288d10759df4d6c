//! Numbers of accounts at hand, so that a read of one account need not wait for the commit that the writer is at.
//!
//! A number is only a hint where to look: what lies there says itself whose it is, numbers are never used again, and where
//! nothing is found any more the writer is asked, who knows.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::AccountId;

/// About 100 bytes each.
const AT_HAND: usize = 1 << 14;

#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<HashMap<AccountId, u32>>);

impl Numbers {
    pub(crate) fn get(&self, account: &AccountId) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(account).copied()
    }

    pub(crate) fn keep(&self, account: AccountId, number: u32) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() >= AT_HAND {
            numbers.clear();
        }
        numbers.insert(account, number);
    }
}
