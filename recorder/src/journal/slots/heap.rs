//! Chunks on the heap, for tests: where files cannot be mapped (Miri), or need not be.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use super::super::environment::{AtomicU64, HEADER_WORDS, SLOTS_PER_CHUNK};
use super::{ChunkFiles, Words};

/// Page-aligned zeros.
#[derive(Debug)]
pub(crate) struct HeapWords {
    base: *mut AtomicU64,
    layout: Layout,
}

// SAFETY: the memory is reached through atomics only and belongs to no thread.
unsafe impl Send for HeapWords {}
// SAFETY: as above.
unsafe impl Sync for HeapWords {}

impl HeapWords {
    pub(crate) fn zeros(words: usize) -> Self {
        let layout = Layout::from_size_align(words * 8, 4096).unwrap();
        // SAFETY: the size is not zero.
        let base: *mut AtomicU64 = unsafe { alloc_zeroed(layout) }.cast();
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Self { base, layout }
    }
}

impl Drop for HeapWords {
    fn drop(&mut self) {
        // SAFETY: `zeros` allocated it with this layout.
        unsafe { dealloc(self.base.cast(), self.layout) };
    }
}

impl Words for HeapWords {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the allocation is that long, lives as long as `self`, and zeros are an AtomicU64.
        unsafe { std::slice::from_raw_parts(self.base, self.layout.size() / 8) }
    }
}

/// Makes chunks and remembers which are there.
#[derive(Debug, Default)]
pub(crate) struct HeapChunks {
    present: Mutex<BTreeSet<u32>>,
}

impl HeapChunks {
    pub(crate) fn present(&self) -> Vec<u32> {
        self.present.lock().unwrap().iter().copied().collect()
    }
}

impl ChunkFiles for HeapChunks {
    type Memory = HeapWords;

    fn make(&self, number: u32) -> io::Result<HeapWords> {
        assert!(self.present.lock().unwrap().insert(number), "a number is used once");
        Ok(HeapWords::zeros(HEADER_WORDS + SLOTS_PER_CHUNK as usize * 8))
    }

    fn remove(&self, number: u32) {
        assert!(self.present.lock().unwrap().remove(&number), "it was made");
    }
}
