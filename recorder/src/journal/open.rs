//! What is not sealed yet, as the sealer says it to the thread that merges.
//!
//! A merged part claims all chunks from its first to its last, so none between its inputs may still be open: one with a
//! slot whose thread sleeps is sealed whenever that wakes up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegauge_schemas::part::Range;

/// Chunks and strings that are in no part and may still get into one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Open {
    /// Chunks from here on are open.
    pub(crate) chunks_end: u64,
    /// Chunks before that which were set aside.
    pub(crate) aside: Vec<u64>,
    /// String ids from here on are open.
    pub(crate) strings_end: u64,
}

impl Open {
    /// Whether everything in the range of chunks is sealed, or was dropped.
    pub(crate) fn are_chunks_sealed(&self, chunks: Range) -> bool {
        chunks.last < self.chunks_end && !self.aside.iter().any(|&index| chunks.contains(index))
    }

    /// Whether everything in the range of string ids is sealed.
    pub(crate) const fn are_strings_sealed(&self, ids: Range) -> bool {
        ids.last < self.strings_end
    }
}

/// [`Open`], shared.
#[derive(Debug, Default)]
pub(crate) struct OpenSet(Mutex<Open>);

impl OpenSet {
    /// What is open now. What is not never is again.
    pub(crate) fn set(&self, open: Open) {
        *self.lock() = open;
    }

    /// What was open when the sealer last said so.
    pub(crate) fn get(&self) -> Open {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Both sides replace or copy it as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_was_set_aside_opens_what_is_around_it() {
        let open = Open { chunks_end: 24, aside: vec![8], strings_end: 5 };
        let sealed = |first, last| open.are_chunks_sealed(Range { first, last });
        assert!(sealed(0, 7) && sealed(9, 23));
        assert!(!sealed(0, 8) && !sealed(8, 8) && !sealed(0, 23) && !sealed(9, 24));
        assert!(open.are_strings_sealed(Range { first: 1, last: 4 }));
        assert!(!open.are_strings_sealed(Range { first: 1, last: 5 }));
        assert!(!OpenSet::default().get().are_chunks_sealed(Range { first: 0, last: 0 }), "nothing is known");
    }
}
