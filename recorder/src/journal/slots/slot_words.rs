//! A slot in mapped memory.

use std::sync::atomic::Ordering;

use tidegauge_schemas::journal::{SLOT_WORDS, Slot};

use super::super::environment::AtomicU64;

/// The eight words of one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotWords<'a>(pub(super) &'a [AtomicU64; SLOT_WORDS]);

impl SlotWords<'_> {
    /// Stores the fields, then the commit word: a reader that sees it sees the fields.
    #[inline(always)]
    pub(crate) fn store(self, slot: &Slot, commit: u64) {
        // Word by word, not in a loop: so the fields stay in registers until they are stored.
        self.0[1].store(slot[1], Ordering::Relaxed);
        self.0[2].store(slot[2], Ordering::Relaxed);
        self.0[3].store(slot[3], Ordering::Relaxed);
        self.0[4].store(slot[4], Ordering::Relaxed);
        self.0[5].store(slot[5], Ordering::Relaxed);
        self.0[6].store(slot[6], Ordering::Relaxed);
        self.0[7].store(slot[7], Ordering::Relaxed);
        self.0[0].store(commit, Ordering::Release);
    }

    /// The commit word; what was stored before it is seen by later loads.
    #[inline]
    pub(crate) fn commit(self) -> u64 {
        self.0[0].load(Ordering::Acquire)
    }

    /// The slot as it is now.
    #[inline]
    pub(crate) fn load(self) -> Slot {
        let commit = self.commit();
        let mut slot: Slot = std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        slot[0] = commit;
        slot
    }
}
