//! Counters in a mapped file: what a program had got done is still there after it was killed.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

/// One counter for each thread, a cache line apart.
#[derive(Debug)]
pub struct Counts {
    map: MmapRaw,
}

const BYTES: usize = 4096;
const STRIDE_WORDS: usize = 8;

impl Counts {
    /// Opens the counters in the file `path`, which is made if need be.
    ///
    /// # Errors
    /// If the file cannot be made or mapped.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(BYTES as u64)?;
        Ok(Self { map: MmapRaw::map_raw(&file)? })
    }

    fn counter(&self, thread: usize) -> &AtomicU64 {
        assert!(thread < BYTES / 8 / STRIDE_WORDS, "there are 64 counters");
        // SAFETY: the mapping is page-aligned and 4096 bytes long, the index was checked, and all access is atomic.
        unsafe { &*self.map.as_ptr().cast::<AtomicU64>().add(thread * STRIDE_WORDS) }
    }

    /// How far that thread has got.
    #[must_use]
    pub fn get(&self, thread: usize) -> u64 {
        self.counter(thread).load(Ordering::Acquire)
    }

    /// That thread has got that far.
    pub fn set(&self, thread: usize, count: u64) {
        self.counter(thread).store(count, Ordering::Release);
    }
}
