//! The part of the journal that threads meet in: reserving a slot, committing it, consuming a chunk, recycling it.
//!
//! Nothing here touches a file or a clock, so that a model checker can run it: memory comes from [`ChunkFiles`],
//! atomics and sizes from [`super::environment`].

mod chunk_pool;
mod slot_words;

use std::io;
use std::sync::atomic::Ordering;

use super::environment::{AtomicU64, SLOTS_PER_CHUNK};
use chunk_pool::ChunkPool;
pub(crate) use chunk_pool::{ChunkState, MappedChunk};
pub(crate) use slot_words::SlotWords;

/// Set in the gate while records are taken; below it, a ticket is worth nothing.
const OPEN: u64 = 1 << 62;

/// Memory that several threads look at: words that stay where they are until it is dropped.
pub(crate) trait Words {
    /// All of them; always as many.
    fn words(&self) -> &[AtomicU64];
    /// Has every page there and writable, if that can be had.
    fn populate(&self) {}
}

/// Where chunks come from.
pub(crate) trait ChunkFiles {
    /// A chunk's memory: [`super::environment::HEADER_WORDS`], then slots; its first byte at a multiple of 4096.
    type Memory: Words + std::fmt::Debug;

    /// Makes chunk file `number`. Uses no heap: this may run inside an allocator.
    fn make(&self, number: u32) -> io::Result<Self::Memory>;
    /// Removes chunk file `number`.
    fn remove(&self, number: u32);
}

/// All slots there are: a gate that gives out numbers, and chunks.
///
/// Invariants:
/// * A chunk is recycled only when every slot that was reserved in it is committed: a thread that sleeps between
///   reserving and committing therefore always finds its chunk mapped and still its own.
/// * The gate lies in memory that a forked child sees as zeros, and a ticket below [`OPEN`] records nothing: a
///   child forgets the recorder, whichever way it was forked.
/// * A table entry changes from an older chunk to "ready" or to "skipped", never back, for each chunk index.
#[derive(Debug)]
pub(crate) struct Slots<F: ChunkFiles, W: Words> {
    gate: W,
    pool: ChunkPool<F, W>,
}

impl<F: ChunkFiles, W: Words> Slots<F, W> {
    /// An open gate, and the first chunk. `gate` and `table` are zeros; a table has
    /// [`super::environment::TABLE_LEN`] words.
    pub(crate) fn new(gate: W, table: W, files: F, cap_chunks: usize) -> io::Result<Self> {
        assert!(!gate.words().is_empty(), "the gate has a word");
        let slots = Self { gate, pool: ChunkPool::new(files, table, cap_chunks) };
        slots.provide(0)?;
        slots.gate().store(OPEN, Ordering::Release);
        Ok(slots)
    }

    #[inline]
    fn gate(&self) -> &AtomicU64 {
        // SAFETY: there is one, as `new` has seen.
        unsafe { self.gate.words().get_unchecked(0) }
    }

    /// Takes the next number and its slot, if the slot's chunk is ready: else ask [`Self::slot_late`]. `None` if no
    /// records are taken (closed, or this is a fork).
    #[inline]
    pub(crate) fn reserve(&self) -> Option<(u64, Option<SlotWords<'_>>)> {
        let seq = self.gate().fetch_add(1, Ordering::Relaxed).checked_sub(OPEN)?;
        Some((seq, self.pool.slot(seq)))
    }

    /// The slot of a number that came before its chunk was ready. `None` if there can be no memory for it; then the
    /// whole chunk is skipped.
    pub(crate) fn slot_late(&self, seq: u64) -> Option<SlotWords<'_>> {
        self.pool.slot_late(seq)
    }

    /// The number that comes next; `None` when none will.
    #[inline]
    pub(crate) fn next_seq(&self) -> Option<u64> {
        self.gate().load(Ordering::Relaxed).checked_sub(OPEN)
    }

    /// Numbers given out so far.
    pub(crate) fn reserved(&self) -> u64 {
        self.gate().load(Ordering::Acquire) & (OPEN - 1)
    }

    /// Gives out no more numbers; how many were.
    pub(crate) fn close(&self) -> u64 {
        self.gate().fetch_and(!OPEN, Ordering::AcqRel).saturating_sub(OPEN)
    }

    /// Makes chunk `index` ready before it is needed.
    pub(crate) fn provide(&self, index: u64) -> io::Result<()> {
        self.pool.provide(index, true)
    }

    /// What became of chunk `index`.
    pub(crate) fn chunk(&self, index: u64) -> ChunkState<'_> {
        self.pool.state(index)
    }

    /// Declares that chunk `index` has no records, unless it is ready.
    pub(crate) fn skip(&self, index: u64) {
        self.pool.skip(index);
    }

    /// Gives a chunk back whose records are durable elsewhere.
    pub(crate) fn recycle(&self, chunk: &MappedChunk<'_>) {
        self.pool.recycle(chunk);
    }

    /// Removes free chunks beyond `keep`.
    pub(crate) fn trim(&self, keep: usize) {
        self.pool.trim(keep);
    }

    /// Removes the chunks that were made ready beyond the `reserved` records that the closed gate gave out.
    pub(crate) fn remove_unneeded(&self, reserved: u64) {
        self.pool.remove_unneeded(reserved.div_ceil(SLOTS_PER_CHUNK));
    }

    /// Unmaps all chunks, or none if a thread may still store to one.
    pub(crate) fn release(&self, all_committed: bool) {
        self.pool.release(all_committed);
    }

    /// Most chunks that there were at once.
    pub(crate) fn peak_chunks(&self) -> usize {
        self.pool.peak()
    }
}

/// How many slots of chunk `index` are taken when `reserved` numbers have been given out.
pub(crate) fn reserved_in(index: u64, reserved: u64) -> u64 {
    reserved.saturating_sub(index * SLOTS_PER_CHUNK).min(SLOTS_PER_CHUNK)
}
