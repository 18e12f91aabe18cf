//! The chunks of a journal: which file holds which chunk, who may use it, and how many there may be.
//!
//! The table maps a chunk's index to its memory in one word: the page address, and in the low twelve bits the round in
//! which the place is used and whether there is memory, so that a thread never mistakes the chunk that took a place
//! later for its own.

use std::io;
use std::marker::PhantomData;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegauge_schemas::journal::{CHUNK_MAGIC, SLOT_WORDS, Slot, index_word};

use super::super::environment::{
    AtomicU64, HEADER_WORDS, LATE_SPINS, Mutex, MutexGuard, SLOTS_PER_CHUNK, TABLE_LEN, commit_word,
    spin_loop,
};
use super::{ChunkFiles, SlotWords, Words};

const TAG_MASK: u64 = 0xFFF;
/// Set in the tag of a chunk that has memory.
const HAS_MEMORY: u64 = 0x800;
/// Rounds are counted modulo this.
const ROUNDS: u64 = 0x800;
/// The page "address" of a chunk without memory: so the word 0 is nobody's.
const SKIPPED: u64 = 0x1000;
/// After the disk had no room for a chunk, the next attempt. An attempt takes what room there is until it fails, which
/// must not happen again and again while a part is being written.
const RETRY_MAKING_AFTER: Duration = Duration::from_secs(1);
const NOBODY: u64 = u64::MAX;

/// A chunk's memory.
#[derive(Debug)]
struct ChunkFile<M> {
    number: u32,
    memory: M,
}

#[derive(Debug)]
struct Chunks<M> {
    /// Ready to be used; most recently used last, since its pages are the most likely to be there.
    free: Vec<ChunkFile<M>>,
    /// In the table, by index; the order is that of being made ready.
    used: Vec<(u64, ChunkFile<M>)>,
    next_number: u32,
    /// Chunks that there are: free, used, and in the hands of a thread that makes one ready.
    count: usize,
    peak: usize,
    /// When the disk last had no room for another.
    failed_at: Option<Instant>,
}

/// All chunks of a journal.
#[derive(Debug)]
pub(super) struct ChunkPool<F: ChunkFiles, W: Words> {
    files: F,
    table: W,
    chunks: Mutex<Chunks<F::Memory>>,
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
    address: u64,
    pool: PhantomData<&'a AtomicU64>,
}

impl MappedChunk<'_> {
    /// True if the first `reserved` slots are all committed.
    pub(crate) fn is_committed(&self, reserved: u64) -> bool {
        (0..reserved).all(|number| self.committed(number).is_some())
    }

    /// Calls `each` for every committed slot; how many there were.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u64, &Slot)) -> u64 {
        let mut committed = 0;
        for number in 0..SLOTS_PER_CHUNK {
            if let Some(slot) = self.committed(number) {
                committed += 1;
                each(self.index * SLOTS_PER_CHUNK + number, &slot);
            }
        }
        committed
    }

    /// Calls `each` for every committed slot from number `first` on, up to the first that is not committed or, `over_holes`,
    /// to the end; the number of the slot that it came to.
    pub(crate) fn for_each_from(
        &self,
        first: u64,
        over_holes: bool,
        mut each: impl FnMut(u64, &Slot),
    ) -> u64 {
        for number in first..SLOTS_PER_CHUNK {
            match self.committed(number) {
                Some(slot) => each(self.index * SLOTS_PER_CHUNK + number, &slot),
                None if over_holes => {}
                None => return number,
            }
        }
        SLOTS_PER_CHUNK
    }

    fn committed(&self, number: u64) -> Option<Slot> {
        // SAFETY: the address is that of a chunk's memory, since only `ChunkPool::state` makes these. The memory goes
        // only in `trim`, `remove_unneeded` and `release`: chunks which the sealer, the one consumer, has given back
        // before, or which it never looked at.
        let slot = unsafe { slot_at(self.address, number) }.load();
        (slot[0] == commit_word(self.index * SLOTS_PER_CHUNK + number, &slot)).then_some(slot)
    }
}

impl<F: ChunkFiles, W: Words> ChunkPool<F, W> {
    /// No chunks yet, and never more than `cap`.
    pub(super) fn new(files: F, table: W, cap: usize) -> Self {
        assert!(table.words().len() as u64 >= TABLE_LEN, "the table has its words");
        let chunks = Chunks {
            // Never grown later: making a chunk ready may happen inside an allocator.
            free: Vec::with_capacity(cap),
            used: Vec::with_capacity(cap),
            next_number: 0,
            count: 0,
            peak: 0,
            failed_at: None,
        };
        Self { files, table, chunks: Mutex::new(chunks), making: AtomicU64::new(NOBODY), cap }
    }

    #[inline]
    fn entry(&self, index: u64) -> &AtomicU64 {
        // SAFETY: it has so many words, as `new` has seen.
        unsafe { self.table.words().get_unchecked((index % TABLE_LEN) as usize) }
    }

    /// The slot of record `seq`, if its chunk is ready.
    #[inline]
    pub(super) fn slot(&self, seq: u64) -> Option<SlotWords<'_>> {
        let index = seq / SLOTS_PER_CHUNK;
        let word = self.entry(index).load(Ordering::Acquire);
        if word & TAG_MASK != HAS_MEMORY | round(index) {
            return None;
        }
        // SAFETY: an entry with our tag holds the address of our chunk's memory, which stays mapped: we hold one of
        // its slots uncommitted. The slot's number is below SLOTS_PER_CHUNK.
        Some(unsafe { slot_at(word & !TAG_MASK, seq % SLOTS_PER_CHUNK) })
    }

    /// The slot of a record that came before its chunk was ready: makes the chunk ready itself or waits the moment
    /// that another thread needs for it. `None` if there can be no memory for it; then the whole chunk is skipped.
    pub(super) fn slot_late(&self, seq: u64) -> Option<SlotWords<'_>> {
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
                spin_loop();
            }
        }
        self.skip(index);
        // Another thread may have been faster and made it ready.
        self.slot(seq)
    }

    /// Makes chunk `index` ready unless it is already; `populate` has its pages there beforehand.
    pub(super) fn provide(&self, index: u64, populate: bool) -> io::Result<()> {
        let old = self.entry(index).load(Ordering::Acquire);
        if !matches!(Entry::read(index, old), Entry::Missing) {
            return Ok(());
        }
        // The lock is held for moments only, never over a system call: a record may be waiting for it.
        let chunk = self.take()?;
        if populate {
            chunk.memory.populate();
        }
        let words = chunk.memory.words();
        // From here on a reader takes the file for chunk `index`; slots of its earlier use fail their commit words.
        words[0].store(CHUNK_MAGIC, Ordering::Release);
        words[1].store(index_word(index), Ordering::Release);
        let word = words.as_ptr().expose_provenance() as u64 | HAS_MEMORY | round(index);
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
    fn take(&self) -> io::Result<ChunkFile<F::Memory>> {
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
        let made = self.files.make(number).inspect_err(|_| {
            let mut chunks = self.lock();
            chunks.count -= 1;
            chunks.failed_at = Some(Instant::now());
        });
        made.map(|memory| ChunkFile { number, memory })
    }

    /// Declares that chunk `index` has no records, unless it is ready.
    pub(super) fn skip(&self, index: u64) {
        let old = self.entry(index).load(Ordering::Acquire);
        if matches!(Entry::read(index, old), Entry::Missing) {
            let word = SKIPPED | round(index);
            // A failure means that it was made ready or skipped this very moment: either is fine.
            let _ = self.entry(index).compare_exchange(old, word, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// What the table says of chunk `index`.
    pub(super) fn state(&self, index: u64) -> ChunkState<'_> {
        match Entry::read(index, self.entry(index).load(Ordering::Acquire)) {
            Entry::Missing => ChunkState::Missing,
            // A thread that slept while the table went round once finds its place taken: too late for a record.
            Entry::Skipped | Entry::Past => ChunkState::Skipped,
            Entry::Ready(address) => ChunkState::Ready(MappedChunk { index, address, pool: PhantomData }),
        }
    }

    /// Gives back a chunk whose records are durable elsewhere.
    pub(super) fn recycle(&self, chunk: &MappedChunk<'_>) {
        let mut chunks = self.lock();
        if let Some(at) = chunks.used.iter().position(|(index, _)| *index == chunk.index) {
            let (_, file) = chunks.used.remove(at);
            // What it holds is in parts: nobody is to read it here again.
            file.memory.words()[1].store(0, Ordering::Release);
            chunks.free.push(file);
        }
    }

    /// Removes free chunks beyond `keep`.
    pub(super) fn trim(&self, keep: usize) {
        loop {
            let mut chunks = self.lock();
            if chunks.free.len() <= keep {
                return;
            }
            // The longest unused one; dropped, with its mapping, outside the lock.
            let chunk = chunks.free.remove(0);
            chunks.count -= 1;
            drop(chunks);
            self.files.remove(chunk.number);
        }
    }

    /// Removes what no record will need: the free chunks, and those ready for index `first` and later. The gate is
    /// closed, so that nobody reserves a slot in them or looks at their places in the table.
    pub(super) fn remove_unneeded(&self, first: u64) {
        let mut chunks = self.lock();
        let mut unneeded: Vec<ChunkFile<F::Memory>> = chunks.free.drain(..).collect();
        for (index, file) in chunks.used.extract_if(.., |(index, _)| *index >= first) {
            // The table must not have the address of what is unmapped.
            self.entry(index).store(SKIPPED | round(index), Ordering::Release);
            unneeded.push(file);
        }
        chunks.count -= unneeded.len();
        drop(chunks);
        for chunk in unneeded {
            self.files.remove(chunk.number);
        }
    }

    /// Unmaps everything, or leaves it mapped if a thread may still hold a slot.
    pub(super) fn release(&self, all_committed: bool) {
        let mut chunks = self.lock();
        let files = std::mem::take(&mut chunks.free).into_iter();
        let used = std::mem::take(&mut chunks.used).into_iter().map(|(_, file)| file);
        for chunk in files.chain(used) {
            if !all_committed {
                std::mem::forget(chunk.memory);
            }
        }
    }

    /// Most chunks that there were at once.
    pub(super) fn peak(&self) -> usize {
        self.lock().peak
    }

    fn lock(&self) -> MutexGuard<'_, Chunks<F::Memory>> {
        // A panic under the lock can only have come from outside (a signal handler that unwinds); the lists are whole.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The round in which the table has the place of chunk `index`.
const fn round(index: u64) -> u64 {
    index / TABLE_LEN % ROUNDS
}

/// What a word of the table says of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Nothing yet: the place is of an earlier chunk, or nobody's.
    Missing,
    /// It has no memory and never will have.
    Skipped,
    /// Its memory is at that address.
    Ready(u64),
    /// The place is of a later chunk already.
    Past,
}

impl Entry {
    const fn read(index: u64, word: u64) -> Self {
        match word.wrapping_sub(round(index)) % ROUNDS {
            _ if word == 0 => Self::Missing,
            0 if word & HAS_MEMORY == 0 => Self::Skipped,
            0 => Self::Ready(word & !TAG_MASK),
            // What seems more than half of all rounds ahead is behind.
            ahead if ahead < ROUNDS / 2 => Self::Past,
            _ => Self::Missing,
        }
    }
}

/// Slot `number` of the chunk at `address`.
///
/// # Safety
/// A chunk's memory is there and stays so for `'a`; `number` is below [`SLOTS_PER_CHUNK`].
#[inline]
unsafe fn slot_at<'a>(address: u64, number: u64) -> SlotWords<'a> {
    let chunk = std::ptr::with_exposed_provenance::<AtomicU64>(address as usize);
    // SAFETY: the caller's promise; a chunk has HEADER_WORDS, then SLOTS_PER_CHUNK slots, and an array of words is
    // aligned as a word is.
    unsafe { SlotWords(&*chunk.add(HEADER_WORDS + number as usize * SLOT_WORDS).cast()) }
}
