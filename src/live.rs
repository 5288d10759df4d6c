//! A value that is replaced as a whole while others use it: whoever reads it has all of the old one, or all of the new one.

use std::sync::{Arc, PoisonError, RwLock};

/// What holds now.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// It stays as it is for as long as it is held. Nobody waits: the lock is held for a copy of a pointer.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, value: Arc<T>) {
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value);
        // Not under the lock: the last of its holders drops it.
        drop(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_old_value_keeps_it() {
        let live = Live::new(1);
        let old = live.get();
        live.set(Arc::new(2));
        assert_eq!((*old, *live.get()), (1, 2));
    }
}
