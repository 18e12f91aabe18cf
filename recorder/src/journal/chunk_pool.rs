//! The chunks of a journal: which file holds which chunk, who may use it, and how many there may be.
//!
//! The table maps a chunk's index to its memory in one word: the page address, and in the low twelve bits a tag made
//! of the index, so that a thread never mistakes the chunk that took a place in the table later for its own.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use tidegauge_schemas::journal::{
    CHUNK_BYTES, CHUNK_HEADER_BYTES, CHUNK_MAGIC, SLOTS_PER_CHUNK, Scan, Slot, commit_word, index_word,
};

use super::slot_words::SlotWords;
use crate::mapping::{Mapping, create_reserved};

/// Chunks that the table can tell apart at once: 64 GiB of records, far beyond any cap.
const TABLE_LEN: u64 = 1 << 15;
const TAG_MASK: u64 = 0xFFF;
/// The highest bit of a tag is always set, so the word 0 is nobody's.
const TAG_SET: u64 = 0x800;
/// A page "address" that stands for "this chunk has no records".
const SKIPPED: u64 = 0x1000;
/// After the disk had no room for a chunk, the next attempt. An attempt takes what room there is until it fails, which
/// must not happen again and again while a part is being written.
const RETRY_MAKING_AFTER: Duration = Duration::from_secs(1);
const NOBODY: u64 = u64::MAX;
/// How often a record looks again while another thread makes its chunk ready, before it makes one itself: well
/// under a millisecond.
const LATE_SPINS: u32 = 20_000;

/// A chunk's memory.
#[derive(Debug)]
struct ChunkFile {
    number: u32,
    map: Mapping,
}

#[derive(Debug)]
struct Chunks {
    /// Ready to be used; most recently used last, since its pages are the most likely to be there.
    free: Vec<ChunkFile>,
    /// In the table, by index; the order is that of being made ready.
    used: Vec<(u64, ChunkFile)>,
    next_number: u32,
    /// Chunks that there are: free, used, and in the hands of a thread that makes one ready.
    count: usize,
    peak: usize,
    /// When the disk last had no room for another.
    failed_at: Option<Instant>,
}

/// All chunks of a journal.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    folder: OwnedFd,
    table: Mapping,
    chunks: Mutex<Chunks>,
    /// Index of the chunk that a record is making ready for itself, so that others wait for that one.
    making: AtomicU64,
    cap: usize,
}

/// What the table says of a chunk.
#[derive(Debug)]
pub(crate) enum ChunkState<'a> {
    /// Nobody has needed it yet, or its memory is being made.
    Missing,
    /// It has no records: there was no memory for it.
    Skipped,
    /// It takes records.
    Ready(MappedChunk<'a>),
}

/// A chunk in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedChunk<'a> {
    pub(crate) index: u64,
    slots: &'a [AtomicU64],
}

impl MappedChunk<'_> {
    /// True if the first `reserved` slots are all committed.
    pub(crate) fn is_committed(&self, reserved: u64) -> bool {
        (0..reserved).all(|number| self.committed(number).is_some())
    }

    /// Calls `each` for every committed slot.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u64, &Slot)) -> Scan {
        let mut scan = Scan::default();
        let mut open_holes = 0;
        for number in 0..SLOTS_PER_CHUNK {
            match self.committed(number) {
                Some(slot) => {
                    scan.holes += std::mem::take(&mut open_holes);
                    scan.committed += 1;
                    each(self.index * SLOTS_PER_CHUNK + number, &slot);
                }
                None => open_holes += 1,
            }
        }
        scan
    }

    fn committed(&self, number: u64) -> Option<Slot> {
        let slot = SlotWords::new(self.slots, number as usize)?.load();
        (slot[0] == commit_word(self.index * SLOTS_PER_CHUNK + number, &slot)).then_some(slot)
    }
}

impl ChunkPool {
    pub(crate) fn new(folder: OwnedFd, cap_bytes: u64) -> io::Result<Self> {
        let cap = (cap_bytes / CHUNK_BYTES as u64).clamp(4, TABLE_LEN / 2) as usize;
        let chunks = Chunks {
            // Never grown later: making a chunk ready may happen inside an allocator.
            free: Vec::with_capacity(cap),
            used: Vec::with_capacity(cap),
            next_number: 0,
            count: 0,
            peak: 0,
            failed_at: None,
        };
        let table = Mapping::anonymous(TABLE_LEN as usize * 8)?;
        Ok(Self { folder, table, chunks: Mutex::new(chunks), making: AtomicU64::new(NOBODY), cap })
    }

    fn entry(&self, index: u64) -> &AtomicU64 {
        &self.table.words()[(index % TABLE_LEN) as usize]
    }

    /// The slot of record `seq`, if its chunk is ready.
    #[inline]
    pub(crate) fn slot(&self, seq: u64) -> Option<SlotWords<'_>> {
        let index = seq / SLOTS_PER_CHUNK;
        let word = self.entry(index).load(Ordering::Acquire);
        if word & TAG_MASK != tag(index) || word < SKIPPED << 1 {
            return None;
        }
        // SAFETY: an entry with our tag holds the address of our chunk's mapping, which stays mapped: we hold one of
        // its slots uncommitted.
        let slots = unsafe { slots_at(word & !TAG_MASK) };
        SlotWords::new(slots, (seq % SLOTS_PER_CHUNK) as usize)
    }

    /// The slot of a record that came before its chunk was ready: makes the chunk ready itself or waits the moment
    /// that another thread needs for it. `None` if there can be no memory for it; then the whole chunk is skipped.
    pub(crate) fn slot_late(&self, seq: u64) -> Option<SlotWords<'_>> {
        let index = seq / SLOTS_PER_CHUNK;
        let mut spins = 0;
        loop {
            match self.state(index) {
                ChunkState::Ready(_) => return self.slot(seq),
                ChunkState::Skipped => return None,
                ChunkState::Missing => {}
            }
            let first =
                self.making.compare_exchange(NOBODY, index, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if first || spins == LATE_SPINS {
                let provided = self.provide(index, false);
                if first {
                    self.making.store(NOBODY, Ordering::Release);
                }
                if provided.is_err() {
                    break;
                }
            } else {
                spins += 1;
                std::hint::spin_loop();
            }
        }
        self.skip(index);
        // Another thread may have been faster and made it ready.
        self.slot(seq)
    }

    /// Makes chunk `index` ready unless it is already; `populate` has its pages there beforehand.
    pub(crate) fn provide(&self, index: u64, populate: bool) -> io::Result<()> {
        let old = self.entry(index).load(Ordering::Acquire);
        if old & TAG_MASK == tag(index) {
            return Ok(());
        }
        // The lock is held for moments only, never over a system call: a record may be waiting for it.
        let chunk = self.take()?;
        if populate {
            // Where the kernel cannot, the first stores fault.
            let _ = chunk.map.populate();
        }
        let words = chunk.map.words();
        // From here on a reader takes the file for chunk `index`; slots of its earlier use fail their commit words.
        words[0].store(CHUNK_MAGIC, Ordering::Release);
        words[1].store(index_word(index), Ordering::Release);
        let word = words.as_ptr() as u64 | tag(index);
        let mut chunks = self.lock();
        match self.entry(index).compare_exchange(old, word, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => chunks.used.push((index, chunk)),
            // Made ready by another thread, or skipped, meanwhile. The file must not claim to be that chunk.
            Err(_) => {
                words[1].store(0, Ordering::Release);
                chunks.free.push(chunk);
            }
        }
        Ok(())
    }

    /// A free chunk, or a new one if the cap allows.
    fn take(&self) -> io::Result<ChunkFile> {
        let mut chunks = self.lock();
        if let Some(chunk) = chunks.free.pop() {
            return Ok(chunk);
        }
        let has_just_failed = chunks.failed_at.is_some_and(|at| at.elapsed() < RETRY_MAKING_AFTER);
        if chunks.count >= self.cap || has_just_failed {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        chunks.count += 1;
        chunks.peak = chunks.peak.max(chunks.count);
        chunks.next_number += 1;
        let number = chunks.next_number;
        drop(chunks);
        self.make(number).inspect_err(|_| {
            let mut chunks = self.lock();
            chunks.count -= 1;
            chunks.failed_at = Some(Instant::now());
        })
    }

    fn make(&self, number: u32) -> io::Result<ChunkFile> {
        let file = create_reserved(&self.folder, ChunkName::new(number).as_c_str(), CHUNK_BYTES)?;
        let map = Mapping::file(&file, CHUNK_BYTES)?;
        Ok(ChunkFile { number, map })
    }

    /// Declares that chunk `index` has no records, unless it is ready.
    pub(crate) fn skip(&self, index: u64) {
        let old = self.entry(index).load(Ordering::Acquire);
        if old & TAG_MASK != tag(index) {
            let word = SKIPPED | tag(index);
            // A failure means that it was made ready or skipped this very moment: either is fine.
            let _ = self.entry(index).compare_exchange(old, word, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    pub(crate) fn state(&self, index: u64) -> ChunkState<'_> {
        let word = self.entry(index).load(Ordering::Acquire);
        if word & TAG_MASK != tag(index) {
            ChunkState::Missing
        } else if word & !TAG_MASK == SKIPPED {
            ChunkState::Skipped
        } else {
            // SAFETY: the entry holds the address of a mapped chunk. It is unmapped only by `trim` and `release`, on
            // chunks that the one consumer of states, the sealer, has given back before.
            let slots = unsafe { slots_at(word & !TAG_MASK) };
            ChunkState::Ready(MappedChunk { index, slots })
        }
    }

    /// Gives back a chunk whose records are durable elsewhere.
    pub(crate) fn recycle(&self, chunk: &MappedChunk<'_>) {
        let mut chunks = self.lock();
        if let Some(at) = chunks.used.iter().position(|(index, _)| *index == chunk.index) {
            let (_, file) = chunks.used.remove(at);
            chunks.free.push(file);
        }
    }

    /// Removes free chunks beyond `keep`.
    pub(crate) fn trim(&self, keep: usize) {
        loop {
            let mut chunks = self.lock();
            if chunks.free.len() <= keep {
                return;
            }
            // The longest unused one; dropped, with its mapping, outside the lock.
            let chunk = chunks.free.remove(0);
            chunks.count -= 1;
            drop(chunks);
            self.unlink(&chunk);
        }
    }

    /// Unmaps everything, or leaves it mapped if a thread may still hold a slot.
    pub(crate) fn release(&self, all_committed: bool) {
        let mut chunks = self.lock();
        let files = std::mem::take(&mut chunks.free).into_iter();
        let used = std::mem::take(&mut chunks.used).into_iter().map(|(_, file)| file);
        for chunk in files.chain(used) {
            if !all_committed {
                chunk.map.leak();
            }
        }
    }

    /// Most bytes that the chunks had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.lock().peak as u64 * CHUNK_BYTES as u64
    }

    fn unlink(&self, chunk: &ChunkFile) {
        let _ = rustix::fs::unlinkat(&self.folder, ChunkName::new(chunk.number).as_c_str(), AtFlags::empty());
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        // A panic under the lock can only have come from outside (a signal handler that unwinds); the lists are whole.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn tag(index: u64) -> u64 {
    TAG_SET | (index / TABLE_LEN) & (TAG_SET - 1)
}

/// The slots of the chunk mapped at `address`.
///
/// # Safety
/// A chunk is mapped there and stays so for `'a`.
#[inline]
unsafe fn slots_at<'a>(address: u64) -> &'a [AtomicU64] {
    let first = (address as usize + CHUNK_HEADER_BYTES) as *const AtomicU64;
    // SAFETY: the caller's promise; a chunk is CHUNK_BYTES long and page-aligned.
    unsafe { std::slice::from_raw_parts(first, (CHUNK_BYTES - CHUNK_HEADER_BYTES) / 8) }
}

/// `chunk-NNNN` without the heap.
struct ChunkName([u8; 17]);

impl ChunkName {
    fn new(number: u32) -> Self {
        let mut name = *b"chunk-0000000000\0";
        let mut rest = number;
        // Ten digits hold every u32.
        for digit in name[6..16].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self(name)
    }

    fn as_c_str(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_until_nul(&self.0).unwrap_or(c"chunk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(chunks: usize) -> (ChunkPool, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        (ChunkPool::new(handle.into(), (chunks * CHUNK_BYTES) as u64).unwrap(), folder)
    }

    fn fill(pool: &ChunkPool, index: u64) {
        for seq in index * SLOTS_PER_CHUNK..(index + 1) * SLOTS_PER_CHUNK {
            let slot = [0, seq, 1, 2, 3, 4, 5, 6];
            pool.slot(seq).unwrap().store(&slot, commit_word(seq, &slot));
        }
    }

    #[test]
    fn a_recycled_chunk_serves_another_index() {
        let (pool, folder) = pool(4);
        for index in 0..20 {
            pool.provide(index, true).unwrap();
            fill(&pool, index);
            let ChunkState::Ready(chunk) = pool.state(index) else { panic!("it was provided") };
            assert!(chunk.is_committed(SLOTS_PER_CHUNK));
            assert_eq!(chunk.for_each(|seq, slot| assert_eq!(slot[1], seq)).committed, SLOTS_PER_CHUNK);
            pool.recycle(&chunk);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "one file served all of them");
    }

    #[test]
    fn at_the_cap_chunks_are_skipped_and_later_ones_go_on() {
        let (pool, _folder) = pool(4);
        for index in 0..4 {
            assert!(pool.slot_late(index * SLOTS_PER_CHUNK).is_some());
        }
        assert!(pool.slot_late(4 * SLOTS_PER_CHUNK).is_none());
        assert!(matches!(pool.state(4), ChunkState::Skipped));
        fill(&pool, 0);
        let ChunkState::Ready(chunk) = pool.state(0) else { panic!("it was provided") };
        pool.recycle(&chunk);
        assert!(pool.slot_late(4 * SLOTS_PER_CHUNK + 1).is_none(), "a skipped chunk stays skipped");
        assert!(pool.slot_late(5 * SLOTS_PER_CHUNK).is_some());
    }

    #[test]
    fn surplus_chunks_are_removed_from_the_disk() {
        let (pool, folder) = pool(8);
        for index in 0..6 {
            pool.provide(index, false).unwrap();
            let ChunkState::Ready(chunk) = pool.state(index) else { panic!("it was provided") };
            if index > 2 {
                pool.recycle(&chunk);
            }
        }
        pool.trim(1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn an_entry_of_another_round_is_not_mistaken() {
        let (pool, _folder) = pool(4);
        pool.provide(3, false).unwrap();
        assert!(pool.slot(3 * SLOTS_PER_CHUNK).is_some());
        assert!(pool.slot((3 + TABLE_LEN) * SLOTS_PER_CHUNK).is_none());
    }
}
