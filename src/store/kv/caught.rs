//! Reads that may end in a panic: redb may panic over a damaged file, which for us is an error like another.

use std::cell::Cell;
use std::panic;
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use super::error::{DISORDER, Fault, StoreError};

thread_local! {
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// Runs a read of a file that may be damaged; damage is told with the file's name. A panic is damage, and nothing is printed of
/// it.
pub(crate) fn reading<T>(file: &Path, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Of the process, but silent in this thread alone, and only here.
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !HUSHED.get() {
                usual(info);
            }
        }));
    });
    let before = HUSHED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    HUSHED.set(before);
    read.unwrap_or_else(|_| Err(StoreError::Damaged(DISORDER.into()))).map_err(|error| match error {
        StoreError::Damaged(what) => StoreError::Damaged(format!("{}: {what}", file.display())),
        error => error,
    })
}

/// redb may panic over a damaged file.
pub(crate) fn running<T>(run: impl FnOnce() -> Result<T, Fault> + UnwindSafe) -> Result<T, Fault> {
    catch_unwind(run).unwrap_or_else(|panic| Err(Fault::Panic(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_damage_and_what_is_not_a_read_panics_as_ever() {
        let file = Path::new("data/store.redb");
        assert_eq!(reading(file, || Ok(7)), Ok(7));
        let refused = reading::<()>(file, || panic!("out of bounds"));
        assert_eq!(refused, Err(StoreError::Damaged(format!("data/store.redb: {DISORDER}"))));
        assert!(!HUSHED.get());
        let inner = || Ok(reading::<()>(file, || panic!("again")).is_err() && HUSHED.get());
        assert_eq!(reading(file, inner), Ok(true), "one within another leaves the outer one hushed");
    }
}
