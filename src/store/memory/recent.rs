//! What was used lately, within a bound. Two generations: what is used goes into the young one, and when that is full the old
//! one leaves, so that what is in use stays, however much comes by once.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Entries of a generation.
    most: usize,
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    /// Keeps the `most` that were used last, and up to as many more.
    pub(crate) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: K) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_rest_leaves() {
        let mut recent = Recent::new(100);
        for key in 0..10_000 {
            recent.insert(key, key);
            for used in 0..50.min(key) {
                assert_eq!(recent.get(used), Some(used), "after {key}");
            }
            assert!(recent.len() <= 200);
        }
        assert_eq!(recent.get(5000), None);
    }

    #[test]
    fn as_many_as_a_generation_has_are_all_found() {
        let mut recent = Recent::new(100);
        for round in 0..5 {
            for key in 0..100 {
                assert_eq!(recent.get(key).is_some(), round > 0);
                recent.insert(key, key);
            }
        }
    }

    #[test]
    fn what_is_removed_or_changed_is_not_found_as_it_was() {
        let mut recent = Recent::new(1);
        recent.insert(1, "a");
        recent.insert(2, "b");
        recent.insert(1, "c");
        assert_eq!(recent.get(1), Some("c"));
        recent.remove(1);
        assert_eq!((recent.get(1), recent.get(1)), (None, None));
    }
}
