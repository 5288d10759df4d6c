//! Counts what a call looks at, so that tests can hold its cost against what it gives. Nothing outside of tests.

#[cfg(test)]
thread_local! {
    static VISITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A lane, a user, an event or a moment of the schedule is looked at.
pub(super) fn visit() {
    #[cfg(test)]
    VISITS.set(VISITS.get() + 1);
}

/// What `call` gives, and how much it looked at.
#[cfg(test)]
pub(super) fn counted<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = VISITS.get();
    let given = call();
    (given, VISITS.get() - before)
}
