//! The sealer's hold on which allocation events are kept: the filter, its state on disk, and the chunks that the state
//! does not cover yet.
//!
//! A chunk is recycled only once the state on disk is that after the chunk. So whatever ends the process, a recovery
//! finds the state before some chunk, and every chunk from that on.

use std::collections::VecDeque;
use std::path::PathBuf;

use tidegauge_schemas::Result;
use tidegauge_schemas::journal::{SLOTS_PER_CHUNK, Slot};
use tidegauge_schemas::retention::{CounterNames, EventFilter, FilterState, Retention};

use crate::journal::MappedChunk;

/// The filter of a recorder that keeps not all events.
#[derive(Debug)]
pub(crate) struct KeptEvents {
    journal_folder: PathBuf,
    /// As on disk.
    saved: FilterState,
    filter: EventFilter,
    /// Chunks that a ring holds back, oldest first.
    pub(crate) ring: VecDeque<MappedChunk<'static>>,
    /// Chunks that a ring holds back at most; none for windows.
    ring_chunks: Option<usize>,
    /// Sealed chunks that the state on disk does not cover.
    sealed: Vec<MappedChunk<'static>>,
    /// An attempt at sealing failed half-way: the filter has seen what it must see again.
    is_ahead: bool,
}

impl KeptEvents {
    /// `None` if all are kept.
    pub(crate) fn new(retention: Retention, names: CounterNames, journal_folder: PathBuf) -> Option<Self> {
        let saved = FilterState::new(retention, names)?;
        Some(Self {
            journal_folder,
            filter: saved.filter.clone(),
            saved,
            ring: VecDeque::new(),
            ring_chunks: retention.ring_chunks().map(|chunks| chunks as usize),
            sealed: Vec::new(),
            is_ahead: false,
        })
    }

    /// Whether chunks are held back rather than sealed.
    pub(crate) const fn is_ring(&self) -> bool {
        self.ring_chunks.is_some()
    }

    /// Chunks that the ring holds too many.
    pub(crate) fn surplus(&self) -> usize {
        self.ring_chunks.map_or(0, |chunks| self.ring.len().saturating_sub(chunks))
    }

    /// Begins to pass what the ring holds, or ceases to: for good, whatever becomes of the process.
    pub(crate) fn set_open(&mut self, is_open: bool) -> Result<()> {
        self.catch_up();
        if self.saved.filter.is_open() == is_open {
            return Ok(());
        }
        let mut next = FilterState { next_chunk: self.next_chunk(), filter: self.filter.clone() };
        if is_open {
            next.filter.open_ring()
        } else {
            next.filter.close()
        }
        next.write(&self.journal_folder)?;
        self.filter = next.filter.clone();
        self.saved = next;
        Ok(())
    }

    /// Passes on what is kept of a chunk; how many slots it had.
    pub(crate) fn pass(&mut self, chunk: &MappedChunk<'_>, mut emit: impl FnMut(u64, &Slot)) -> u64 {
        self.catch_up();
        chunk.for_each(|seq, slot| self.filter.push(seq, slot, &mut emit))
    }

    /// Passes on what the end of the recording tells.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(u64, &Slot)) {
        self.catch_up();
        self.filter.finish(&mut emit);
    }

    /// Events left out since this was last asked.
    pub(crate) const fn take_left_out(&mut self) -> i64 {
        self.filter.take_left_out()
    }

    /// What was passed since the last call of [`Self::done`] was not sealed: it will be passed again.
    pub(crate) const fn failed(&mut self) {
        self.is_ahead = true;
    }

    /// The chunks are sealed; calls `recycle` for those that need not be kept any longer. Returns the events left out.
    pub(crate) fn done(
        &mut self,
        chunks: impl Iterator<Item = MappedChunk<'static>>,
        mut recycle: impl FnMut(MappedChunk<'static>),
    ) -> Result<i64> {
        self.sealed.extend(chunks);
        // The state is a slot for each block that is alive: it is written about as often as there are as many records.
        let records = self.sealed.len() * SLOTS_PER_CHUNK as usize;
        if records >= self.filter.live_blocks() {
            let next = FilterState { next_chunk: self.next_chunk(), filter: self.filter.clone() };
            next.write(&self.journal_folder)?;
            self.saved = next;
            self.sealed.drain(..).for_each(&mut recycle);
        }
        Ok(self.filter.take_left_out())
    }

    fn next_chunk(&self) -> u64 {
        self.sealed.last().map_or(self.saved.next_chunk, |chunk| chunk.index + 1)
    }

    fn catch_up(&mut self) {
        if !std::mem::take(&mut self.is_ahead) {
            return;
        }
        self.filter = self.saved.filter.clone();
        let mut nobody = |_: u64, _: &Slot| ();
        for chunk in &self.sealed {
            chunk.for_each(|seq, slot| self.filter.push(seq, slot, &mut nobody));
        }
        self.filter.take_left_out();
    }
}
