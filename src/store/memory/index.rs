//! Accounts and users in memory, by dense numbers: what the hot path needs to know of each.

use std::ops::RangeInclusive;

use hashbrown::HashTable;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::ids::{AccountId, UserId};
use crate::domain::link::{LinkState, Tenure};
use crate::domain::time::Millis;

/// Number of "no account"; its records share keys of their own.
pub(crate) const NO_ACCOUNT: u32 = 0;
/// Number of "no user".
pub(crate) const NO_USER: u32 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountSlot {
    pub user: u32,
    pub state: LinkState,
    /// Every event of it is the user's, whenever it happened.
    pub simple: bool,
    hash: [u8; 16],
}

/// All accounts: 24 bytes each, and 5 in the table over a load of 0.44 to 0.87. The id itself rests on disk; 128 bits
/// of SHA-256 stand for it here.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    by_hash: HashTable<u32>,
    slots: Vec<AccountSlot>,
    /// Accounts by state, in the order of the states.
    counts: [u64; LinkState::ALL.len()],
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let nobody = AccountSlot { user: NO_USER, state: LinkState::Forgotten, simple: false, hash: [0; 16] };
        Self { by_hash: HashTable::new(), slots: vec![nobody], counts: [0; LinkState::ALL.len()] }
    }

    pub(crate) fn reserve(&mut self, accounts: usize) {
        self.slots.reserve(accounts);
    }

    /// The number the next account gets.
    pub(crate) fn next(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn find(&self, id: &AccountId) -> Option<u32> {
        let hash = hash(id);
        self.by_hash.find(key(&hash), |&no| self.slots[no as usize].hash == hash).copied()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&AccountSlot> {
        self.slots.get(number as usize)
    }

    pub(crate) fn set_state(&mut self, number: u32, state: LinkState) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            self.counts[slot.state as usize - 1] -= 1;
            self.counts[state as usize - 1] += 1;
            slot.state = state;
        }
    }

    /// Notes whose the account is, and how its link is.
    pub(crate) fn set_link(&mut self, number: u32, tenure: &Tenure) {
        self.set_state(number, tenure.state);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.user, slot.simple) = (tenure.holder(), tenure.is_simple());
        }
    }

    /// Adds the next account and returns its number.
    pub(crate) fn add(&mut self, id: &AccountId, user: u32, state: LinkState) -> u32 {
        let number = self.push(id, user, state);
        self.enter(number);
        number
    }

    /// Adds the next account, which is not found before [`Self::index`], and returns its number.
    pub(crate) fn push(&mut self, id: &AccountId, user: u32, state: LinkState) -> u32 {
        let number = self.next();
        self.slots.push(AccountSlot { user, state, simple: false, hash: hash(id) });
        self.counts[state as usize - 1] += 1;
        number
    }

    /// Lets all that were pushed be found. In one go, since each misses the processor's caches, and those misses overlap.
    pub(crate) fn index(&mut self) {
        let numbers = 1..self.next();
        self.by_hash = HashTable::with_capacity(numbers.len());
        for number in numbers {
            if self.slots[number as usize].state != LinkState::Forgotten {
                self.enter(number);
            }
        }
    }

    fn enter(&mut self, number: u32) {
        let slots = &self.slots;
        let hash = |&no: &u32| key(&slots[no as usize].hash);
        self.by_hash.insert_unique(hash(&number), number, hash);
    }

    /// Keeps the number of an account that is gone occupied.
    pub(crate) fn add_forgotten(&mut self) {
        let gone = AccountSlot { user: NO_USER, state: LinkState::Forgotten, simple: false, hash: [0; 16] };
        self.slots.push(gone);
        self.counts[LinkState::Forgotten as usize - 1] += 1;
    }

    /// Takes the account out; its number stays occupied.
    pub(crate) fn forget(&mut self, number: u32) {
        self.set_state(number, LinkState::Forgotten);
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        if let Ok(entry) = self.by_hash.find_entry(key(&slot.hash), |&no| no == number) {
            entry.remove();
        }
        *slot = AccountSlot { user: NO_USER, state: LinkState::Forgotten, simple: false, hash: [0; 16] };
    }

    pub(crate) fn in_state(&self, state: LinkState) -> impl Iterator<Item = u32> {
        (0..).zip(&self.slots).filter(move |(_, slot)| slot.state == state).map(|(number, _)| number)
    }

    pub(crate) fn count(&self, state: LinkState) -> u64 {
        self.counts[state as usize - 1]
    }
}

/// The hash that stands for an account's id, here and in its row.
pub(crate) fn hash(id: &AccountId) -> [u8; 16] {
    short_hash(id.as_str())
}

/// The hash that stands for an id of Ring's: half a SHA-256.
pub(crate) fn short_hash(id: &str) -> [u8; 16] {
    let digest = Sha256::digest(id.as_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

/// The number that stands for such a hash in a table in memory.
pub(crate) fn key(hash: &[u8; 16]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

/// Users by number, in one text: names are only ever added.
#[derive(Debug, Default)]
pub(crate) struct Users {
    text: String,
    ends: Vec<usize>,
    by_name: HashTable<u32>,
}

impl Users {
    /// The name of a user number; nothing for [`NO_USER`].
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        let index = (number as usize).checked_sub(1)?;
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start..end)
    }

    /// How many there are; the highest number.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.find(xxh3_64(name.as_bytes()), |&no| self.name(no) == Some(name)).copied()
    }

    /// Adds a name that is not there yet and returns its number.
    pub(crate) fn add(&mut self, name: &UserId) -> u32 {
        let number = self.push(name);
        self.enter(number..=number);
        number
    }

    /// Adds a name, which is not found before [`Self::index`], and returns its number.
    pub(crate) fn push(&mut self, name: &UserId) -> u32 {
        self.text.push_str(name.as_str());
        self.ends.push(self.text.len());
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// Lets all that were pushed be found.
    pub(crate) fn index(&mut self) {
        self.by_name = HashTable::with_capacity(self.ends.len());
        self.enter(1..=u32::try_from(self.ends.len()).unwrap_or(u32::MAX));
    }

    fn enter(&mut self, numbers: RangeInclusive<u32>) {
        let mut by_name = std::mem::take(&mut self.by_name);
        let hash = |&no: &u32| xxh3_64(self.name(no).unwrap_or_default().as_bytes());
        for number in numbers {
            by_name.insert_unique(hash(&number), number, hash);
        }
        self.by_name = by_name;
    }
}

/// Seconds since the epoch, as the compact records keep it (until the year 2106).
pub(crate) fn seconds(at: Millis) -> u32 {
    u32::try_from(at.0 / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_id_until_forgotten() {
        let mut accounts = Accounts::new();
        let ids: Vec<_> = (0..1000).map(|i| AccountId::new(&format!("a{i}")).unwrap()).collect();
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(accounts.find(id), None);
            assert_eq!(accounts.add(id, 7, LinkState::Linked) as usize, i + 1);
        }
        let number = accounts.find(&ids[500]).unwrap();
        accounts.forget(number);
        assert_eq!(accounts.find(&ids[500]), None);
        assert_eq!(accounts.get(number).unwrap().user, NO_USER);
        assert_ne!(accounts.add(&ids[500], 8, LinkState::Linked), number, "numbers are not used again");
        assert_eq!(accounts.count(LinkState::Linked), 1000);
    }

    #[test]
    fn users_are_interned() {
        let mut users = Users::default();
        for i in 0..1000 {
            let name = UserId::new(&format!("user-{i}")).unwrap();
            assert_eq!(users.find(name.as_str()), None);
            assert_eq!(users.add(&name), i + 1);
        }
        assert_eq!(users.find("user-41"), Some(42));
        assert_eq!(users.name(42), Some("user-41"));
        assert_eq!((users.name(NO_USER), users.name(1001)), (None, None));
    }
}
