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
//! What threads meet in is [`slots`]; this module adds the clock, names, counters and the threads that are woken.

mod chunk_files;
mod control_file;
mod environment;
mod interner;
pub(crate) mod open;
pub(crate) mod slots;
#[cfg(test)]
mod slots_tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use tidegauge_schemas::journal::{
    CHUNK_BYTES, ClockSource, Counter, OVERFLOW_ID, SLOTS_PER_CHUNK, Slot, StringUse, filler,
};

use chunk_files::ChunkFolder;
use control_file::ControlFile;
pub(crate) use interner::Interner;
use slots::Slots;
pub(crate) use slots::{ChunkState, MappedChunk, reserved_in};

use crate::closable::Closable;
use crate::mapping::Mapping;
use crate::ticks;

/// No step or epoch.
const NONE: i64 = i64::MIN;
/// Fewest chunks that recording can go on with: one written to, one ahead, two being sealed.
const MIN_CHUNKS: usize = 4;

/// Most chunks that there can be: the table has two places for each.
pub(crate) const MAX_CHUNKS: u64 = environment::TABLE_LEN / 2;

/// A journal that threads write to.
#[derive(Debug)]
pub(crate) struct Journal {
    slots: Slots<ChunkFolder, Mapping>,
    folder: Arc<Closable>,
    source: ClockSource,
    pub(crate) control: ControlFile,
    pub(crate) interner: Interner,
    /// What the sealer has yet to seal, for who merges.
    pub(crate) open: open::OpenSet,
    /// Woken when a new chunk is begun.
    provider: OnceLock<Thread>,
    /// A chunk could not be made: sealed ones are wanted back at once.
    is_starved: AtomicBool,
    /// Where a dump was asked for first and last, as `seq` of the record that came next.
    dump_first: AtomicU64,
    dump_last: AtomicU64,
    /// Step and epoch that the program is in, for checkpoints that do not say.
    pub(crate) step: AtomicI64,
    pub(crate) epoch: AtomicI64,
    /// The process that made it.
    pub(crate) pid: u32,
    /// Tells this journal from others of the same process, and from one that it inherited by fork, in thread-local
    /// state.
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
        let table = Mapping::anonymous(environment::TABLE_LEN as usize * 8)?;
        let cap_chunks = (cap_bytes / CHUNK_BYTES as u64) as usize;
        let cap_chunks = cap_chunks.clamp(MIN_CHUNKS, MAX_CHUNKS as usize);
        let folder = Arc::new(Closable::new(folder));
        let slots = Slots::new(gate, table, ChunkFolder(Arc::clone(&folder)), cap_chunks)?;
        Ok(Self {
            slots,
            folder,
            source,
            control,
            interner,
            open: open::OpenSet::default(),
            provider: OnceLock::new(),
            is_starved: AtomicBool::new(false),
            dump_first: AtomicU64::new(u64::MAX),
            dump_last: AtomicU64::new(0),
            step: AtomicI64::new(NONE),
            epoch: AtomicI64::new(NONE),
            pid: std::process::id(),
            generation,
        })
    }

    /// Clock ticks now.
    pub(crate) fn ticks(&self) -> u64 {
        ticks::now(self.source)
    }

    /// Clock ticks now, if they are to be had in one instruction.
    #[inline(always)]
    pub(crate) fn cycles(&self) -> Option<u64> {
        ticks::cycles(self.source)
    }

    pub(crate) fn source(&self) -> ClockSource {
        self.source
    }

    /// Writes a record; its `seq`, or `None` if it was dropped or the journal takes none (closed, or this is a fork).
    pub(crate) fn record(&self, slot: &Slot) -> Option<u64> {
        self.record_now(slot).unwrap_or_else(|seq| self.record_late(seq, slot))
    }

    /// As [`Self::record`], if the record's chunk is ready; if not, it has got that `seq`, and is to be handed to
    /// [`Self::record_late`].
    #[inline(always)]
    pub(crate) fn record_now(&self, slot: &Slot) -> Result<Option<u64>, u64> {
        let Some((seq, place)) = self.slots.reserve() else { return Ok(None) };
        place.ok_or(seq)?.store(slot, environment::commit_word(seq, slot));
        if seq.is_multiple_of(SLOTS_PER_CHUNK) {
            self.wake_provider();
        }
        Ok(Some(seq))
    }

    /// Writes the record that was given `seq` and found no chunk; makes the chunk ready if need be.
    #[cold]
    #[inline(never)]
    pub(crate) fn record_late(&self, seq: u64, slot: &Slot) -> Option<u64> {
        let place = self.slots.slot_late(seq);
        match place {
            Some(place) => place.store(slot, environment::commit_word(seq, slot)),
            None => {
                self.control.count(Counter::Dropped, 1);
                self.is_starved.store(true, Ordering::Relaxed);
            }
        }
        self.wake_provider();
        place.map(|_| seq)
    }

    /// Fills the chunk that is being written, so that it can be sealed.
    pub(crate) fn fill_chunk(&self) {
        let begun = self.reserved() / SLOTS_PER_CHUNK;
        // Others record meanwhile, so it may take fewer.
        for _ in 0..SLOTS_PER_CHUNK {
            if self.reserved() / SLOTS_PER_CHUNK > begun {
                break;
            }
            let Some((seq, place)) = self.slots.reserve() else { break };
            let slot = filler(self.ticks());
            // Of a chunk for which there is no space it is nothing that is lost.
            if let Some(place) = place.or_else(|| self.slots.slot_late(seq)) {
                place.store(&slot, environment::commit_word(seq, &slot));
            }
        }
    }

    /// Asks for what is kept to be written, as it is here. Of several such places that the sealer has not seen yet, it
    /// will see the first and the last.
    pub(crate) fn request_dump(&self) {
        let here = self.reserved();
        self.dump_first.fetch_min(here, Ordering::Relaxed);
        self.dump_last.fetch_max(here, Ordering::Relaxed);
        self.wake_provider();
    }

    /// The places in the stream of records at which a dump was asked for since this was last asked.
    pub(crate) fn take_dump_requests(&self) -> impl Iterator<Item = u64> {
        let first = Some(self.dump_first.swap(u64::MAX, Ordering::Relaxed)).filter(|seq| *seq != u64::MAX);
        let last = Some(self.dump_last.swap(0, Ordering::Relaxed)).filter(|seq| *seq != 0);
        first.into_iter().chain(last)
    }

    /// A slot that is reserved and not committed, as of a thread that sleeps in between; what commits it.
    #[cfg(test)]
    pub(crate) fn fall_asleep(&self) -> impl FnOnce(&Slot) + '_ {
        let (seq, place) = self.slots.reserve().unwrap();
        move |slot| place.unwrap().store(slot, environment::commit_word(seq, slot))
    }

    /// Records reserved so far.
    pub(crate) fn reserved(&self) -> u64 {
        self.slots.reserved()
    }

    /// False once closed, and in a forked child.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.slots.next_seq().is_some()
    }

    /// Takes no more records; the number of those reserved before.
    pub(crate) fn close(&self) -> u64 {
        self.slots.close()
    }

    #[cold]
    #[inline(never)]
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
            if self.slots.provide(index).is_err() {
                self.is_starved.store(true, Ordering::Relaxed);
            }
        }
        self.slots.trim(ahead as usize + 2);
        let peak_bytes = (self.slots.peak_chunks() * CHUNK_BYTES) as u64;
        self.control.counter(Counter::PeakJournalBytes).store(peak_bytes, Ordering::Relaxed);
    }

    /// Whether a chunk could not be made since this was last asked.
    pub(crate) fn take_starved(&self) -> bool {
        self.is_starved.swap(false, Ordering::Relaxed)
    }

    /// What became of chunk `index`.
    pub(crate) fn chunk(&self, index: u64) -> ChunkState<'_> {
        self.slots.chunk(index)
    }

    /// Declares a chunk that was never made ready to be without records.
    pub(crate) fn skip_chunk(&self, index: u64) {
        self.slots.skip(index);
    }

    /// Gives a chunk back whose records are durable elsewhere.
    pub(crate) fn recycle(&self, chunk: &MappedChunk) {
        self.slots.recycle(chunk);
    }

    /// Gives the disk back what the closed journal will not need for its `reserved` records.
    pub(crate) fn remove_unneeded_chunks(&self, reserved: u64) {
        self.slots.remove_unneeded(reserved);
    }

    /// Closes the files, and gives up the lock that says that the recorder lives: the journal is over.
    pub(crate) fn close_files(&self) {
        [&*self.folder, &self.interner.file, &self.control.locked].into_iter().for_each(Closable::close);
    }

    /// Unmaps all chunks, or none if a thread may still store to one.
    pub(crate) fn release_chunks(&self, all_committed: bool) {
        self.slots.release(all_committed);
    }

    /// The id of a name; 0 in a forked child and once closed.
    pub(crate) fn intern(&self, text: &str, used: StringUse) -> u32 {
        let Some(seq) = self.slots.next_seq() else { return 0 };
        self.interner.intern(text, used, seq, self.ticks()).unwrap_or_else(|| {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::Journal;

    /// A journal in a folder of its own, for as long as the process lives.
    pub(crate) fn journal() -> (&'static Journal, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        (Box::leak(Box::new(Journal::create(handle.into(), 64 << 20, 1).unwrap())), folder)
    }
}
