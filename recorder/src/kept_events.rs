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
    retention: Retention,
    names: CounterNames,
    /// The state on disk is that before this chunk.
    saved_chunk: u64,
    /// By the state on disk, events pass.
    is_saved_open: bool,
    filter: EventFilter,
    /// Chunks that a ring holds back, oldest first.
    pub(crate) ring: VecDeque<MappedChunk<'static>>,
    /// Chunks that a ring holds back at most; none for windows.
    ring_chunks: Option<usize>,
    /// Sealed chunks that the state on disk does not cover.
    sealed: Vec<MappedChunk<'static>>,
    /// How many there may be of them, however large the state is: the journal must not run out of chunks.
    max_sealed: usize,
    /// An attempt at sealing failed half-way: the filter has seen what it must see again.
    is_ahead: bool,
}

impl KeptEvents {
    /// `None` if all are kept. The journal may have so many chunks besides those of a ring.
    pub(crate) fn new(
        retention: Retention,
        names: CounterNames,
        journal_folder: PathBuf,
        cap_chunks: usize,
    ) -> Option<Self> {
        Some(Self {
            journal_folder,
            retention,
            names,
            saved_chunk: 0,
            is_saved_open: false,
            filter: EventFilter::new(retention, names)?,
            ring: VecDeque::new(),
            ring_chunks: retention.ring_chunks().map(|chunks| chunks as usize),
            sealed: Vec::new(),
            max_sealed: cap_chunks / 4,
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

    /// The chunks that are neither given back nor waiting for anything but this.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &MappedChunk<'static>> {
        self.ring.iter().chain(&self.sealed)
    }

    /// Begins to pass what the ring holds, or ceases to: for good, whatever becomes of the process. Calls `recycle` as
    /// [`Self::done`] does.
    pub(crate) fn set_open(
        &mut self,
        is_open: bool,
        recycle: impl FnMut(MappedChunk<'static>),
    ) -> Result<()> {
        self.catch_up()?;
        if self.is_saved_open == is_open {
            return Ok(());
        }
        if is_open {
            self.filter.open_ring()
        } else {
            self.filter.close()
        }
        self.save(recycle).inspect_err(|_| self.is_ahead = true)
    }

    /// Passes on what is kept of a chunk; how many slots it had. [`Self::catch_up`] comes before the first.
    pub(crate) fn pass(&mut self, chunk: &MappedChunk<'_>, mut emit: impl FnMut(u64, &Slot)) -> u64 {
        chunk.for_each(|seq, slot| self.filter.push(seq, slot, &mut emit))
    }

    /// Passes on what the end of the recording tells.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(u64, &Slot)) {
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

    /// The chunks are sealed; calls `recycle` for those that need not be kept any longer.
    pub(crate) fn done(
        &mut self,
        chunks: impl Iterator<Item = MappedChunk<'static>>,
        recycle: impl FnMut(MappedChunk<'static>),
    ) -> Result<()> {
        self.sealed.extend(chunks);
        // The state is a slot for each block that is alive: it is written about as often as there are as many records.
        let records = self.sealed.len() * SLOTS_PER_CHUNK as usize;
        if records >= self.filter.live_blocks() || self.sealed.len() > self.max_sealed {
            self.save(recycle)?;
        }
        Ok(())
    }

    fn save(&mut self, mut recycle: impl FnMut(MappedChunk<'static>)) -> Result<()> {
        let next_chunk = self.sealed.last().map_or(self.saved_chunk, |chunk| chunk.index + 1);
        FilterState::write(&self.journal_folder, next_chunk, &self.filter)?;
        self.saved_chunk = next_chunk;
        self.is_saved_open = self.filter.is_open();
        self.sealed.drain(..).for_each(&mut recycle);
        Ok(())
    }

    /// After a failed attempt, has the filter know what is sealed and nothing else.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        if !self.is_ahead {
            return Ok(());
        }
        let saved = FilterState::read(&self.journal_folder)?.map(|state| state.filter);
        let Some(mut filter) = saved.or_else(|| EventFilter::new(self.retention, self.names)) else {
            return Ok(());
        };
        for chunk in &self.sealed {
            chunk.for_each(|seq, slot| filter.push(seq, slot, &mut |_, _| ()));
        }
        filter.take_left_out();
        self.filter = filter;
        self.is_ahead = false;
        Ok(())
    }
}
