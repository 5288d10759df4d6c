//! Numbers of accounts at hand, so that a read of one account need not wait for the commit that the writer is at.
//!
//! A number is only a hint where to look: what lies there says itself whose it is, numbers are never used again, and where
//! nothing is found any more the writer is asked, who knows.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::error::Fault;
use super::shared::Shared;
use super::{Store, StoreError};
use crate::domain::ids::AccountId;

/// About 100 bytes each.
const AT_HAND: usize = 1 << 14;

#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<HashMap<AccountId, u32>>);

impl Numbers {
    fn get(&self, account: &AccountId) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(account).copied()
    }

    fn keep(&self, account: AccountId, number: u32) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() >= AT_HAND {
            numbers.clear();
        }
        numbers.insert(account, number);
    }
}

impl Store {
    /// What `read` finds of the account under a number that it had; it must find nothing where the number is another's.
    pub(super) async fn read_of<T>(
        &self,
        account: AccountId,
        read: impl Fn(&Shared, u32, &AccountId) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>, StoreError> {
        if let Some(number) = self.shared.numbers.get(&account)
            && let Some(found) = read(&self.shared, number, &account)?
        {
            return Ok(Some(found));
        }
        let Some(number) = self.number_of(account.clone()).await? else { return Ok(None) };
        let found = read(&self.shared, number, &account)?;
        if found.is_some() {
            self.shared.numbers.keep(account, number);
        }
        Ok(found)
    }

    async fn number_of(&self, account: AccountId) -> Result<Option<u32>, StoreError> {
        self.submit(move |batch| Ok(batch.core.accounts.find(&account))).await
    }
}
