//! How many may be inside at a time; that number can change while some are.

use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct Gate {
    most: AtomicUsize,
    inside: AtomicUsize,
}

impl Gate {
    pub(super) fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), inside: AtomicUsize::new(0) }
    }

    /// False where there is no room. Each request that enters must [`leave`](Self::leave).
    pub(super) fn enter(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let enter = |inside: usize| Some(inside + 1).filter(|inside| *inside <= most);
        self.inside.fetch_update(Ordering::AcqRel, Ordering::Relaxed, enter).is_ok()
    }

    pub(super) fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::AcqRel);
    }

    /// Who is inside stays, also beyond that number.
    pub(super) fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_enter_as_there_is_room_for_now() {
        let gate = Gate::new(2);
        assert_eq!([gate.enter(), gate.enter(), gate.enter()], [true, true, false]);
        gate.set(3);
        assert_eq!([gate.enter(), gate.enter()], [true, false]);
        gate.set(1);
        gate.leave();
        gate.leave();
        assert!(!gate.enter(), "one is inside");
        gate.leave();
        assert!(gate.enter());
    }
}
