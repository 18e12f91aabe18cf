//! A global allocator that records what the program allocates.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::active::active;
use crate::dump::oom;
use crate::guard::is_own_work;

/// Device of host memory.
const HOST: i16 = -1;

/// Wraps an allocator and records the blocks that it hands out, on device −1, while a [`crate::Recorder`] is on.
///
/// ```
/// use tidegauge_recorder::RecordingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: RecordingAllocator = RecordingAllocator::system().with_min_bytes(1024);
/// # fn main() {}
/// ```
///
/// Sizes are those that the program asked for. Blocks that were allocated before recording began are known only by
/// their free, without a size.
#[derive(Debug, Default)]
pub struct RecordingAllocator<A = System> {
    inner: A,
    min_bytes: usize,
}

impl RecordingAllocator {
    /// Over the system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self::new(System)
    }
}

impl<A> RecordingAllocator<A> {
    /// Over another allocator.
    pub const fn new(inner: A) -> Self {
        Self { inner, min_bytes: 0 }
    }

    /// Leaves out blocks smaller than this: in a program with many small blocks they cost much and say little.
    #[must_use]
    pub const fn with_min_bytes(mut self, bytes: usize) -> Self {
        self.min_bytes = bytes;
        self
    }

    #[inline]
    fn record_alloc(&self, block: *mut u8, bytes: usize) {
        if bytes >= self.min_bytes
            && let Some(active) = active()
            && !is_own_work()
        {
            if block.is_null() {
                oom(HOST, bytes as u64);
            } else {
                active.alloc(HOST, block as u64, bytes as u64);
            }
        }
    }

    #[inline]
    fn record_free(&self, block: *mut u8, bytes: usize) {
        if bytes >= self.min_bytes
            && let Some(active) = active()
            && !is_own_work()
        {
            active.free(HOST, block as u64);
        }
    }
}

// SAFETY: every call is passed on unchanged to the inner allocator and its result returned unchanged; recording
// neither allocates nor unwinds.
//
// Order: a free is recorded before the inner call, an allocation after it, so that no other thread's record of the
// same address comes in between. A realloc is a free and an allocation; if it fails, the old block is still alive and
// is recorded again.
unsafe impl<A: GlobalAlloc> GlobalAlloc for RecordingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises hold for the inner allocator as well.
        let block = unsafe { self.inner.alloc(layout) };
        self.record_alloc(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        self.record_alloc(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.record_free(block, layout.size());
        // SAFETY: as above.
        unsafe { self.inner.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.record_free(block, layout.size());
        // SAFETY: as above.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if moved.is_null() {
            self.record_alloc(block, layout.size());
            self.record_alloc(moved, new_size);
        } else {
            self.record_alloc(moved, new_size);
        }
        moved
    }
}
