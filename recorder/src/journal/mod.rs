//! The journal: where records go first.
//!
//! A record is one slot of 64 bytes in a mapped file. `fetch_add` on the gate gives its number; the number says
//! the chunk and the slot; the fields are stored; the commit word is stored last with release order. No lock, no
//! system call, no heap. Once a record's call has returned, the record is in the page cache and survives the process.
//!
//! ```text
//!  gate ──seq──► table[seq / 32768] ──► chunk ──► slot         threads: reserve, store, commit
//!                      ▲                  │
//!      provide ────────┘                  └──► sealer: when every slot of it is committed, Parquet; then recycled
//! ```
//!
//! Invariants:
//! * A chunk is recycled only when every slot that was reserved in it is committed: a thread that sleeps between
//!   reserving and committing therefore always finds its chunk mapped and still its own.
//! * The gate lies in memory that a forked child sees as zeros, and a ticket below [`OPEN`] records nothing: a
//!   child forgets the recorder, whichever way it was forked.
//! * A table entry changes from an older chunk to "ready" or to "skipped", never back, for each chunk index.

mod chunk_pool;
mod control_file;
mod interner;
mod slot_words;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::Thread;

use tidegauge_schemas::journal::{
    ClockSource, Counter, OVERFLOW_ID, SLOTS_PER_CHUNK, Slot, StringUse, commit_word,
};

use chunk_pool::ChunkPool;
pub(crate) use chunk_pool::{ChunkState, MappedChunk};
use control_file::ControlFile;
pub(crate) use interner::Interner;
use slot_words::SlotWords;

use crate::mapping::Mapping;
use crate::ticks;

/// Set in the gate while the journal takes records; below it, a ticket is worth nothing.
const OPEN: u64 = 1 << 62;

/// No step or epoch.
const NONE: i64 = i64::MIN;

/// A journal that threads write to.
#[derive(Debug)]
pub(crate) struct Journal {
    gate: Mapping,
    source: ClockSource,
    pool: ChunkPool,
    pub(crate) control: ControlFile,
    pub(crate) interner: Interner,
    /// Woken when a new chunk is begun.
    provider: OnceLock<Thread>,
    /// A chunk could not be made: sealed ones are wanted back at once.
    is_starved: AtomicBool,
    /// Step and epoch that the program is in, for checkpoints that do not say.
    pub(crate) step: AtomicI64,
    pub(crate) epoch: AtomicI64,
    /// The process that made it.
    pub(crate) pid: u32,
    /// Tells this journal from others of the same process, in thread-local state.
    pub(crate) generation: u32,
}

impl Journal {
    /// Makes the journal's files in `folder`, which is empty, and opens the gate.
    pub(crate) fn create(folder: OwnedFd, cap_bytes: u64, generation: u32) -> io::Result<Self> {
        let source = ticks::source();
        let gate = Mapping::anonymous(4096)?;
        gate.wipe_on_fork()?;
        let control = ControlFile::create(&folder, source)?;
        let interner = Interner::create(&folder)?;
        let pool = ChunkPool::new(folder, cap_bytes)?;
        pool.provide(0, true)?;
        gate.words()[0].store(OPEN, Ordering::Release);
        Ok(Self {
            gate,
            source,
            pool,
            control,
            interner,
            provider: OnceLock::new(),
            is_starved: AtomicBool::new(false),
            step: AtomicI64::new(NONE),
            epoch: AtomicI64::new(NONE),
            pid: std::process::id(),
            generation,
        })
    }

    #[inline]
    fn gate(&self) -> &AtomicU64 {
        &self.gate.words()[0]
    }

    /// Clock ticks now.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        ticks::now(self.source)
    }

    pub(crate) fn source(&self) -> ClockSource {
        self.source
    }

    /// Writes a record; its `seq`, or `None` if it was dropped or the journal takes none (closed, or this is a fork).
    #[inline]
    pub(crate) fn record(&self, slot: Slot) -> Option<u64> {
        let seq = self.gate().fetch_add(1, Ordering::Relaxed).checked_sub(OPEN)?;
        let place = match self.pool.slot(seq) {
            Some(place) => place,
            None => self.slot_late(seq)?,
        };
        place.store(&slot, commit_word(seq, &slot));
        if seq.is_multiple_of(SLOTS_PER_CHUNK) {
            self.wake_provider();
        }
        Some(seq)
    }

    /// Records reserved so far.
    pub(crate) fn reserved(&self) -> u64 {
        self.gate().load(Ordering::Acquire) & (OPEN - 1)
    }

    /// False once closed, and in a forked child.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.gate().load(Ordering::Relaxed) >= OPEN
    }

    /// Takes no more records; the number of those reserved before.
    pub(crate) fn close(&self) -> u64 {
        self.gate().fetch_and(!OPEN, Ordering::AcqRel).saturating_sub(OPEN)
    }

    #[cold]
    fn slot_late(&self, seq: u64) -> Option<SlotWords<'_>> {
        let place = self.pool.slot_late(seq);
        if place.is_none() {
            self.control.count(Counter::Dropped, 1);
            self.is_starved.store(true, Ordering::Relaxed);
        }
        self.wake_provider();
        place
    }

    fn wake_provider(&self) {
        if let Some(thread) = self.provider.get() {
            thread.unpark();
        }
    }

    /// Names the thread that is woken when a chunk is begun.
    pub(crate) fn set_provider(&self, thread: Thread) {
        // Set once, by the thread itself, before anybody else can.
        let _ = self.provider.set(thread);
    }

    /// Makes the next chunks ready before they are needed, and gives surplus ones back.
    pub(crate) fn provide_ahead(&self, ahead: u64) {
        let current = self.reserved() / SLOTS_PER_CHUNK;
        for index in current..=current + ahead {
            // A failure (disk full, cap reached) is counted when a record finds no slot.
            if self.pool.provide(index, true).is_err() {
                self.is_starved.store(true, Ordering::Relaxed);
            }
        }
        self.pool.trim(ahead as usize + 2);
        self.control.counter(Counter::PeakJournalBytes).store(self.pool.peak_bytes(), Ordering::Relaxed);
    }

    /// Whether a chunk could not be made since this was last asked.
    pub(crate) fn take_starved(&self) -> bool {
        self.is_starved.swap(false, Ordering::Relaxed)
    }

    /// What became of chunk `index`.
    pub(crate) fn chunk(&self, index: u64) -> ChunkState<'_> {
        self.pool.state(index)
    }

    /// Declares a chunk that was never made ready to be without records.
    pub(crate) fn skip_chunk(&self, index: u64) {
        self.pool.skip(index);
    }

    /// Gives a chunk back whose records are durable elsewhere.
    pub(crate) fn recycle(&self, chunk: &MappedChunk) {
        self.pool.recycle(chunk);
    }

    /// Unmaps all chunks, or none if a thread may still store to one.
    pub(crate) fn release_chunks(&self, all_committed: bool) {
        self.pool.release(all_committed);
    }

    /// The id of a name; 0 in a forked child and once closed.
    pub(crate) fn intern(&self, text: &str, used: StringUse) -> u32 {
        let seq = self.gate().load(Ordering::Relaxed);
        if seq < OPEN {
            return 0;
        }
        self.interner.intern(text, used, seq - OPEN, self.ticks()).unwrap_or_else(|| {
            self.control.count(Counter::OverflowedNames, 1);
            OVERFLOW_ID
        })
    }

    /// The step that the program is in.
    pub(crate) fn current_step(&self) -> Option<i64> {
        Some(self.step.load(Ordering::Relaxed)).filter(|step| *step != NONE)
    }

    /// The epoch that the program is in.
    pub(crate) fn current_epoch(&self) -> Option<u32> {
        u32::try_from(self.epoch.load(Ordering::Relaxed)).ok()
    }

    /// Leaves the step or epoch.
    pub(crate) fn clear(context: &AtomicI64) {
        context.store(NONE, Ordering::Relaxed);
    }
}
