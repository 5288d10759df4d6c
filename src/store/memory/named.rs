//! Accounts that scopes name: their numbers, so that a reader who waits needs no answer of the writer at each look.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use super::index::{Accounts, NO_ACCOUNT};
use crate::domain::ids::AccountId;
use crate::domain::link::LinkState;

/// As many as the sockets' rights name.
#[derive(Debug, Default)]
pub(crate) struct NamedAccounts(RwLock<Named>);

#[derive(Debug, Default)]
struct Named {
    numbers: HashMap<AccountId, u32>,
    /// How many have no number yet.
    unknown: usize,
    /// Accounts that were forgotten, when the numbers were looked up last: an id may get another number after that.
    forgotten: u64,
}

impl NamedAccounts {
    /// The numbers of these, without those that are not accounts yet; nothing when one of them was never named before.
    pub(crate) fn numbers(&self, ids: &[AccountId]) -> Option<HashSet<u32>> {
        let named = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let numbers: Option<HashSet<u32>> = ids.iter().map(|id| named.numbers.get(id).copied()).collect();
        numbers.map(|mut numbers| {
            numbers.remove(&NO_ACCOUNT);
            numbers
        })
    }

    /// Keeps the numbers of these right from now on.
    pub(crate) fn name(&self, ids: &[AccountId], accounts: &Accounts) {
        let mut named = self.0.write().unwrap_or_else(PoisonError::into_inner);
        named.numbers.extend(ids.iter().map(|id| (id.clone(), NO_ACCOUNT)));
        named.look_up(accounts);
    }

    /// Looks again where the accounts may have changed since.
    pub(crate) fn refresh(&self, accounts: &Accounts) {
        let named = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let same = named.unknown == 0 && named.forgotten == accounts.count(LinkState::Forgotten);
        drop(named);
        if !same {
            self.0.write().unwrap_or_else(PoisonError::into_inner).look_up(accounts);
        }
    }
}

impl Named {
    fn look_up(&mut self, accounts: &Accounts) {
        for (id, number) in &mut self.numbers {
            *number = accounts.find(id).unwrap_or(NO_ACCOUNT);
        }
        self.unknown = self.numbers.values().filter(|number| **number == NO_ACCOUNT).count();
        self.forgotten = accounts.count(LinkState::Forgotten);
    }
}
