//! A slot in mapped memory.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegauge_schemas::journal::{SLOT_WORDS, Slot};

/// The eight words of one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotWords<'a>(&'a [AtomicU64; SLOT_WORDS]);

impl<'a> SlotWords<'a> {
    /// Slot `number` of these.
    #[inline]
    pub(crate) fn new(slots: &'a [AtomicU64], number: usize) -> Option<Self> {
        slots.as_chunks::<SLOT_WORDS>().0.get(number).map(Self)
    }

    /// Stores the fields, then the commit word: a reader that sees it sees the fields.
    #[inline]
    pub(crate) fn store(self, slot: &Slot, commit: u64) {
        for (word, value) in self.0.iter().zip(slot).skip(1) {
            word.store(*value, Ordering::Relaxed);
        }
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
