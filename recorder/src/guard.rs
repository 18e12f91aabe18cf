//! The recorder's own work must not be recorded: it would be noise, and could follow itself forever.

use std::cell::Cell;

thread_local! {
    // Initialised at compile time and without a destructor: reading it never allocates.
    static OWN_WORK: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, allocations of this thread are not recorded.
#[derive(Debug)]
pub(crate) struct OwnWork {
    before: bool,
}

impl OwnWork {
    pub(crate) fn begin() -> Self {
        Self { before: OWN_WORK.replace(true) }
    }
}

impl Drop for OwnWork {
    fn drop(&mut self) {
        OWN_WORK.set(self.before);
    }
}

/// True within [`OwnWork`], and when the thread's locals are gone already.
#[inline]
pub(crate) fn is_own_work() -> bool {
    OWN_WORK.try_with(Cell::get).unwrap_or(true)
}
